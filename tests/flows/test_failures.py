"""A build that lost records is not plain green: its state and its page say so, with the files' names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from infra.server.password import password
from tests.flows.conftest import Millrace


def test_a_build_with_a_truncated_archive_says_so(millrace: Millrace, pages: list[str], tmp_path: Path) -> None:
    whole = Path(pages[0])
    broken = tmp_path / "cut-short.warc.gz"
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    lake = str(tmp_path / "lake")
    built = millrace.json("build", "crawl", "--lake", lake, "--input", pages[1], "--input", str(broken))
    failed = sum(sum(entry["failed"].values()) for entry in built["ledger"])
    assert failed

    user, _, secret = password(Path(millrace.environment["MILLRACE_STATE"])).partition(":")

    def ask(what: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        url = f"{millrace.environment['PREFECT_API_URL']}/{what}/filter"
        found: list[dict[str, Any]] = httpx.post(url, json=body, auth=(user, secret)).raise_for_status().json()
        return found

    runs = ask("flow_runs", {"sort": "START_TIME_DESC", "limit": 5})
    [run] = [run for run in runs if lake in str(run["parameters"])]
    assert (run["state_type"], run["state_name"]) == ("COMPLETED", "Completed with failures")
    assert run["state"]["message"].startswith(f"{failed} records failed (")
    assert "<" not in run["state"]["message"], "reasons, not the names of classes"
    artifacts = ask("artifacts", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    [failures] = [artifact for artifact in artifacts if artifact["key"] == "crawl-failures"]
    assert any(broken.name in row["where"] for row in json.loads(failures["data"]))

    # A recipe that allows no failure names the file, too.
    strict = millrace.run(
        *("build", "crawl", "--lake", lake, "--input", pages[1], "--input", str(broken)),
        *("--set", "most_failures=0", "--set", "failures_allowed=0"),
    )
    assert strict.returncode == 1
    assert broken.name in strict.stderr and "<" not in strict.stderr.partition("failed (")[2][:60]
