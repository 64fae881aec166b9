"""`millrace recipe`: look at recipes without building them."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.options import JsonOption, SettingsOption
from flows.cli.terminal import friendly_errors, output, print_json

recipe_commands = typer.Typer(no_args_is_help=True)


@recipe_commands.command("check")
def check(
    recipe: Annotated[str, typer.Argument(help="A recipe of ours by name, or a YAML file.")],
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a recipe: every value, every rule against the columns there are, floors against thresholds."""
    with friendly_errors(as_json):
        from flows.recipe import load_recipe

        checked = load_recipe(recipe, settings or [])
        if as_json:
            print_json(checked.model_dump(mode="json"))
            return
        output.print(
            f"[green]{checked.name} can be built:[/] {len(checked.sources)} source(s), {len(checked.rules)} rules"
        )


@recipe_commands.command("list")
def list_recipes(as_json: JsonOption = False) -> None:
    """The recipes that come with Millrace."""
    with friendly_errors(as_json):
        from flows.recipe import RECIPES

        names = sorted(path.stem for path in RECIPES.glob("*.yaml"))
        if as_json:
            print_json({"recipes": names})
            return
        for name in names:
            output.print(name)
