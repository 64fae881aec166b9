"""What objects of a lake may say: wrong types, wrong values and damaged bytes end in one line that names the object."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from infra.store.errors import Corrupt
from infra.store.inputs import pinned_inventory, take_inventory
from infra.store.lake import Lake
from infra.store.manifest import (
    Manifest,
    manifest_at,
    manifest_from_json,
    marker_path,
    read_manifest,
    read_marker,
    write_marker,
)
from infra.store.names import Reference, all_names, look_up, point
from infra.store.schema import Count, Digest, Time, parse_json, read_value
from tests.infra.store.hostile import KEY, artifact, change, evil_part, store

Change = Callable[[dict[str, Any]], object]
NESTED = "[" * 200_000 + "]" * 200_000

MANIFESTS: dict[str, Change] = {
    "rows are a word": lambda value: value["parts"][0].update(rows="many"),
    "rows beyond all measure": lambda value: value["parts"][0].update(rows=10**30),
    "rows below -1": lambda value: value["parts"][0].update(rows=-2),
    "rows are true": lambda value: value["parts"][0].update(rows=True),
    "sha256 is a number": lambda value: value["parts"][0].update(sha256=7),
    "sha256 in capitals": lambda value: value["parts"][0].update(sha256="B" * 64),
    "content is no digest": lambda value: value["parts"][0].update(content="x"),
    "bytes below 0": lambda value: value["parts"][0].update(bytes=-1),
    "bytes are a fraction": lambda value: value["parts"][0].update(bytes=1.5),
    "a part lacks a field": lambda value: value["parts"][0].pop("name"),
    "a part has one more": lambda value: value["parts"][0].update(surprise=1),
    "a part is a list": lambda value: value.update(parts=[[1]]),
    "parts are a mapping": lambda value: value.update(parts={"a": 1}),
    "parts are null": lambda value: value.update(parts=None),
    "evidence is a number": lambda value: value.update(details={"evidence": 5}),
    "evidence of a step is a number": lambda value: value.update(details={"evidence": {"reduce": 5}}),
    "a file has a negative number of shards": lambda value: value.update(details={"shards": [-1]}),
    "evidence leads out": lambda value: value.update(details={"evidence": {"reduce": [evil_part(suffix="/../x")]}}),
    "markers are no keys": lambda value: value.update(details={"markers": ["../../x"]}),
    "files are words": lambda value: value.update(details={"files": ["a.warc"]}),
    "details are a list": lambda value: value.update(details=[]),
    "details nested": lambda value: value.update(details={"x": json.loads("[" * 900 + "]" * 900)}),
    "account is a list": lambda value: value.update(account=[]),
    "kept is a mapping": lambda value: value["account"].update(kept={}),
    "dropped below 0": lambda value: value["account"].update(dropped={"a": -1}),
    "a failure is a word": lambda value: value["account"].update(failures=["x"]),
    "version is a word": lambda value: value.update(version="1"),
    "another stage": lambda value: value.update(version=99, stage="heuristics"),
    "another key": lambda value: value.update(key="f" * 64),
    "config is a list": lambda value: value.update(config=[1]),
    "cost is a word": lambda value: value.update(cost={"worker_seconds": "1"}),
    "libraries are numbers": lambda value: value.update(libraries={"a": 1}),
    "a field is missing": lambda value: value.pop("digest"),
    "a field is unknown": lambda value: value.update(signature="x"),
}
TEXTS: dict[str, bytes] = {
    "empty": b"",
    "half": b'{"key": "aaa',
    "no UTF-8": b'{"key": "\xff"}',
    "nested": NESTED.encode(),
    "nested in a field": b'{"details": ' + NESTED.encode() + b"}",
    "null": b"null",
    "a list": b"[1]",
    "a number": b"1",
    "NaN": b'{"seconds": NaN}',
    "an enormous number": b'{"seconds": ' + b"9" * 10_000 + b"}",
    "half a surrogate pair": b'{"key": "\\ud800"}',
    "zeros": b"\0" * 4096,
}


@pytest.fixture
def manifest(lake: Lake, tmp_path: Path) -> Manifest:
    return artifact(lake, store(lake, tmp_path / "own", b"rows"))


@pytest.mark.parametrize("how", MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_with_a_wrong_value_is_corrupt(lake: Lake, manifest: Manifest, how: Change) -> None:
    value = lake.read_json(manifest.path)
    how(value)
    lake.write(manifest.path, json.dumps(value).encode())
    with pytest.raises(Corrupt, match=f"{manifest.path} ") as caught:
        manifest_at(lake, manifest.path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600 and "elete it" in str(caught.value)
    assert read_manifest(lake, "toy", KEY, keep=True) is None, "for a build there is none: it is made again"


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_an_object_that_is_no_json_of_ours_is_corrupt(
    lake: Lake, manifest: Manifest, tmp_path: Path, text: bytes
) -> None:
    """Each kind of object: a build does its work again, and other commands say which object is damaged."""
    (tmp_path / "input").write_bytes(b"x")
    [file] = take_inventory(lake, [str(tmp_path / "input")]).files
    point(lake, "corpus/x", Reference("toy", KEY, manifest.digest))
    pinned_inventory(lake, [str(tmp_path / "input")], "pin")
    for entry in list(lake.list("")):
        if not entry.path.startswith("parts/"):
            lake.write(entry.path, text)
    assert read_manifest(lake, "toy", KEY, keep=True) is None
    assert read_marker(lake, "toy", KEY) is None
    assert take_inventory(lake, [str(tmp_path / "input")]).files == (file,)
    for what, act in {
        "names/corpus/x.json": lambda: look_up(lake, "corpus/x"),
        "names/corpus": lambda: list(all_names(lake)),
        manifest.path: lambda: read_manifest(lake, "toy", KEY),
        "inputs/pin.json": lambda: pinned_inventory(lake, [str(tmp_path / "input")], "pin"),
        "format.json": lambda: Lake.open(lake.uri),
    }.items():
        with pytest.raises(Corrupt, match=what) as caught:
            act()
        assert "\n" not in str(caught.value)


MARKERS: dict[str, Change] = {
    "seconds are a word": lambda value: value.update(seconds="1"),
    "seconds below 0": lambda value: value.update(seconds=-1),
    "key of another": lambda value: value.update(key="f" * 64),
    "a slice is a number": lambda value: value.update(slices={"0": 1}),
    "a slice is no digest": lambda value: value.update(slices={"0": {"content": "../x", "others": []}}),
    "others are words": lambda value: value.update(slices={"0": {"content": "a" * 64, "others": ["x"]}}),
    "no slices": lambda value: value.update(slices=None),
    "a part leads out": lambda value: value["parts"][0].update(sha256="../" * 21 + "x"),
}


@pytest.mark.parametrize("how", MARKERS.values(), ids=MARKERS)
def test_a_marker_with_a_wrong_value_is_no_marker(
    lake: Lake, manifest: Manifest, how: Change, caplog: pytest.LogCaptureFixture
) -> None:
    marker = read_marker(lake, "toy", KEY)
    assert marker is not None
    change(lake, marker_path("toy", KEY), how)
    assert read_marker(lake, "toy", KEY) is None
    assert "its work is done again" in caplog.text and marker_path("toy", KEY) in caplog.text
    write_marker(lake, "toy", marker)
    assert read_marker(lake, "toy", KEY) == marker


@pytest.mark.parametrize(
    "value",
    [
        [1],
        {"format": "2"},
        {"format": 2.0},
        {"format": True},
        {"format": -1},
        {"format": 2, "more": 1},
        {},
        None,
    ],
)
def test_a_lake_with_a_strange_format_says_so(lake: Lake, value: object) -> None:
    lake.write_json("format.json", value)
    with pytest.raises(Corrupt, match=r"format\.json.*write \{\"format\": 2\}"):
        Lake.open(lake.uri)


@pytest.mark.parametrize(
    "value",
    [
        [1],
        {"stage": "../x", "key": KEY, "digest": KEY},
        {"stage": "toy", "key": "../../x", "digest": KEY},
        {"stage": "toy", "key": KEY, "digest": 1},
        {"stage": "toy", "key": KEY},
    ],
)
def test_a_name_that_points_nowhere_is_corrupt(lake: Lake, value: object) -> None:
    lake.write_json("names/corpus/x.json", value)
    for act in (lambda: look_up(lake, "corpus/x"), lambda: list(all_names(lake))):
        with pytest.raises(Corrupt, match=r"names/corpus/x\.json.*Delete it, then build again"):
            act()


@pytest.mark.parametrize("lie", [[1, "", "../x"], [99, "", ""], [1, "1", "0" * 64], {"more": 1}, "folder", "more"])
def test_an_inventory_that_lies_is_not_believed(lake: Lake, tmp_path: Path, lie: Any) -> None:
    (tmp_path / "input").write_bytes(b"x")
    first = take_inventory(lake, [str(tmp_path / "input")])
    assert take_inventory(lake, [str(tmp_path / "input")]).hashed_bytes == 0
    [entry] = lake.list("inventory")

    def change_it(value: dict[str, Any]) -> None:
        value.update({lie: "elsewhere"} if isinstance(lie, str) else {"files": {"input": lie}})

    change(lake, entry.path, change_it)
    again = take_inventory(lake, [str(tmp_path / "input")])
    assert again.files == first.files and again.hashed_bytes == 1


@dataclass(frozen=True)
class Inner:
    digest: Digest
    when: Time = "2026-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Outer:
    kind: Literal["a", "b"]
    count: Count
    inner: tuple[Inner, ...]
    pair: tuple[int, str]
    loss: float | None = None

    def __post_init__(self) -> None:
        if self.count == 13:
            raise ValueError("13 is refused")


GOOD: dict[str, Any] = {"kind": "a", "count": 1, "inner": [{"digest": "a" * 64}], "pair": [1, "x"]}


def test_a_value_is_read_as_its_dataclass() -> None:
    assert read_value(Outer, GOOD, "x") == Outer("a", 1, (Inner("a" * 64),), (1, "x"))
    assert read_value(Outer, {**GOOD, "loss": 2}, "x").loss == 2


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"kind": "c"}, r"kind is 'c'; it must be one of 'a', 'b'"),
        ({"count": 2**60}, "count is .*; it must be from 0"),
        ({"count": 13}, "13 is refused"),
        ({"inner": [{"digest": "a" * 64}, {"digest": "A"}]}, r"inner\[1\]\.digest is 'A'; it must be a sha256"),
        (
            {"inner": [{"digest": "a" * 64, "when": "2026-13-01"}]},
            r"inner\[0\]\.when is .* it must be a time",
        ),
        ({"inner": [{"digest": "a" * 64, "when": "2026-12-01"}]}, "must be a time"),
        ({"pair": [1]}, "pair is a list of 1; it must be a list of 2"),
        ({"pair": [1, 2]}, r"pair\[1\] is 2; it must be a string"),
        ({"loss": float("inf")}, "loss is inf; it must be a finite number"),
        ({"loss": "1"}, "loss is '1'"),
        ({"more": 1}, "unknown field 'more': another version"),
    ],
)
def test_a_wrong_value_is_told_by_its_place(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(Corrupt, match=rf"^somewhere is not what Millrace writes there: .*{told}.*\. Delete it"):
        read_value(Outer, {**GOOD, **wrong}, "somewhere")


def test_deep_json_is_refused_at_any_depth_of_the_caller() -> None:
    for depth in (100, 1_000, 5_000, 200_000):
        with pytest.raises(Corrupt):
            read_value(dict[str, Any], parse_json(b'{"a": ' + b"[" * depth + b"]" * depth + b"}", "x"), "x")


def test_reading_a_manifest_takes_work_in_proportion_to_its_parts(lake: Lake, manifest: Manifest) -> None:
    """Calls of Python functions, counted: twice the parts, twice the calls, and few for each part."""

    def calls(parts: int) -> int:
        value = {**lake.read_json(manifest.path), "parts": [evil_part()] * parts}
        counted = 0

        def count(frame: object, event: str, argument: object) -> None:
            nonlocal counted
            counted += event == "call"

        sys.setprofile(count)
        try:
            manifest_from_json(value, lake, manifest.path)
        finally:
            sys.setprofile(None)
        return counted

    calls(1)  # compiles the checks
    one, two = calls(1_000), calls(2_000)
    assert two < 2.1 * one and two < 2_000 * 20
