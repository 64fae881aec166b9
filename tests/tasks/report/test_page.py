"""The page: the ledger's numbers, nothing from elsewhere, nothing that runs, and no section about nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import html

from tasks.report.data import ReportData
from tasks.report.distributions import Count, Distributions
from tasks.report.page import about, duration, percent, render_report, size, write_report
from tests.tasks.report.conftest import ATTACK, HOSTILE_URI, Built


@pytest.fixture(scope="module")
def text(data: ReportData) -> str:
    return render_report(data)


@pytest.fixture(scope="module")
def page(text: str) -> html.HtmlElement:
    return html.document_fromstring(text)


def rows(page: html.HtmlElement, table: str) -> list[list[str]]:
    """The cells of a table's body as text."""
    found = page.xpath(f"//table[@id='{table}']/tbody/tr")
    return [[" ".join(cell.text_content().split()) for cell in row.xpath("./th|./td")] for row in found]


def numbers(cells: list[str]) -> list[int]:
    """The cells that are whole numbers."""
    return [int(cell.replace(",", "")) for cell in cells if re.fullmatch(r"[\d,]+", cell)]


def test_the_funnel_shows_the_ledger(page: html.HtmlElement, built: Built) -> None:
    for cells, entry in zip(rows(page, "funnel-table"), built.build.ledger, strict=True):
        out = entry["documents_in"] - entry["documents_kept"]
        wanted = [entry["documents_in"], entry["documents_kept"], out, entry["bytes_kept"]]
        last = entry is built.build.ledger[-1]
        assert cells[0] == entry["stage"].replace("_", " ")
        assert numbers(cells[2:]) == wanted + ([built.build.tokens] if last else [])


def test_the_reasons_are_those_of_the_ledger(page: html.HtmlElement, built: Built) -> None:
    wanted = {
        (entry["stage"].replace("_", " "), name.replace("_", " ") + mark): count
        for entry in built.build.ledger
        for fate, mark in (("dropped", ""), ("failed", " (failed)"))
        for name, count in entry[fate].items()
    }
    assert {(cells[0], cells[1]): numbers(cells)[0] for cells in rows(page, "reasons")} == wanted
    assert ("source", "truncated body (failed)") in wanted


def test_every_stage_shows_its_account(page: html.HtmlElement, built: Built) -> None:
    accounts = {name: built.build.manifest(built.lake, name).account for name in built.build.artifacts}
    shown = {cells[0]: numbers(cells[1:7]) for cells in rows(page, "ledger-table")}
    assert len(shown) == len(accounts)
    for name, account in accounts.items():
        dropped, failed = sum(account.dropped.values()), sum(account.failed.values())
        assert shown[name.replace("_", " ")] == [
            account.rows_in,
            account.kept,
            account.skipped,
            dropped,
            failed,
            account.bytes_in,
        ]


def test_the_other_tables_show_the_data(page: html.HtmlElement, data: ReportData) -> None:
    languages = {cells[0]: numbers(cells) for cells in rows(page, "languages-table")}
    assert languages == {
        item.label or "none found": [item.count.documents, item.count.kept, item.count.tokens]
        for item in data.distributions.languages
    }
    buckets = [[*cells[:2], *numbers(cells)] for cells in rows(page, "perplexity-table")]
    assert buckets == [
        [item.language, bucket, count.documents, count.kept, count.tokens]
        for item in data.distributions.perplexities
        for bucket, count in item.buckets
    ]
    [source] = data.sources
    [tokens] = rows(page, "tokens-table")
    assert numbers(tokens) == [source.documents, source.tokens, source.held_out_documents, source.held_out_tokens]
    assert data.training is not None
    scores = rows(page, "scores-table")
    assert [numbers(cells[:1])[0] for cells in scores] == [evaluation.step for evaluation in data.training.evaluations]
    assert scores[-1][1:] == ["30.77", "0.3700 ± 0.0500", "0.3000"]
    [skipped] = rows(page, "skipped")
    assert skipped[:2] == ["2", "not finite"] and "overflowed" in skipped[2]
    facts = [" ".join(fact.text_content().split()) for fact in page.iter("dd")]
    assert any(fact.startswith("2.00 of Processor") for fact in facts)
    assert "0.2000 kWh for the devices; 1 account without a meter" in facts
    assert "loss on validation sequences" in page.text_content()
    cost = {cells[0]: cells[2] for cells in rows(page, "cost-table")}
    assert cost == {stage.name.replace("_", " "): f"{stage.worker_seconds:,.1f}" for stage in data.stages}
    assert {("torch", "2.13.0"), ("lm_eval", "0.4.13")} <= {(cells[0], cells[1]) for cells in rows(page, "libraries")}


def test_failures_say_where(page: html.HtmlElement) -> None:
    [broken] = [cells for cells in rows(page, "failures") if cells[1] == "truncated body"]
    assert broken[2] == "1"
    assert re.match(r"pages\.warc\.gz, byte [\d,]+", broken[3])


