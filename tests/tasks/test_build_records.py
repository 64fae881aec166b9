"""Records of builds in a lake that others write: nothing is believed that another object contradicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.cli.lake import verify
from infra.store.digests import sha256_bytes
from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.manifest import Manifest, artifact_digest, read_manifest, read_marker
from infra.store.names import Reference, point
from tasks.builds import BuildRecord, all_builds, disagreements, find_build, manifests_of, read_build, write_build
from tests.infra.store.hostile import artifact, change, store

RECIPE = {"sources": {"web": {"inputs": ["a"]}, "books": {"inputs": ["b"]}}}


@pytest.fixture
def build(lake: Lake, tmp_path: Path) -> BuildRecord:
    """A named build of two corpora and tokens."""
    made: dict[str, Manifest] = {}
    for number, name in enumerate(("web/corpus", "books/corpus", "tokens")):
        part = store(lake, tmp_path / "own", name.encode())
        made[name] = artifact(lake, part, key=f"{number}" * 64, stage=name.rpartition("/")[2])
    record = BuildRecord.make(RECIPE, made, ledger=[], source_ledgers={}, documents=0, tokens=7)
    write_build(lake, record)
    point(lake, "corpus/pair", Reference("build", record.key, record.digest))
    return record


def problems(lake: Lake, record: BuildRecord) -> list[tuple[str, str]]:
    """What `disagreements` finds, but for the counts of rows: these parts have none."""
    made, unreadable = manifests_of(lake, record)
    found = [*disagreements(lake, record, made), *unreadable.items()]
    return [(path, problem) for path, problem in found if "its corpora have" not in problem]


def exchange_tokens(lake: Lake, record: BuildRecord, folder: Path) -> str:
    """Exchange the tokens consistently: part, marker and manifest. Returns the path of the manifest."""
    manifest = record.manifest(lake, "tokens")
    part = store(lake, folder, b"poisoned", name=manifest.parts[0].name)
    for path in (manifest.path, f"markers/tokens/{manifest.key[:2]}/{manifest.key}.json"):
        change(lake, path, lambda value: value.update(parts=[asdict(part)]))
    change(lake, manifest.path, lambda value: value.update(digest=artifact_digest([part])))
    return manifest.path


def test_a_build_that_agrees_with_itself_has_no_problem(lake: Lake, build: BuildRecord) -> None:
    assert problems(lake, build) == [] and find_build(lake, "corpus/pair") == build


def test_a_field_with_its_default_does_not_change_a_key(lake: Lake, build: BuildRecord) -> None:
    """Recipes of older builds lack it; only another token than the default is another build."""
    made, _ = manifests_of(lake, build)
    counts: dict[str, Any] = {"ledger": [], "source_ledgers": {}, "documents": 0, "tokens": 7}
    keys = [
        BuildRecord.make({**RECIPE, "tokenizer": {"file": "x.json", **more}}, made, **counts).key
        for more in ({}, {"end_of_document": "<|endoftext|>"}, {"end_of_document": "</s>"})
    ]
    assert keys[0] == keys[1] != keys[2]


def test_exchanged_tokens_contradict_the_record(
    lake: Lake, build: BuildRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = exchange_tokens(lake, build, tmp_path / "own")
    [(found, problem)] = problems(lake, build)
    assert found == path and "the build's tokens had another" in problem
    with pytest.raises(typer.Exit):
        verify("corpus/pair", lake.uri, forget=True, as_json=True)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert path in {fault["path"] for fault in told["faults"]}
    # Neither the manifest nor the marker, which lists the same exchanged part, is used again.
    assert read_manifest(lake, "tokens", build.artifacts["tokens"][1]) is None
    assert read_marker(lake, "tokens", build.artifacts["tokens"][1]) is None
    assert read_manifest(lake, "corpus", build.artifacts["web/corpus"][1]) is not None


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        (lambda value: value.update(digest="f" * 64), "its digest is not that of its tokens"),
        (lambda value: value["digests"].update(tokens="f" * 64), "its digest is not that of its tokens"),
        (lambda value: value["artifacts"].update(tokens=["tokens", "f" * 64]), "its key does not follow"),
        (lambda value: value["recipe"]["sources"]["web"].update(rules=[]), "its key does not follow"),
    ],
)
def test_a_record_that_lies_is_told(lake: Lake, build: BuildRecord, lie: Callable[[Any], object], told: str) -> None:
    change(lake, build.path, lie)
    assert any(told in problem for _, problem in problems(lake, find_build(lake, "corpus/pair")))


def test_a_name_with_another_digest_is_told(lake: Lake, build: BuildRecord) -> None:
    point(lake, "corpus/pair", Reference("build", build.key, "f" * 64))
    assert [path for path, _ in problems(lake, build)] == [build.path]


def test_a_build_whose_manifest_is_gone_or_damaged_is_told(
    lake: Lake, build: BuildRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, damaged = (build.manifest(lake, name).path for name in ("web/corpus", "tokens"))
    lake.delete(gone)
    lake.write(damaged, b"")
    assert {path for path, _ in problems(lake, build)} == {gone, damaged}
    with pytest.raises(typer.Exit):
        verify("corpus/pair", lake.uri, forget=True, as_json=True)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {gone, damaged} <= {fault["path"] for fault in told["faults"]}
    assert lake.size(damaged) is None


def test_a_part_whose_content_is_not_what_the_manifest_says_is_told(
    lake: Lake, build: BuildRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    """The digest of an artifact is made of contents, so a false content would pass under the right sha256."""
    manifest = build.manifest(lake, "tokens")
    change(lake, manifest.path, lambda value: value["parts"][0].update(content=sha256_bytes(b"another")))
    with pytest.raises(typer.Exit):
        verify("corpus/pair", lake.uri, as_json=True)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {
        "its content digest is not that of its bytes",
        "the manifest's digest does not match the parts it lists",
    } <= {fault["problem"] for fault in told["faults"]}


RECORDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "artifacts are short": lambda value: value.update(artifacts={"tokens": [1]}),
    "an artifact leads out": lambda value: value["artifacts"].update(tokens=["..", "../x"]),
    "artifacts are a list": lambda value: value.update(artifacts=[1]),
    "key of another": lambda value: value.update(key="f" * 64),
    "key leads out": lambda value: value.update(key="../x"),
    "no order": lambda value: value.pop("order"),
    "order of others": lambda value: value["order"].update(artifacts=["x"]),
    "order is a word": lambda value: value.update(order="x"),
    "sources are a list": lambda value: value["recipe"].update(sources=[]),
    "a source is a word": lambda value: value["recipe"].update(sources={"web": "x"}),
    "ledger of words": lambda value: value.update(ledger=["x"]),
    "ledger without counts": lambda value: value.update(ledger=[{"stage": "x"}]),
    "documents are a word": lambda value: value.update(documents="1"),
    "tokens below 0": lambda value: value.update(tokens=-1),
    "a field is missing": lambda value: value.pop("digests"),
    "a field is unknown": lambda value: value.update(surprise=1),
}


@pytest.mark.parametrize("how", RECORDS.values(), ids=RECORDS)
def test_a_wrong_record_is_corrupt(lake: Lake, build: BuildRecord, how: Callable[[dict[str, Any]], object]) -> None:
    change(lake, build.path, how)
    for act in (lambda: read_build(lake, build.path), lambda: find_build(lake, "corpus/pair")):
        with pytest.raises(Corrupt, match=f"{build.path}.*Delete it, then build again") as caught:
            act()
        assert "\n" not in str(caught.value)
    assert list(all_builds(lake)) == []


@pytest.mark.parametrize("text", [b"", b"[1]", b"{", b"null"])
def test_a_damaged_record_hides_no_other(lake: Lake, build: BuildRecord, text: bytes) -> None:
    lake.write(f"builds/{'e' * 64}.json", text)
    assert [record.key for record in all_builds(lake)] == [build.key]
