"""Repeated substrings: every run of the shortest length or more is found, and one copy stays."""

from __future__ import annotations

import random

import hypothesis
import pyarrow as pa
from hypothesis import strategies

from infra.documents import apply_edits
from tasks.repeated_substrings import SubstringsConfig, repeated_substrings
from tasks.text.tokens import token_spans
from tests.tasks.partitioned import run_partitioned


def edited(texts: list[str], tokens: int, size: int = 1000, partitions: int = 1) -> tuple[list[str], int]:
    """The texts without what is repeated, and the number of tokens struck."""
    table = pa.table({"id": [str(number) for number in range(len(texts))], "text": pa.array(texts, pa.string())})
    shards = [table.slice(start, size) for start in range(0, len(texts), size)]
    found = pa.concat_tables(run_partitioned(repeated_substrings, shards, SubstringsConfig(tokens=tokens), partitions))
    result, _ = apply_edits(pa.chunked_array([texts], pa.string()), found["edits"])
    return result.to_pylist(), sum(found["struck"].to_pylist())


def brute_force(texts: list[list[str]], tokens: int) -> list[list[str]]:
    """The tokens that stay: not in a window seen before, or in the first of those that occur again."""
    every = [tuple(words[i : i + tokens]) for words in texts for i in range(len(words) - tokens + 1)]
    seen: set[tuple[str, ...]] = set()
    found = []
    for words in texts:
        later: set[int] = set()
        first: set[int] = set()
        for start in range(len(words) - tokens + 1):
            window = tuple(words[start : start + tokens])
            if window in seen:
                later |= set(range(start, start + tokens))
            elif every.count(window) > 1:
                first |= set(range(start, start + tokens))
            seen.add(window)
        found.append([word for place, word in enumerate(words) if place not in later - first])
    return found


@hypothesis.settings(deadline=None, max_examples=150)
@hypothesis.given(
    strategies.lists(strategies.lists(strategies.sampled_from("abc"), max_size=12), min_size=1, max_size=6),
    strategies.integers(2, 4),
    strategies.integers(1, 4),
    strategies.integers(1, 3),
)
def test_what_stays_is_what_brute_force_says(texts: list[list[str]], tokens: int, size: int, partitions: int) -> None:
    found, struck = edited([" ".join(words) for words in texts], tokens, size, partitions)
    expected = brute_force(texts, tokens)
    assert [text.split() for text in found] == expected
    assert struck == sum(map(len, texts)) - sum(map(len, expected))


def test_planted_runs_are_found_wherever_they_are() -> None:
    chance = random.Random(3)
    word = lambda: f"w{chance.randrange(10**6)}"  # noqa: E731
    runs = [[word() for _ in range(chance.randrange(50, 120))] for _ in range(20)]
    texts = []
    for number in range(200):
        around = [word() for _ in range(chance.randrange(20, 200))]
        at = chance.randrange(len(around))
        texts.append(" ".join([*around[:at], *runs[number % 20], *around[at:]]))
    found, struck = edited(texts, 50, 30, 3)
    assert struck == sum(9 * len(run) for run in runs)
    for run in runs:
        assert sum(" ".join(run) in text for text in found) == 1
    short = [" ".join([*(word() for _ in range(30)), *runs[0][:49], *(word() for _ in range(30))]) for _ in range(2)]
    assert edited(short, 50)[1] == 0, "49 tokens are no run"


def test_a_run_of_one_word_keeps_its_first_part() -> None:
    assert edited(["a " * 9 + "b"], 3)[0] == ["a a a b"]


def test_spans_of_tokens_are_bytes() -> None:
    text = " Été—été\u3000中文 x\ty𝒜 "
    hashes, starts, ends = token_spans(text)
    tokens = [text.encode()[start:end].decode() for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    assert tokens == ["Été—été", "中", "文", "x", "y𝒜"]
    assert len(set(hashes.tolist())) == 5
    assert [len(part) for part in token_spans("")] == [0, 0, 0]
