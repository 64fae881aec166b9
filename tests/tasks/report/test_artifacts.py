"""The report's artifacts on a real server's run page."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
from lxml import etree
from prefect import flow

from tasks.report.artifacts import publish_report, summary
from tasks.report.data import ReportData
from tests.conftest_servers import PrefectServer
from tests.tasks.report.conftest import Built


def published(server: PrefectServer, data: ReportData) -> dict[str, dict[str, Any]]:
    """The artifacts that a flow run publishes, by key."""

    @flow(name="publish")
    def publish() -> str:
        from prefect.runtime import flow_run

        publish_report(data, "/reports/crawl 1.html")
        return str(flow_run.id)

    run = publish()
    wanted = {"flow_runs": {"id": {"any_": [run]}}}
    answer = httpx.post(f"{server.api_url}/artifacts/filter", json=wanted, auth=server.auth)
    return {artifact["key"]: artifact for artifact in answer.raise_for_status().json()}


def test_the_run_page_has_the_ledger_the_scores_and_the_curve(
    prefect_server: PrefectServer, data: ReportData, built: Built
) -> None:
    found = published(prefect_server, data)
    assert set(found) == {"crawl-report", "crawl-funnel", "crawl-reasons", "crawl-scores", "crawl-loss"}
    funnel = json.loads(found["crawl-funnel"]["data"])
    assert [(row["step"], row["documents in"], row["documents kept"]) for row in funnel] == [
        (entry["stage"], entry["documents_in"], entry["documents_kept"]) for entry in built.build.ledger
    ]
    assert all(row["documents in"] == row["documents kept"] + row["dropped"] + row["failed"] for row in funnel)
    reasons = json.loads(found["crawl-reasons"]["data"])
    assert {"step": "source", "reason": "truncated_body", "fate": "failed", "documents": 1} in [
        {name: row[name] for name in ("step", "reason", "fate", "documents")} for row in reasons
    ]
    scores = json.loads(found["crawl-scores"]["data"])
    assert [(row["step"], row["sciq acc"]) for row in scores] == [(0, 0.25), (4, 0.29), (12, 0.37)]
    assert "file:///reports/crawl%201.html" in found["crawl-report"]["data"]
    _, _, picture = found["crawl-loss"]["data"].removesuffix(")").partition("base64,")
    assert etree.fromstring(base64.b64decode(picture)).tag == "{http://www.w3.org/2000/svg}svg"


def test_the_summary_has_the_key_numbers(data: ReportData) -> None:
    text = summary(data, "https://reports.example/crawl.html")
    for number in (data.documents, data.tokens, data.text_bytes, data.funnel[0].documents_in):
        assert f"| {number:,} |" in text
    assert "(<https://reports.example/crawl.html>)" in text and "Browsers" not in text
    assert "5.750 → 3.000" in text and "400.0 → 30.8" in text
    assert data.digest in text
