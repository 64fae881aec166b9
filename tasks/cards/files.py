"""Writes cards and summaries as files."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path

from infra.engine.shards import PartReader
from infra.store.errors import NotThere
from infra.store.lake import Lake
from infra.store.roots import require_inside
from tasks.builds import BuildRecord, all_builds
from tasks.cards.card import render_card
from tasks.cards.croissant import to_croissant
from tasks.cards.disclosure import Disclosure, disclose, render_disclosure
from tasks.cards.exposure import exposure_of
from tasks.cards.facts import collect_facts
from tasks.cards.pages import page_of
from tasks.cards.statements import Statements
from tasks.report.judged import BuildParts
from tasks.tracing.run import CannotTrace, TracedRun


class CannotWrite(ValueError):
    """The folder cannot be written."""


def write_card(lake: Lake, build: BuildRecord, name: str, folder: Path, cache: Path) -> list[Path]:
    """Write card.md, card.html and croissant.json of a build, called `name`; returns their paths.

    Raises CannotWrite, and the errors of `collect_facts`.
    """
    facts = collect_facts(lake, build, name, PartReader(lake, cache))
    markdown = render_card(facts)
    return _write(
        folder,
        {
            "card.md": markdown,
            "card.html": page_of(f"Corpus {name}", markdown),
            "croissant.json": json.dumps(to_croissant(facts), indent=1) + "\n",
        },
    )


def write_disclosure(
    lake: Lake, build: BuildRecord, name: str, run: str | None, stated: Statements, folder: Path, cache: Path
) -> tuple[list[Path], Disclosure]:
    """Write summary.md, summary.html, summary.json and domains.csv of a build, or of a run on its tokens."""
    reader = PartReader(lake, cache)
    facts = collect_facts(lake, build, name, reader)
    exposure = None
    if run is not None:
        parts = BuildParts({one: build.manifest(lake, one) for one in build.artifacts}, tuple(build.sources))
        exposure = exposure_of(lake, run, parts, reader, cache)
    found = disclose(facts, exposure, stated)
    markdown = render_disclosure(found)
    values = {**asdict(found), "missing": [asdict(field) for field in found.missing]}
    files = _write(
        folder,
        {
            "summary.md": markdown,
            "summary.html": page_of(found.title, markdown),
            "summary.json": json.dumps(values, indent=1) + "\n",
            "domains.csv": _domains(found),
        },
    )
    return files, found


def _domains(found: Disclosure) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["domain", "documents", "bytes", "tokens"])
    writer.writerows([domain, size.documents, size.bytes, size.tokens] for domain, size in found.domains.items())
    return text.getvalue()


def build_of_run(lake: Lake, run: str, cache: Path) -> BuildRecord:
    """The build whose tokens a run reads. Raises NotThere if its documents are unknown."""
    tokens = TracedRun(lake, run, cache).tokens
    if tokens is None:
        raise CannotTrace(f"the token files of the run {run[:12]} belong to no artifact of this lake")
    for build in all_builds(lake):
        if build.artifacts["tokens"][1] == tokens.key and len(build.artifacts) > 1:
            return build
    raise NotThere(f"no build of this lake made the tokens {tokens.key[:12]} of the run {run[:12]}")


def _write(folder: Path, texts: dict[str, str]) -> list[Path]:
    require_inside(folder, "the folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise CannotWrite(f"{folder} cannot be written ({error}): name another one with --folder") from error
    return [folder / name for name in texts]
