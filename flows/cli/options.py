"""Options that several commands share."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from flows import parameters

DEFAULT_LAKE = os.environ.get("MILLRACE_LAKE", "lake")
DEFAULT_WORKERS = os.cpu_count() or 1

LakeOption = Annotated[str, parameters.LAKE.option("--lake")]
WorkersOption = Annotated[int, parameters.WORKERS.option("--workers")]
LayoutOption = Annotated[
    list[str] | None,
    typer.Option("--layout", help="KEY=VALUE,… for engine, data, tensor, pipeline, zero, micro_batch …; repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
SettingsOption = Annotated[list[str] | None, parameters.SETTINGS.option("--set")]
