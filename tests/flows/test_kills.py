"""`kill -9` of a build's process tree at ten moments, and of a single worker: the same digests after a retry."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import Millrace, build, digests, markers

MOMENTS = {
    "in the write of a source's part": "inside_part:1",
    "between part and marker": "before_marker:1",
    "in the write of a later part": "inside_part:20",
    "in a reduce": "in_reduce:2",
    "before the first manifest": "before_manifest:1",
    "before an annotation's marker": "before_marker:21",
    "in the reduce of near-duplicates": "in_reduce:4",
    "in a fit": "in_fit:1",
    "in tokens": "in_fit:4",
    "before the last manifest": "before_manifest:15",
}
# The others are run by `make test-all`.
OFTEN = ("between part and marker", "in the write of a later part", "in the reduce of near-duplicates", "in tokens")


@pytest.fixture(scope="module")
def unbroken(
    millrace: Millrace, pages: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    lake = tmp_path_factory.mktemp("unbroken") / "lake"
    return lake, build(millrace, lake, pages[:1])


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(moment, id=name, marks=[] if name in OFTEN else [pytest.mark.heavy])
        for name, moment in MOMENTS.items()
    ],
)
def test_a_killed_build_ends_in_the_same_digests(
    millrace: Millrace, pages: list[str], unbroken: tuple[Path, dict[str, Any]], tmp_path: Path, moment: str
) -> None:
    lake = tmp_path / "lake"
    arguments = ("build", "crawl", "--input", pages[0], "--lake", str(lake), "--workers", "2")
    killed = millrace.run(*arguments, MILLRACE_FAULT=moment, MILLRACE_FAULT_FOLDER=str(tmp_path))
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    done = {path: path.stat().st_mtime_ns for path in (lake / "markers").rglob("*.json")}
    assert digests(build(millrace, lake, pages[:1], "--workers", "2")) == digests(unbroken[1])
    assert markers(lake) == markers(unbroken[0])
    assert all(path.stat().st_mtime_ns == modified for path, modified in done.items()), "finished work was done again"


def test_a_lost_worker_is_replaced(
    millrace: Millrace, pages: list[str], unbroken: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    fault = {
        "MILLRACE_FAULT": "before_marker:4",
        "MILLRACE_FAULT_FOLDER": str(tmp_path),
        "MILLRACE_FAULT_TARGET": "process",
    }
    alive = Millrace({**millrace.environment, **fault})
    assert digests(build(alive, tmp_path / "lake", pages[:1], "--workers", "2")) == digests(unbroken[1])
    assert (tmp_path / "reached").stat().st_size >= 4
