"""Evaluation sets as they come: compressed or not, nested, with licences beside them, and damaged."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tasks.contamination.evaluations import Item, read_items


def test_strings_of_all_fields_are_the_item(tmp_path: Path) -> None:
    lines = [
        b'{"q": "One?", "choices": ["a", {"text": "b c"}], "n": 3, "url": "https://mill.example/a", "x": null}',
        b"",
        b'["Two", ["three"]]',
    ]
    (tmp_path / "set.one.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines)))
    (tmp_path / "other.json").write_bytes(b'{"a": "see https://mill.example/a"}')
    (tmp_path / "LICENSE.txt").write_text("free")
    found = list(read_items({path.name: path for path in tmp_path.iterdir()}))
    assert found == [
        Item("other", 1, ("see https://mill.example/a",)),
        Item("set.one", 1, ("One?", "a", "b c")),
        Item("set.one", 3, ("Two", "three")),
    ]


LINE = b'{"a": "b"}\n'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"a": "b"}\n{"a": ', r"a\.jsonl, line 2: .*Give one JSON object a line"),
        ("a.jsonl", b'{"a": "\xff"}', r"a\.jsonl, line 1: .*start byte"),
        ("a.jsonl", b"[" * 5000, r"a\.jsonl, line 1: more than .* levels"),
        (
            "a.jsonl.gz",
            gzip.compress(LINE * 999, mtime=0)[:-20],
            r"a\.jsonl\.gz is damaged in line .*: fetch it again",
        ),
        ("a.csv", b"question,answer", r"no evaluation set is among a\.csv: give a folder with NAME\.jsonl files"),
    ],
)
def test_wrong_sets_are_refused_with_their_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(read_items({name: tmp_path / name}))


def test_lone_surrogates_do_not_end_the_reading(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(rb'{"a": "x \ud800 y"}')
    assert list(read_items({"a.jsonl": tmp_path / "a.jsonl"})) == [Item("a", 1, ("x ? y",))]


@pytest.mark.parametrize("other", ["a.jsonl.gz", "a.json"])
def test_a_set_does_not_stand_in_for_another_one(tmp_path: Path, other: str) -> None:
    for name in ("a.jsonl", other):
        (tmp_path / name).write_bytes(gzip.compress(LINE) if name.endswith("gz") else LINE)
    with pytest.raises(ValueError, match=r"a\.json.* and a\.json.* are both the set a: rename one"):
        list(read_items({path.name: path for path in tmp_path.iterdir()}))


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_a_set_without_items_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "stored-elsewhere").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.jsonl has no items: delete it, or fetch it again"):
        list(read_items({"a.jsonl": tmp_path / "stored-elsewhere"}))
