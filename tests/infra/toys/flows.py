"""Toy flows: two stages with markers in a folder, and a launch whose ranks stand in sessions of their own."""

import os
import sys
import time
from pathlib import Path
from typing import Any, Literal

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed
from pydantic import BaseModel, ConfigDict, Field

from infra.launcher import Watch, launch
from infra.suspension import SuspensionCheck

AGENT = """
import pathlib, subprocess, sys, time
ranks = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
         for _ in range(2)]
pathlib.Path("pids").write_text(" ".join(str(rank.pid) for rank in ranks))
time.sleep(600)
"""


class Options(BaseModel):
    """What the dashboard makes a form of."""

    model_config = ConfigDict(extra="forbid")

    layers: int = Field(default=2, ge=1)
    family: Literal["pythia", "llama"] = "pythia"


@task(cache_policy=NO_CACHE, persist_result=False)
def stage(folder: Path, name: str) -> Any:
    """Finds its marker, or does its work, which fails for "second" until the folder is mended."""
    marker = folder / name
    if marker.exists():
        return Completed(name="Cached", message="found in the lake", data={"digest": marker.read_text()})
    with (folder / "computed").open("a") as log:
        log.write(f"{name}\n")
    if name == "second" and not (folder / "mended").exists():
        raise OSError("the store is away")
    marker.write_text(f"digest of {name}")
    return {"digest": marker.read_text()}


@flow
def staged(folder: str, options: Options = Options()) -> list[str]:  # noqa: B008  (as Prefect reads defaults)
    """Two stages in a row; returns their digests."""
    digests = []
    for name in ("first", "second"):
        reference: dict[str, str] = stage(Path(folder), name, return_state=True).result()
        digests.append(reference["digest"])
    return digests


@flow
def ranks(folder: str) -> int:
    """Launches an agent with two ranks; the first attempt sleeps, later ones end at once."""
    attempts = Path(folder) / "attempts"
    with attempts.open("a") as log:
        log.write(f"{os.getpid()}\n")
    if len(attempts.read_text().splitlines()) > 1:
        return 0
    check = SuspensionCheck()
    return launch(
        [sys.executable, "-c", AGENT],
        environment=os.environ,
        folder=Path(folder),
        on_line=print,
        watch=Watch(lambda: (check(), time.monotonic())),
        grace=10,
    )
