"""Running `millrace` as its users do, on one Prefect server for all tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.server.local import local_server

PAGES = ("html-recipes-08", "html-article-gold-04", "html-fundus-news-01")


@dataclass(frozen=True)
class Millrace:
    """The command with an environment of its own."""

    environment: dict[str, str]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever that is."""
        return subprocess.run(
            [str(Path(sys.executable).with_name("millrace")), *arguments],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            start_new_session=True,
            timeout=600,
        )

    def json(self, *arguments: str) -> dict[str, Any]:
        """The JSON object that a command prints last; fails when it ends badly."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr + done.stdout
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result


@pytest.fixture(scope="session")
def millrace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Millrace]:
    """The command line, with a server that lives as long as the tests."""
    state = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        with local_server(state) as api_url:
            yield Millrace({**os.environ, "PREFECT_API_URL": api_url, "MILLRACE_STATE": str(state)})


@pytest.fixture(scope="session")
def pages(shared_data: Path) -> list[str]:
    """Three real archives of 118 records in all."""
    return [str(shared_data / "crawl" / f"{name}.warc.gz") for name in PAGES]


def build(millrace: Millrace, lake: Path | str, inputs: list[str], *more: str) -> dict[str, Any]:
    """`millrace build crawl` of some archives."""
    arguments = [argument for path in inputs for argument in ("--input", path)]
    return millrace.json("build", "crawl", "--lake", str(lake), *arguments, *more)


def markers(lake: Path) -> dict[str, set[str]]:
    """The keys of all markers by stage."""
    return {folder.name: {path.stem for path in folder.rglob("*.json")} for folder in (lake / "markers").iterdir()}


def digests(result: dict[str, Any]) -> dict[str, str]:
    """Artifact → digest."""
    return {name: artifact["digest"] for name, artifact in result["artifacts"].items()}
