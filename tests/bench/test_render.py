"""The documents' figures are those of the records, and a record that is missing is an error."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import pytest

from tests.bench import render as module
from tests.bench.records import FOLDER, Recorder, Spread, read_records, spread, write_record
from tests.bench.render import DOCUMENTS, ROOT, main, render


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_shows_what_is_recorded(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert render(text, read_records()) == text, f"{document.name} differs from docs/results: run `make docs`"


def test_every_template_stands_in_a_document() -> None:
    regions = {name for path in DOCUMENTS for name in re.findall("<!-- results: ([a-z-]+) -->", path.read_text())}
    assert regions == {path.name.removesuffix(".md.j2") for path in FOLDER.glob("*.md.j2")}


def test_another_result_is_another_text() -> None:
    records = read_records()
    demo = records["demo"]
    changed = demo.model_copy(update={"values": demo.values | {"tokens": 123_456_789}})
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "123,456,789 tokens" in render(text, records | {"demo": changed})


def test_the_readme_shows_the_demos_perplexities_as_recorded() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for run in read_records()["demo"].values["runs"]:
        assert f"held-out perplexity {run['first']:,.1f} → {run['last']:,.1f}" in text


def test_a_record_that_is_missing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.md.j2").write_text("{{ records['none'].about }}")
    with pytest.raises(jinja2.UndefinedError):
        render("<!-- results: x -->\n<!-- end of results -->", {}, tmp_path)
    with pytest.raises(jinja2.TemplateNotFound):
        render("<!-- results: y -->\n<!-- end of results -->", {}, tmp_path)


def test_the_command_renders_and_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(text.replace(" tokens in ", " words in "))
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "DOCUMENTS", (tmp_path / "README.md",))
    assert main(["--check"]) == 1 and "run `make docs`" in capsys.readouterr().out
    assert main([]) == 0 and (tmp_path / "README.md").read_text() == text
    assert main(["--check"]) == 0


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    recorder = Recorder()
    with pytest.raises(ValueError, match="began no record"):
        recorder.finish("x")
    recorder.start(name="sums", about="a test", machine="this one", versions="none")
    recorder.set(seconds=spread([3.0, 1.0, 2.0], 2.0).model_dump())
    record = recorder.finish("python -m tests.bench sums")
    assert Spread.model_validate(record.values["seconds"]) == Spread(median=2, least=1, most=3, count=3)
    assert re.fullmatch(r"[0-9a-f]{7,}(\+changes)?", record.commit)
    file = write_record(record, tmp_path)
    assert read_records(tmp_path) == {"sums": record}
    file.rename(tmp_path / "other.json")
    with pytest.raises(ValueError, match="the two names must be the same"):
        read_records(tmp_path)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match=r"other\.json is no record"):
        read_records(tmp_path)


def test_recorded_figures_have_their_place_and_time() -> None:
    for record in read_records().values():
        assert record.command and record.commit, record.name
