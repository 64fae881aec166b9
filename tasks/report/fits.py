"""What fitted models of a build say of themselves: the file ``report.json`` beside a model."""

from __future__ import annotations

from typing import Any

from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.manifest import Manifest, read_part
from infra.store.schema import parse_json
from tasks.builds import BuildRecord
from tasks.model_files import FIT_REPORT


def fit_reports(lake: Lake, build: BuildRecord) -> dict[str, dict[str, Any]]:
    """The reports of a build's models by the name of the artifact; models without one are left out."""
    names = [name for name in build.artifacts if name.startswith("models/")]
    found = {name: fit_report(lake, build.manifest(lake, name)) for name in names}
    return {name: report for name, report in found.items() if report is not None}


def fit_report(lake: Lake, manifest: Manifest) -> dict[str, Any] | None:
    """The report of a model; None for an artifact without one. Raises Corrupt for a file that changed."""
    part = next((part for part in manifest.parts if part.name == FIT_REPORT), None)
    if part is None:
        return None
    where = f"{lake.uri}/{part.path}"
    report = parse_json(read_part(lake, manifest, part), where)
    if not isinstance(report, dict):
        raise Corrupt(f"{where} ({part.name}) is not a report of a model: run the build again")
    return report


def short_rows(report: dict[str, Any], before: str = "") -> list[list[str]]:
    """The values of a report by their paths, without its parameters."""
    rows: list[list[str]] = []
    for name, value in report.items():
        path = f"{before}{name}"
        if isinstance(value, dict):
            rows += short_rows(value, f"{path}.") if name != "parameters" else []
        else:
            rows.append([path, str(value)])
    return rows
