"""The tokens stage in the engine: what is written anew after a change, in counted units."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from infra.engine.group_steps import Group
from infra.engine.grouped import GroupedPlan, groups_of
from infra.engine.plans import ConfiguredStage, PassPlan, SourcePlan
from infra.engine.pool import LocalPool
from infra.engine.views import Annotation, View
from infra.models import local_model
from infra.store.inputs import take_inventory
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from tasks.token_artifact import read_summary, token_digests, token_files
from tasks.tokenizer import TOKENIZER_FILE, TokenizerConfig, fit_tokenizer
from tasks.tokens import EncodeConfig, TokensConfig, encode, write_tokens
from tests.infra.engine import toy
from tests.infra.engine.test_plans import markers, quiet

FILES = 50


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = pa.table({"text": ["the mill turns"] * 9})
    folder = tmp_path_factory.mktemp("tokenizer")
    return fit_tokenizer(iter([texts]), TokenizerConfig(vocabulary_size=300), folder)[TOKENIZER_FILE]


def write_files(folder: Path, numbers: range) -> str:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        (folder / f"{number:03d}.txt").write_text(f"the mill {number}\nturns\nagain\n")
    return str(folder)


def plan_of(lake: Lake, pool: LocalPool, inputs: str, tokenizer: Path, **config: Any) -> GroupedPlan:
    files = take_inventory(lake, [inputs]).files
    documents = SourcePlan(ConfiguredStage(toy.read_lines, toy.ToyConfig()), files).run(lake, pool, quiet)[0]
    model = local_model({TOKENIZER_FILE: tokenizer})
    view = View("web", documents)
    encoded = PassPlan((ConfiguredStage(encode, EncodeConfig(), model),), view).run(lake, pool, quiet)[0]
    view = replace(view, annotations=(("encode", Annotation(encoded)),))
    values = TokensConfig.model_validate({"mixture": {"web": 1.0}, **config})
    return GroupedPlan(ConfiguredStage(write_tokens, values, model), (view,))


def test_what_is_written_anew(lake: Lake, pool: LocalPool, tmp_path: Path, tokenizer_file: Path) -> None:
    inputs = write_files(tmp_path / "in", range(1, FILES))

    def written(**config: Any) -> tuple[int, int, Manifest]:
        """Units that ran, of how many, and the artifact."""
        before = markers(lake, "tokens")
        plan = plan_of(lake, pool, inputs, tokenizer_file, **config)
        manifest = plan.run(lake, pool, quiet)[0]
        return len(markers(lake, "tokens") - before), len(groups_of(plan.views[0].shards())) + 1, manifest

    ran, units, first = written()
    assert ran == units > 4
    assert written()[0] == 0
    assert written(epochs={"web": 2.0}, mixture={})[0] == 1, "shares are the finish's alone"
    # One more file at the beginning moves all documents.
    write_files(tmp_path / "in", range(1))
    ran, units, grown = written()
    assert ran <= 3 < units
    ran, units, _ = written(held_out_every=3)
    assert ran == units, "another option of the documents"
    write_files(tmp_path / "in", range(FILES, FILES + 1))
    ran, units, _ = written(held_out_every=3)
    assert ran <= 3 < units, "what is before a group did not change"
    summary = read_summary(lake, grown)["sources"]["web"]
    assert summary["documents"] == 3 * FILES
    assert len(token_files(grown)["web"]) > 3
    assert token_digests(lake, grown) != token_digests(lake, first)


def test_one_file_has_the_digest_of_many(
    lake: Lake, pool: LocalPool, tmp_path: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = write_files(tmp_path / "in", range(20))
    many = plan_of(lake, pool, inputs, tokenizer_file).run(lake, pool, quiet)[0]
    monkeypatch.setattr("infra.engine.grouped.groups_of", lambda shards: [tuple(shards)])
    other = Lake.open(str(tmp_path / "other"))
    one = plan_of(other, pool, inputs, tokenizer_file).run(other, pool, quiet)[0]
    assert len(token_files(one)["web"]) == 1 < len(token_files(many)["web"])
    assert token_digests(other, one) == token_digests(lake, many)
    assert one.key == many.key


def test_copies_of_remote_files_go_when_they_are_read(
    lake: Lake, pool: LocalPool, tmp_path: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = plan_of(lake, pool, write_files(tmp_path / "in", range(3)), tokenizer_file).run(lake, pool, quiet)[0]
    file = token_files(tokens)["web"][0]
    folder = tmp_path / "finish"
    group = Group("web", "web-00000", 9, {".bin": file.bin}, lake, folder)
    with group.open(".bin") as path:
        assert path.is_relative_to(lake.uri)
    assert path.exists(), "the lake's own"
    monkeypatch.setattr(Lake, "local_path", lambda self, path: None)
    with group.open(".bin") as path:
        assert path.parent == folder and path.read_bytes()
    assert not path.exists()
