"""`millrace recipe`: look at recipes without building them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import parameters
from flows.cli.options import JsonOption, SettingsOption
from flows.cli.terminal import friendly_errors, output, print_json, print_table, styled

if TYPE_CHECKING:
    from tasks.recipe.resolved import ResolvedRecipe, ResolvedStep

recipe_commands = typer.Typer(no_args_is_help=True)
RecipeArgument = Annotated[str, parameters.RECIPE.argument()]


@recipe_commands.command("check")
def check(
    recipe: RecipeArgument,
    settings: SettingsOption = None,
    inputs: Annotated[list[str] | None, parameters.INPUTS.option("--input")] = None,
    lake: Annotated[str | None, typer.Option("--lake", help="Show which artifacts this lake already has.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a recipe and show its plan: the steps of each source, models, shared reads, and tasks to build."""
    with friendly_errors(as_json):
        from flows.cli.opening import open_lake
        from flows.recipe import load_recipe, read_recipe
        from tasks.pipeline import build_tasks
        from tasks.recipe.overrides import matches
        from tasks.recipe.status import task_states

        resolved = load_recipe(recipe, settings or [], inputs or [])
        meant = {key: matches(read_recipe(recipe), key) for key in (item.partition("=")[0] for item in settings or [])}
        states = task_states(build_tasks(resolved), None if lake is None else open_lake(lake))
        if as_json:
            tasks = [asdict(state) for state in states]
            print_json({"recipe": resolved.recipe.model_dump(mode="json"), "settings": meant, "tasks": tasks})
            return
        for key, paths in meant.items():
            output.print(f"--set {key} sets {', '.join(paths)}")
        for source in (*resolved.sources, *resolved.references):
            reader = source.section.read.stage
            kind = "source" if source in resolved.sources else "reference"
            rows = [_step_row(step, source.name) for step in source.steps]
            print_table(f"{kind} {source.name}, read as {reader}", _STEP_COLUMNS, rows)
        if resolved.across:
            first = resolved.sources[0].name
            print_table("across all sources", _STEP_COLUMNS, [_step_row(step, first) for step in resolved.across])
        if resolved.recipe.models:
            rows = [[name, model.stage, ", ".join(model.on)] for name, model in resolved.recipe.models.items()]
            print_table("models", ["name", "fitted by", "on"], rows)
        print_table("tasks", ["task", "makes", "state"], [[s.name, ", ".join(s.makes), s.state] for s in states])
        if resolved.recipe.lacks:
            rows = [[step, what] for step, what in resolved.recipe.lacks.items()]
            print_table("steps of the original that this recipe lacks", ["step", "what it would do"], rows)
        rules = sum(len(source.rules) for source in resolved.recipe.sources.values())
        counts = f"{len(resolved.sources)} source(s), {rules} rules"
        output.print(styled("[green]{} can be built:[/] {}", resolved.recipe.name, counts))


@recipe_commands.command("show")
def show(recipe: RecipeArgument, settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """Print a recipe with every default."""
    with friendly_errors(as_json):
        import yaml

        values = _resolved(recipe, settings).recipe.model_dump(mode="json")
        if as_json:
            print_json(values)
            return
        output.print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


@recipe_commands.command("diff")
def diff(
    left: RecipeArgument,
    right: RecipeArgument,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the differences between two recipes, and which artifacts of the first must be rebuilt for the second.

    `--set` changes the second recipe: `millrace recipe diff crawl crawl --set near_duplicates.threshold=0.7`
    """
    with friendly_errors(as_json):
        from tasks.recipe.difference import differences, made_anew

        one, other = _resolved(left, None), _resolved(right, settings)
        found, anew = differences(one, other), made_anew(one, other)
        if as_json:
            print_json({"differences": [asdict(item) for item in found], "made_anew": anew})
            return
        if not found:
            output.print("The recipes are the same.")
            return
        print_table("Differences", ["value", left, right], [[d.path, _short(d.left), _short(d.right)] for d in found])
        output.print(f"Rebuilt: {', '.join(anew) or 'nothing'}")


@recipe_commands.command("list")
def list_recipes(as_json: JsonOption = False) -> None:
    """List the bundled recipes."""
    with friendly_errors(as_json):
        from flows.recipe import recipe_names

        names = recipe_names()
        if as_json:
            print_json({"recipes": names})
            return
        for name in names:
            output.print(name)


_STEP_COLUMNS = ["step", "stage", "sees edits of", "reads", "floors", "model"]


def _step_row(step: ResolvedStep, source: str) -> list[Any]:
    reads = [alias if alias == name else f"{alias} from {name}" for alias, name in step.reads.get(source, ())]
    floors = [floor.column for floor in step.floors]
    model = step.model if step.stage.load is not None else None
    return [step.name, step.stage.name, ", ".join(step.sees), ", ".join(reads), ", ".join(floors), model or ""]


def _resolved(recipe: str, settings: list[str] | None) -> ResolvedRecipe:
    from flows.recipe import load_recipe

    return load_recipe(recipe, settings or [])


def _short(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