def test_nothing_comes_from_elsewhere(page: html.HtmlElement, text: str) -> None:
    for element in page.iter():
        for name, value in element.attrib.items():
            if name.rpartition("}")[2] in ("src", "srcset", "href", "action", "data", "poster", "background"):
                assert value.startswith("#"), f"{element.tag} {name}={value}"
    assert not page.xpath("//script|//link|//iframe|//object|//embed|//img|//base")
    styles = " ".join(style.text_content() for style in page.iter("style"))
    assert not re.search(r"url\(|@import|@font-face", styles)
    assert "default-src 'none'" in text


def test_text_of_documents_is_text(page: html.HtmlElement, text: str) -> None:
    assert ATTACK not in text and "<script" not in text
    assert not [name for element in page.iter() for name in element.attrib if name.startswith("on")]
    excerpts = [quote.text_content() for quote in page.xpath("//blockquote/p")]
    assert sum(excerpt.startswith(ATTACK) for excerpt in excerpts) == 2
    assert HOSTILE_URI in [uri.text_content() for uri in page.xpath("//blockquote//bdi")]
    assert any(ATTACK in cells[3] for cells in rows(page, "logbook"))


def test_contents_lead_to_the_sections(page: html.HtmlElement) -> None:
    targets = [link.get("href").removeprefix("#") for link in page.xpath("//nav//a")]
    assert targets == [heading.get("id") for heading in page.iter("h2")]
    assert {"funnel", "training", "scores", "cost"} <= set(targets)
    identities = [element.get("id") for element in page.xpath("//*[@id]")]
    assert len(identities) == len(set(identities))


def test_charts_say_what_they_show(page: html.HtmlElement) -> None:
    charts = page.xpath("//svg[contains(@class, 'chart') and not(@aria-hidden)]")
    assert len(charts) > 10
    assert all(chart.get("role") == "img" and len(chart.get("aria-label")) > 10 for chart in charts)


def test_sections_about_nothing_are_left_out(data: ReportData) -> None:
    only_data = html.document_fromstring(render_report(replace(data, training=None)))
    sections = [heading.get("id") for heading in only_data.iter("h2")]
    assert "training" not in sections and "scores" not in sections
    assert [heading.xpath("./span")[0].text for heading in only_data.iter("h2")] == [
        str(number) for number in range(1, len(sections) + 1)
    ]
    bare = replace(data, training=None, near_duplicates=(), distributions=Distributions(Count(), {}, (), (), ()))
    found = [heading.get("id") for heading in html.document_fromstring(render_report(bare)).iter("h2")]
    assert found == ["funnel", "ledger", "tokens", "cost", "origin"]


def test_a_run_that_has_only_begun_has_no_curve(data: ReportData) -> None:
    assert data.training is not None
    begun = replace(data.training, steps=(), evaluations=(), events=())
    found = html.document_fromstring(render_report(replace(data, training=begun)))
    assert begun.key in found.text_content()
    assert "training" not in [heading.get("id") for heading in found.iter("h2")]
    unscored = replace(data.training, evaluations=())
    shown = html.document_fromstring(render_report(replace(data, training=unscored)))
    sections = [heading.get("id") for heading in shown.iter("h2")]
    assert "training" in sections and "scores" not in sections
    assert not [item for item in shown.xpath("//ul/li") if "held-out" in item.text_content()]


def test_a_build_of_nothing_can_be_reported(data: ReportData) -> None:
    nothing = tuple(
        replace(step, documents_in=0, documents_kept=0, bytes_in=0, bytes_kept=0, bytes_struck=0, reasons=())
        for step in data.funnel
    )
    sources = tuple(replace(source, documents=0, tokens=0) for source in data.sources)
    empty = replace(data, funnel=nothing, sources=sources, documents=0, tokens=0, training=None, near_duplicates=())
    text = render_report(replace(empty, distributions=Distributions(Count(), {}, (), (), ())))
    assert "nan" not in text and "inf" not in text.replace("info", "")


def test_the_same_data_give_the_same_bytes(data: ReportData, tmp_path: Path) -> None:
    write_report(data, tmp_path / "folder" / "first.html")
    write_report(data, tmp_path / "second.html")
    assert (tmp_path / "folder" / "first.html").read_bytes() == (tmp_path / "second.html").read_bytes()


def test_numbers_are_written_as_people_read_them() -> None:
    assert [percent(1, 3), percent(0, 5), percent(5, 5), percent(1, 0)] == ["33.3 %", "0.0 %", "100.0 %", "–"]
    assert [percent(1, 10**6), percent(10**6 - 1, 10**6)] == ["< 0.1 %", "> 99.9 %"]
    assert [size(999), size(1_000), size(476_962_901), size(2.5e12)] == ["999 B", "1.0 kB", "477.0 MB", "2.5 TB"]
    assert [duration(4.21), duration(200), duration(7_500)] == ["4.2 s", "3 min 20 s", "2 h 5 min"]
    assert [about(2_531_234), about(0)] == ["≈ 2,530,000", "≈ 0"]
