"""Word lists: the verdicts of C4's rule, written as one pattern, on texts with and without entries of LDNOOBW."""

from __future__ import annotations

import gzip
import json
import random
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.model_files import model_files
from tasks.word_list import WORD_LIST_SCHEMA, WordListConfig, count_words_of_list, load_word_lists

CONFIG = WordListConfig()
ALL = WordListConfig(by_language=False)
C4 = WordListConfig(compat="c4")


def lists(folder: Path, **entries: str) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    for name, content in entries.items():
        (folder / name.replace("_", "-")).write_text(content, encoding="utf-8")
    return {path.name: path for path in folder.iterdir()}


def count(
    files: dict[str, Path], texts: list[str], languages: list[str | None] | None = None, config: WordListConfig = CONFIG
) -> list[tuple[int | None, float | None]]:
    columns: dict[str, Any] = {"text": pa.array(texts, pa.string())}
    if languages is not None:
        columns["language.label"] = pa.array(languages, pa.string())
    table = count_words_of_list(pa.table(columns), config, load_word_lists(config, files))
    assert table.schema == WORD_LIST_SCHEMA
    return list(zip(table["hits"].to_pylist(), table["share"].to_pylist(), strict=True))


def pattern_of(words: list[str], language: str) -> re.Pattern[str]:
    """C4's rule: flanked by non-word characters, or anywhere in Japanese, Thai and Chinese."""
    joined = "|".join(map(re.escape, words))
    return re.compile(joined if language in ("ja", "th", "zh") else rf"(?:\W|^)({joined})(?:\W|$)")


@pytest.fixture(scope="module")
def ldnoobw(shared_data: Path) -> dict[str, Path]:
    return {path.name: path for path in (shared_data / "evaluation" / "bias" / "ldnoobw").iterdir()}


def test_a_list_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    tmp_path.joinpath("en").write_bytes("\ufeffmill\r\n\r\nriver\r\n".encode())
    assert count({"en": tmp_path / "en"}, ["the mill"], config=ALL) == [(1, 0.5714)]


def test_verdicts_are_those_of_c4_on_texts_with_bad_words(ldnoobw: dict[str, Path], shared_data: Path) -> None:
    bias = shared_data / "evaluation" / "bias"
    with gzip.open(bias / "hatecheck.jsonl.gz", "rt") as file:
        english = [" ".join(str(value) for value in json.loads(line).values()) for line in file]
    with gzip.open(bias / "ethos_binary.jsonl.gz", "rt") as file:
        english += [" ".join(str(value) for value in json.loads(line).values()) for line in file]
    english = english[::3]
    expected = [pattern_of(ldnoobw["en"].read_text().split("\n")[:-1], "en").search(text.lower()) for text in english]
    found = count(ldnoobw, english, ["en"] * len(english), C4)
    assert [bool(hits) for hits, _ in found] == [match is not None for match in expected]
    assert 100 < sum(bool(hits) for hits, _ in found) < len(english) - 100


def test_verdicts_are_those_of_c4_in_every_language(ldnoobw: dict[str, Path]) -> None:
    """Entries between, before and inside other characters."""
    rng = random.Random(3)
    around = ["", " ", ".", "a", "_", "7", "-", "\n", "字", "é", "'", "“", "\u0301", "\u200b"]
    for name, path in ldnoobw.items():
        entries = [line.strip() for line in path.read_text().splitlines()]
        texts = [
            "".join(rng.choice(around) + rng.choice(entries) + rng.choice(around) for _ in range(rng.randrange(1, 3)))
            for _ in range(200)
        ]
        texts += [entry[:-1] + "x" + entry[-1] for entry in entries[:20]]
        if "-" in name:
            continue
        expected = [pattern_of(entries, name).search(text.lower()) is not None for text in texts]
        found = count({name: path}, texts, [name] * len(texts), C4)
        assert [bool(hits) for hits, _ in found] == expected, name


def test_hits_and_their_share_are_counted(tmp_path: Path) -> None:
    files = lists(tmp_path / "a", en="mill\nmill wheel\no'er\n😀\n", zh="水\n水车\n")
    texts = [
        "The mill. A MILL wheel, mills and windmill",
        "o'er",
        "😀 a😀",
        "",
        "水车和水",
        "mill_ mill2 _mill",
        "mill",
    ]
    found = count(files, texts, ["en", "en", "en", "en", "zh", "en", "de"])
    assert [hits for hits, _ in found] == [2, 1, 1, 0, 2, 0, None]
    assert found[0][1] == round((4 + 9) / len("ThemillAMILLwheelmillsandwindmill"), 4)
    assert (found[1][1], found[2][1], found[3][1], found[4][1]) == (1.0, 0.0, 0.0, 0.75)
    assert count(files, ["mill"], [None]) == [(None, None)] and count(files, [], []) == []


def test_all_lists_together_need_no_language(tmp_path: Path) -> None:
    files = lists(tmp_path / "a", en="mill\n", ja="sm\n水車\n", de="rad\n")
    texts = ["small mill", "die mühle: ein rad", "古い水車小屋", "a sm b"]
    assert [hits for hits, _ in count(files, texts, config=ALL)] == [1, 1, 1, 1]
    assert [hits for hits, _ in count(files, ["small"], ["ja"])] == [1]  # C4's rule


def test_capitals_regions_and_allowed_entries(tmp_path: Path) -> None:
    files = lists(tmp_path / "a", fr="Moulin\nroue\n", fr_CA="bief\n")
    texts = ["un moulin", "MOULIN", "la roue", "le bief"]
    assert [hits for hits, _ in count(files, texts, ["fr"] * 4)] == [1, 1, 1, 1]
    assert [hits for hits, _ in count(files, texts, ["fr"] * 4, C4)] == [0, 0, 1, 0]
    allowed = WordListConfig(allowed=("ROUE",))
    assert [hits for hits, _ in count(files, texts, ["fr"] * 4, allowed)] == [1, 1, 0, 1]


def test_files_that_are_no_lists_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="words is not named after a language"):
        load_word_lists(CONFIG, lists(tmp_path / "a", en="mill", words="mill"))
    with pytest.raises(ValueError, match="have no entry"):
        load_word_lists(CONFIG, lists(tmp_path / "b", en="\n \n"))
    files = lists(tmp_path / "c", en="mill", LICENSE="text")
    (tmp_path / "c" / "README.md").write_text("of the lists")
    assert set(load_word_lists(CONFIG, files)) == {"en"}
    (tmp_path / "c" / "de").write_bytes("Mühle".encode("latin-1"))
    with pytest.raises(ValueError, match="de is not UTF-8"):
        load_word_lists(CONFIG, {path.name: path for path in (tmp_path / "c").iterdir()})
    with pytest.raises(ValueError, match="words is not named after a language"):
        model_files(count_words_of_list, str(tmp_path / "a"))
