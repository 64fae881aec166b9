"""A run over a source in many files is the run over the same tokens in one file."""

from __future__ import annotations

import itertools
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest

from infra.store.digests import key_of
from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.manifest import Part
from infra.store.token_files import JoinedDigest, pair_digest
from infra.store.tokens import TokenFile, TokenWriter
from model.order import tokens_digest
from model.run.config import RunConfig, create_run, read_run, run_config
from model.run.data import open_order, open_validation
from tests.model.support.small import SHAPES, VOCABULARY, store_tokens, training_values, write_text

NAMES = sorted(topics)[:20]
ENDS = [[], [9], [1, 2, 3, 19], list(range(1, 20))]
TRAINING: list[dict[str, Any]] = [
    {},
    {"packing": "blocks"},
    {"compat": "neox"},
    {"compat": "neox", "split": [0.5, 0.5, 0.0], "validation": {"every": 4, "sequences": 8}},
]


def cut(lake: Lake, folder: Path, whole: TokenFile, ends: list[int]) -> dict[str, Any]:
    """The source of a run, in files that end before these documents."""
    pairs: list[dict[str, Any]] = []
    for number, (first, past) in enumerate(itertools.pairwise([0, *ends, whole.documents])):
        own = folder / f"{len(ends)}-{number}"
        own.mkdir()
        with TokenWriter(own / "t.bin", own / "t.idx", VOCABULARY) as writer:
            for document in range(first, past):
                writer.append(whole.document(document))
        stored = store_tokens(lake, own / "t.bin", own / "t.idx", f"web-{number:05d}")
        pairs.append({kind: stored[kind] for kind in ("bin", "idx")})
    one = store_tokens(lake, whole.bin_path, whole.idx_path, "web")
    digest = pair_digest(one["bin"]["sha256"], one["idx"]["sha256"])
    return {"name": "web", "weight": 1.0, "epochs": 2, "files": pairs, "digest": digest}


def run_of(source: dict[str, Any], **training: Any) -> RunConfig:
    values = training_values(steps=6, **training)
    return run_config({"model": SHAPES["pythia"], "training": values, "sources": [source], "seed": 7})


@pytest.mark.parametrize("training", TRAINING, ids=str)
def test_identity_and_sequences_do_not_depend_on_the_cut(lake: Lake, tmp_path: Path, training: dict[str, Any]) -> None:
    whole = write_text(tmp_path / "text", NAMES)
    one = store_tokens(lake, whole.bin_path, whole.idx_path, "web") | {"epochs": 2}
    expected = run_of(one, **training)
    # As runs were created before sources had several files.
    assert expected.sources[0].digest == key_of([one["bin"]["sha256"], one["idx"]["sha256"]])
    order = open_order(lake, expected, tmp_path / "cache")
    tokens = tokens_digest(order, range(48))
    for ends in ENDS:
        config = run_of(cut(lake, tmp_path, whole, ends), **training)
        assert config.key == expected.key
        assert run_config(config.to_plain()) == config
        other = open_order(lake, config, tmp_path / "cache")
        assert (other.fingerprint, other.sequences) == (order.fingerprint, order.sequences)
        assert tokens_digest(other, range(48)) == tokens
        for index in (0, 5, 47):
            assert other.locate(index) == order.locate(index)
        first, past = whole.document_span(11)
        assert other.holding("web", first, past, 48) == order.holding("web", first, past, 48)
        ours, theirs = (open_validation(lake, run, tmp_path / "cache") for run in (config, expected))
        if ours is not None and theirs is not None:
            assert tokens_digest(ours, range(8)) == tokens_digest(theirs, range(8))


def test_a_run_of_one_file_is_stored_as_before_and_found_by_a_cut_source(lake: Lake, tmp_path: Path) -> None:
    """So that a run which began with one file is resumed by the tokens of the same corpus, however cut."""
    whole = write_text(tmp_path / "text", NAMES)
    one = store_tokens(lake, whole.bin_path, whole.idx_path, "web") | {"epochs": 2}
    stored = run_of(one)
    key = create_run(lake, stored)
    assert lake.read_json(f"runs/{key}/run.json")["sources"] == [one]
    again = run_of(cut(lake, tmp_path, whole, [4, 9]))
    assert create_run(lake, again) == key
    assert read_run(lake, key) == stored


def test_other_tokens_than_the_digest_says_are_refused(lake: Lake, tmp_path: Path) -> None:
    whole = write_text(tmp_path / "text", NAMES)
    source = cut(lake, tmp_path, whole, [4, 9])
    for files in (source["files"][::-1], source["files"][:2]):
        with pytest.raises(Corrupt, match="are not the tokens that the run was created with"):
            open_order(lake, run_of(source | {"files": files}), tmp_path / "cache")
    with pytest.raises(ValueError, match="its digest is not that of its file"):
        run_of(source | {"files": source["files"][:1]})
    with pytest.raises(ValueError, match="give at least one token file"):
        run_of(source | {"files": []})


def test_the_digest_is_compared_once_on_a_machine(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path / "machine"))
    read: list[Part] = []
    add = JoinedDigest.add
    monkeypatch.setattr(JoinedDigest, "add", lambda self, file: (read.append(file), add(self, file))[1])
    config = run_of(cut(lake, tmp_path, write_text(tmp_path / "text", NAMES), [4, 9]))
    for _ in range(3):
        open_order(lake, config, tmp_path / "cache")
    assert len(read) == 3
