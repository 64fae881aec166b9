"""Repair of texts in wrong encodings: ftfy's own answers, only where it is asked for, and counted."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import ftfy
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.engine.plans import ConfiguredStage, SourcePlan
from infra.engine.pool import LocalPool
from infra.outcomes import Kept, read_all
from infra.stage import Stage
from infra.store.inputs import take_inventory
from infra.store.lake import Lake
from tasks.sources import repair as module
from tasks.sources.books import read_books
from tasks.sources.jsonl import read_json_lines
from tasks.sources.parquet import read_parquet
from tasks.sources.repair import repair_text
from tasks.sources.web_archive import read_web_archive
from tasks.sources.wet import read_wet
from tests.tasks.sources.samples import PARAGRAPH, page, stored, warc_record

BROKEN = "The mill ‘ wheel’ of FranÃ§ois Müller".replace("ü", "Ã¼")
REPAIRED = "The mill ‘ wheel’ of François Müller"


@pytest.fixture(scope="module")
def cases(shared_data: Path) -> list[dict[str, Any]]:
    folder = shared_data / "mojibake"
    names = ("negative", "synthetic", "language-names")
    return [case for name in names for case in json.loads((folder / f"{name}.json").read_text())]


def test_broken_strings_are_repaired_and_clean_ones_stay(cases: list[dict[str, Any]]) -> None:
    passing = [case for case in cases if case["expect"] == "pass"]
    assert len(passing) > 70
    for case in passing:
        assert repair_text(case["original"], "encoding") == case.get("fixed-encoding", case["fixed"]), case["label"]
        assert repair_text(case["original"], "text") == case["fixed"], case["label"]
    negative = [case for case in passing if case["label"].startswith("Negative")]
    assert negative and all(repair_text(case["original"], "encoding") == case["original"] for case in negative)


def test_whole_texts_are_repaired_as_ftfy_repairs_their_lines(cases: list[dict[str, Any]]) -> None:
    lines = [case["original"] for case in cases]
    text = "\n".join(lines)
    assert repair_text(text, "text") == ftfy.fix_text(text)
    assert repair_text(text, "encoding").split("\n") == [ftfy.fix_encoding(line) for line in lines]


def test_only_the_encoding_is_changed_where_only_that_is_asked_for() -> None:
    kept = "“quotes” ﬁgure Ａ &amp; e\u0301 \x1b[0m\r\n a\u2028b"
    assert repair_text(kept, "encoding") == kept
    assert repair_text("“quotes” &amp; ﬁgure", "text") == '"quotes" & figure'


@pytest.mark.parametrize(
    "unit", ["â€", "Ã", "Ã© ж ", "Ã ", "\x80", "é", "日本", "&amp;", "<", "ï¿½", "e\u0301", "\ud7ff"]
)
@pytest.mark.parametrize("mode", ["encoding", "text"])
def test_lines_are_looked_at_in_bounded_pieces(
    unit: str, mode: Literal["encoding", "text"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece of a text is given to ftfy a bounded number of times."""
    given: list[int] = []
    inner = ftfy._fix_encoding_one_step_and_explain

    def counted(text: str, config: ftfy.TextFixerConfig) -> Any:
        given.append(len(text))
        return inner(text, config)

    monkeypatch.setattr(ftfy, "_fix_encoding_one_step_and_explain", counted)
    size = 8 * module._LONGEST_LINE
    repair_text(unit * (size // len(unit)), mode)
    assert all(length <= module._LONGEST_LINE for length in given) and sum(given) <= 8 * size


def json_lines(text: str) -> bytes:
    return json.dumps({"id": "1", "text": text}).encode() + b"\n"


def rows(text: str) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"id": ["1"], "text": [text]}), file)
    return file.getvalue()


READERS: list[tuple[Stage, Callable[[str], bytes]]] = [
    (read_json_lines, json_lines),
    (read_parquet, rows),
    (read_wet, lambda text: stored([warc_record(text.encode(), "conversion", 1)], "none")[0]),
    (read_books, lambda text: text.encode()),
    (read_web_archive, lambda text: stored([warc_record(page(f"<p>{text}</p>{PARAGRAPH}"))], "none")[0]),
]


def read(stage: Stage, data: bytes, **config: Any) -> Kept:
    outcomes: Iterator[Any] = stage(io.BytesIO(data), "book.txt", stage.config.model_validate(config))
    [kept] = read_all(outcomes)
    assert isinstance(kept, Kept)
    return kept


@pytest.mark.parametrize(("stage", "made"), READERS, ids=lambda item: getattr(item, "name", ""))
def test_every_reader_of_texts_repairs_where_it_is_asked_to(stage: Stage, made: Callable[[str], bytes]) -> None:
    as_it_is = read(stage, made(BROKEN))
    assert BROKEN in as_it_is.document.text and as_it_is.measures == ()
    assert "repaired" not in as_it_is.document.metadata
    repaired = read(stage, made(BROKEN), repair="encoding")
    assert REPAIRED in repaired.document.text and repaired.measures == ("repaired",)
    assert repaired.document.metadata["repaired"] == "encoding" and repaired.bytes == as_it_is.bytes
    clean = read(stage, made(REPAIRED), repair="encoding")
    assert clean.measures == () and "repaired" not in clean.document.metadata
    assert "'" in read(stage, made(BROKEN), repair="text").document.text


@pytest.mark.parametrize("stage", [stage for stage, _ in READERS], ids=lambda stage: stage.name)
def test_what_is_not_repaired_has_the_key_that_it_had(stage: Stage) -> None:
    plain = stage.identity(stage.config(), {})
    asked = stage.identity(stage.config.model_validate({"repair": "text"}), {})
    assert "repair" not in plain["config"] and "ftfy" not in plain["libraries"]
    assert asked["config"]["repair"] == "text" and "ftfy" in asked["libraries"]


def test_repaired_documents_are_counted_in_the_ledger(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"".join(map(json_lines, [BROKEN, REPAIRED, f"{BROKEN} again", "mill"])))
    config = read_json_lines.config.model_validate({"repair": "encoding"})
    plan = SourcePlan(ConfiguredStage(read_json_lines, config), take_inventory(lake, [str(file)]).files)
    [manifest] = plan.run(lake, pool, lambda label, done, total: None)
    assert manifest.account.measures == {"repaired": 2} and manifest.account.kept == 4


def test_a_field_of_rows_cannot_say_that_a_text_was_repaired() -> None:
    with pytest.raises(ValueError, match="'repaired', which the reader writes itself"):
        read_json_lines.config.model_validate({"repair": "text", "metadata_fields": ["repaired"]})
