"""The forecast on the page of a build: only where there is one, escaped, and beside what the build was."""

from __future__ import annotations

from dataclasses import replace

from lxml import html

from infra.store.lake import Lake
from tasks.forecast.record import Estimate, Forecast, StageForecast, forecast_path, keep, key_of_build
from tasks.report.data import ReportData
from tasks.report.forecast import compared_with_forecast
from tasks.report.page import render_report, size
from tests.tasks.forecast.test_record import forecast
from tests.tasks.report.conftest import ATTACK, Built


def for_build(built: Built) -> Forecast:
    manifests = {name: built.build.manifest(built.lake, name) for name in built.build.artifacts}
    some = Estimate(2e6, 1e6, 3e6)
    stages = tuple(StageForecast(name, item.stage, some, some, some, some, some) for name, item in manifests.items())
    return replace(forecast(key_of_build(built.build.recipe, manifests)), stages=stages, notes=(ATTACK,))


def test_no_forecast_no_table(data: ReportData) -> None:
    assert data.forecast is None
    assert "forecast-table" not in render_report(data)


def test_it_stands_beside_what_the_build_was(built: Built, data: ReportData) -> None:
    manifests = {name: built.build.manifest(built.lake, name) for name in built.build.artifacts}
    made = for_build(built)
    keep(built.lake, made)
    try:
        compared = compared_with_forecast(built.lake, built.build, manifests)
        assert compared is not None and compared.forecast == made
        page = html.fromstring(render_report(replace(data, forecast=compared)))
        [table] = page.xpath("//table[@id='forecast-table']")
        rows = [[cell.text_content() for cell in row] for row in table.xpath("./tbody/tr")]
        assert [row[0] for row in rows] == [name.replace("_", " ") for name in manifests]
        assert rows[0][3] == "2.0 MB (1.0 MB to 3.0 MB)"
        for place, kind in ((6, "worker_requests"), (8, "worker_peak")):
            found = [manifest.cost[kind] for manifest in manifests.values()]
            assert all(found) and rows[0][place - 1] == ("2,000,000 (1,000,000 to 3,000,000)", rows[0][3])[place == 8]
            [foot] = table.xpath(f"./tfoot/tr/td[{place}]/text()")
            assert rows[0][place] == (f"{found[0]:,.0f}", size(found[0]))[place == 8]
            assert foot == (f"{sum(found):,.0f}", size(max(found)))[place == 8]
        facts = " ".join(page.text_content().split())
        assert f"{data.tokens:,}; forecast 2 (1 to 3)" in facts
        # A forecast of other stages is of another version.
        keep(built.lake, replace(made, stages=made.stages[1:]))
        assert compared_with_forecast(built.lake, built.build, manifests) is None
        built.lake.write(forecast_path(made.key), b"{")
        assert compared_with_forecast(built.lake, built.build, manifests) is None
    finally:
        built.lake.delete(forecast_path(made.key))


def test_a_build_that_lists_no_files_has_none(built: Built, lake: Lake) -> None:
    manifests = {name: built.build.manifest(built.lake, name) for name in built.build.artifacts}
    bare = {name: replace(manifest, details={}) for name, manifest in manifests.items()}
    assert compared_with_forecast(lake, built.build, bare) is None


def test_what_an_older_build_did_not_measure_is_a_dash(built: Built, data: ReportData) -> None:
    manifests = {name: built.build.manifest(built.lake, name) for name in built.build.artifacts}
    first = next(iter(manifests))
    manifests[first] = replace(manifests[first], cost={"worker_seconds": 1.0})
    keep(built.lake, for_build(built))
    try:
        compared = compared_with_forecast(built.lake, built.build, manifests)
    finally:
        built.lake.delete(forecast_path(for_build(built).key))
    assert compared is not None and compared.worker_requests is None and compared.worker_peak is None
    [table] = html.fromstring(render_report(replace(data, forecast=compared))).xpath("//table[@id='forecast-table']")
    for row in (table.xpath("./tbody/tr[1]/td/text()"), table.xpath("./tfoot/tr/td/text()")):
        assert row[5] == row[7] == "–"
    assert "–" not in table.xpath("./tbody/tr[2]/td/text()")
