"""A retry of a build reads the files of its first attempt, whatever its inputs match by then."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry

from flows.build import build_corpus


@pytest.mark.usefixtures("prefect_server")
def test_a_retry_without_an_input_is_not_another_corpus(pages: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    folder.mkdir()
    for page in pages[:2]:
        shutil.copy(page, folder)
    parameters = {"recipe": "crawl", "inputs": [str(folder / "*")], "lake": str(tmp_path / "lake"), "workers": 1}
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(build_corpus, parameters=parameters)

        def attempt() -> dict[str, Any]:
            found: Any = run_flow(build_corpus, flow_run=client.read_flow_run(run.id), parameters=parameters)
            return dict(found)

        first = attempt()
        (folder / Path(pages[1]).name).unlink()
        client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
        again = attempt()
        assert (again["key"], again["digest"]) == (first["key"], first["digest"])

        # A new run sees what is there now.
        other = client.create_flow_run(build_corpus, parameters=parameters)
        fewer: Any = run_flow(build_corpus, flow_run=client.read_flow_run(other.id), parameters=parameters)
        assert fewer["documents"] < first["documents"]
