"""Options that several commands share."""

from __future__ import annotations

import os
from typing import Annotated

import typer

DEFAULT_LAKE = os.environ.get("MILLRACE_LAKE", "lake")

LakeOption = Annotated[
    str, typer.Option("--lake", help="Where artifacts lie: a folder, or s3://bucket/prefix.", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", help="KEY=VALUE for any value of the recipe or config; repeatable.")
]
