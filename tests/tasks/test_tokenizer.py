"""Fitted tokenizers: those of the `tokenizers` library, whoever counts the words and however documents are cut."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import tokenizers

import tasks
from infra.engine.fit_groups import FitGroupsPlan
from infra.engine.plans import ConfiguredStage
from infra.engine.pool import LocalPool
from infra.engine.units import FitGroupUnit, MapUnit
from infra.engine.views import View
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from tasks.tokenizer import (
    END_OF_TEXT,
    PADDING,
    TOKENIZER_FILE,
    TokenizerConfig,
    count_words,
    fit_tokenizer,
    merge_words,
    sum_words,
)
from tests.infra.engine.test_fit_groups import Watched
from tests.infra.engine.test_plans import quiet, read_source

WORDS = ["mill", "miller", "grain", "don't", "é", "水", "🦀", "1,234", "\t", "  ", "aaaa", "<|endoftext|>", "\u0301"]


def table(texts: Sequence[str]) -> pa.Table:
    return pa.table({"text": pa.array(texts, pa.string())})


def by_the_library(texts: Sequence[str], size: int, path: Path) -> bytes:
    """What the library's own trainer makes of all texts at once."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.normalizer = tokenizers.normalizers.NFC()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(path), pretty=False)
    return path.read_bytes()


def some_texts(seed: int) -> list[str]:
    """Words over few letters, in which merges overlap and counts are often equal; and words of other kinds."""
    chosen = random.Random(seed)
    letters = "abcé水 "[: chosen.randint(2, 6)]
    made = ["".join(chosen.choices(letters, k=chosen.randint(0, 60))) for _ in range(chosen.randint(0, 30))]
    return [*made, *(" ".join(chosen.choices(WORDS, k=9)) for _ in range(seed % 3))]


@pytest.mark.parametrize("size", [258, 259, 300, 2000])
def test_the_tokenizer_is_that_of_the_library(size: int, tmp_path: Path) -> None:
    for seed in range(60):
        texts = some_texts(seed)
        files = fit_tokenizer(iter([table(texts)]), TokenizerConfig(vocabulary_size=size), tmp_path)
        assert files[TOKENIZER_FILE].read_bytes() == by_the_library(texts, size, tmp_path / "theirs.json"), seed


def test_real_text_counted_in_parts(tmp_path: Path) -> None:
    config = TokenizerConfig(vocabulary_size=3000)
    texts = [path.read_text("utf-8") for path in sorted(Path(tasks.__file__).parent.glob("*.py"))]
    counted = [count_words(table(texts[start::3]), config) for start in range(3)]
    assert counted[0] == count_words(table(texts[::3][::-1]), config), "the order of documents tells nothing"
    partial: dict[str, Path] = {}
    for partition in sorted({number for rows in counted for number in rows["partition"].to_pylist()}):
        partial |= sum_words([rows.filter(pc.field("partition") == partition) for rows in counted], config, tmp_path)
    found = merge_words(partial, config, tmp_path)[TOKENIZER_FILE].read_bytes()
    assert found == by_the_library(texts, 3000, tmp_path / "theirs.json")


def fitted(lake: Lake, engine: object, inputs: str, config: TokenizerConfig) -> Manifest:
    view = View("toy", read_source(lake, engine, [inputs]))  # type: ignore[arg-type]
    return FitGroupsPlan(ConfiguredStage(fit_tokenizer, config), (view,)).run(lake, engine, quiet)[0]  # type: ignore[arg-type]


def write_texts(folder: Path, files: int) -> list[str]:
    """Files of ten lines each, in the order of their names; returns the lines."""
    folder.mkdir()
    lines = []
    for number in range(files):
        chosen = random.Random(number)
        some = [" ".join(chosen.choices(WORDS[:8], k=30)) for _ in range(10)]
        (folder / f"{number}.txt").write_text("\n".join(some) + "\n")
        lines += some
    return lines


def test_workers_count_shards_and_one_or_two_of_them_give_the_same(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    lines = write_texts(tmp_path / "in", files=4)
    config = TokenizerConfig(vocabulary_size=400)
    watched = Watched(pool)
    two = fitted(lake, watched, str(tmp_path / "in"), config)
    assert sum(isinstance(unit, MapUnit) for unit in watched.units) == 4, "each shard is a unit"
    assert sum(isinstance(unit, FitGroupUnit) for unit in watched.units) > 1, "and so is a part of the words"
    with LocalPool(1) as alone:
        one = fitted(Lake.open(str(tmp_path / "other")), alone, str(tmp_path / "in"), config)
    assert (one.key, one.digest, one.account) == (two.key, two.digest, two.account)
    [part] = two.parts
    assert Path(lake.uri, part.path).read_bytes() == by_the_library(lines, 400, tmp_path / "theirs.json")


def test_documents_behind_the_first_are_neither_read_nor_lost_from_the_books(
    lake: Lake, pool: LocalPool, tmp_path: Path
) -> None:
    lines = write_texts(tmp_path / "in", files=4)
    config = TokenizerConfig(vocabulary_size=400, most_documents=13)
    watched = Watched(pool)
    found = fitted(lake, watched, str(tmp_path / "in"), config)
    assert sum(isinstance(unit, MapUnit) for unit in watched.units) == 2
    assert (found.account.rows_in, found.account.kept, found.account.skipped) == (40, 13, 27)
    [part] = found.parts
    assert Path(lake.uri, part.path).read_bytes() == by_the_library(lines[:13], 400, tmp_path / "theirs.json")


def test_no_documents_give_a_tokenizer_of_bytes(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "empty.txt").write_text("")
    found = fitted(lake, pool, str(tmp_path / "in"), TokenizerConfig())
    [part] = found.parts
    assert Path(lake.uri, part.path).read_bytes() == by_the_library([], 400, tmp_path / "theirs.json")
