"""What a recipe's rules make of documents, with the kernels of its annotating steps and without a build."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from flows.recipe import read_recipe
from infra.documents import apply_edits
from infra.outcomes import Kept, read_all
from infra.stage import StageKind
from tasks.corpus.rules import RulesConfig, apply_rules
from tasks.model_files import model_files
from tasks.recipe.schema import Source
from tasks.sources.web_archive import WebArchiveConfig, read_web_archive


def texts_of(archive: Path) -> list[str]:
    """The texts of an archive's pages."""
    with archive.open("rb") as stream:
        outcomes = read_all(read_web_archive(stream, archive.name, WebArchiveConfig()))
        return [outcome.document.text for outcome in outcomes if isinstance(outcome, Kept)]


def judge(recipe: str, source: str, texts: Sequence[str]) -> pa.Table:
    """The texts, the columns of the steps that read one document at a time, and ``outcome`` by the rules about them."""
    section = read_recipe(recipe).sources[source]
    assert isinstance(section, Source)
    found = pa.table({"text": pa.array(texts, pa.string())})
    edits: list[str] = []
    for step in section.steps:
        stage = step.declared()
        if stage.kind is not StageKind.annotate or (stage.load is not None and step.model not in (None, "bundled")):
            continue
        config = stage.config.model_validate(step.config)
        seen = found
        for name in edits:
            text, _ = apply_edits(seen["text"], found[f"{name}.edits"])
            seen = seen.set_column(0, "text", text)
        columns = seen.select(stage.columns_of(config))
        models = []
        if stage.load is not None:
            files = {name: Path(path) for name, path in model_files(stage, stage.default_model or "").local.items()}
            models = [stage.load(config, files)]
        for name, column in zip(stage.schema.names if stage.schema else (), stage(columns, config, *models).columns):
            found = found.append_column(f"{step.name}.{name}", column)
        edits += [step.name] if stage.gives_edits and config.edits_text else []
    steps = {name.partition(".")[0] for name in found.column_names}
    rules = tuple(rule for rule in section.rules if all(one.step in steps for one in rule.thresholds))
    return found.append_column("outcome", apply_rules(found, RulesConfig(rules=rules, edits=tuple(edits)))["outcome"])
