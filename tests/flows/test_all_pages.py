"""All 22 archives of real pages to tokens, with the matrix of workers, stores and kills: for `make test-all`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from infra.store.lake import Lake
from tasks.builds import find_build
from tests.flows.conftest import Millrace, build, digests, markers
from tests.flows.test_kills import MOMENTS
from tests.swift import SwiftStore

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def archives(shared_data: Path) -> str:
    return str(shared_data / "crawl" / "*.warc.gz")


@pytest.fixture(scope="module")
def built(millrace: Millrace, archives: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    lake = tmp_path_factory.mktemp("all") / "lake"
    return lake, build(millrace, lake, [archives], "--workers", "2")


def test_all_pages_run_to_tokens_and_the_books_balance(built: tuple[Path, dict[str, Any]]) -> None:
    lake, result = built
    source = result["ledger"][0]
    assert source["documents_in"] == 1808 + 22
    assert source["dropped"]["warcinfo"] == 22
    assert result["ledger"][-1]["documents_kept"] == result["documents"] > 1500
    assert result["tokens"] > 2_000_000
    opened = Lake(str(lake))
    record = find_build(opened)
    for name in record.artifacts:
        record.manifest(opened, name).account.check(name)
    assert record.manifest(opened, "crawl/corpus").rows == result["documents"]


def test_an_unchanged_rebuild_takes_seconds_and_does_nothing(
    millrace: Millrace, archives: str, built: tuple[Path, dict[str, Any]]
) -> None:
    before = markers(built[0])
    again = build(millrace, built[0], [archives])
    assert digests(again) == digests(built[1])
    assert markers(built[0]) == before


def test_one_worker_gives_the_same_digests(
    millrace: Millrace, archives: str, built: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    assert digests(build(millrace, tmp_path / "lake", [archives], "--workers", "1")) == digests(built[1])


def test_swift_gives_the_same_digests(
    millrace: Millrace, archives: str, built: tuple[Path, dict[str, Any]], swift: SwiftStore
) -> None:
    on_swift = Millrace({**millrace.environment, **swift.environment()})
    assert digests(build(on_swift, f"s3://{swift.bucket()}/lake", [archives])) == digests(built[1])


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_a_killed_build_of_all_pages_ends_in_the_same_digests(
    millrace: Millrace, archives: str, built: tuple[Path, dict[str, Any]], tmp_path: Path, moment: str
) -> None:
    lake = tmp_path / "lake"
    arguments = ("build", "crawl", "--input", archives, "--lake", str(lake), "--workers", "2")
    killed = millrace.run(*arguments, MILLRACE_FAULT=moment, MILLRACE_FAULT_FOLDER=str(tmp_path))
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    assert digests(build(millrace, lake, [archives], "--workers", "2")) == digests(built[1])
