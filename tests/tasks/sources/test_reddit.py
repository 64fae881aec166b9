"""PushShift's dumps of Reddit: the longest chain of each thread, whatever its comments look like."""

from __future__ import annotations

import io
import json
import random
from collections import defaultdict
from typing import BinaryIO, cast

import pytest

from infra.outcomes import Kept, Outcome, Record, Underway, read_all
from tasks.sources import reddit, reddit_threads
from tasks.sources.reddit import RedditConfig, read_reddit
from tasks.sources.reddit_lines import base36
from tasks.sources.reddit_threads import TABLES
from tasks.sources.spill import spill
from tests.tasks.sources.dumps import COMPRESSIONS, Repeated, counts, failures, kept, long_window, peak_of


def comment(number: str, parent: str | None = None, thread: str = "t0", **fields: object) -> bytes:
    """A comment to another, or to the submission."""
    values: dict[str, object] = {
        "id": number,
        "link_id": f"t3_{thread}",
        "parent_id": f"t1_{parent}" if parent else f"t3_{thread}",
        "body": f"comment {number}",
        "author": "someone",
        "created_utc": 1_420_070_400,
        "score": 3,
        "subreddit": "mills",
    }
    return json.dumps(values | fields).encode() + b"\n"


def submission(number: str = "t0", **fields: object) -> bytes:
    values: dict[str, object] = {"id": number, "title": f"title {number}", "selftext": "", "created_utc": "1420070400"}
    return json.dumps(values | fields).encode() + b"\n"


def read(*lines: bytes, **config: object) -> list[Outcome]:
    found = read_reddit(io.BytesIO(b"".join(lines)), "RC.zst", RedditConfig.model_validate(config))
    return list(read_all(found))


def texts(outcomes: list[Outcome]) -> list[str]:
    return [document.text for document in kept(outcomes)]


def chains(outcomes: list[Outcome]) -> list[str]:
    return [text.replace("comment ", "").replace("\n\n", " ") for text in texts(outcomes)]


def test_the_longest_chain_of_a_thread_is_a_document() -> None:
    #  a - b - c
    #    - d - e - f      g - h
    lines = [comment("a"), comment("b", "a"), comment("c", "b"), comment("d", "a"), comment("e", "d")]
    lines += [comment("f", "e"), comment("g"), comment("h", "g")]
    outcomes = read(*lines)
    assert counts(outcomes) == {"kept": 1, "other_branch": 4}
    assert chains(outcomes) == ["a d e f"]
    assert sum(outcome.bytes for outcome in outcomes) == sum(map(len, lines))
    [document] = kept(outcomes)
    assert (document.id, document.url) == ("reddit/t0/f", "https://www.reddit.com/comments/t0/")
    assert (document.date, document.licence, document.source) == ("2015-01-01T00:00:00Z", None, "reddit")
    assert document.metadata == {
        "thread": "t0",
        "title": None,
        "subreddit": "mills",
        "comments": 4,
        "scores": "3 3 3 3",
        "is_whole": True,
        "without_text": 0,
        "offset": 0,
    }


def test_the_order_of_lines_does_not_matter() -> None:
    lines = [comment(base36(n), base36(n // 2) if n > 1 else None, f"t{n % 3}") for n in range(1, 60)]
    lines += [comment(base36(n), base36(n // 3) if n > 102 else None, "tx") for n in range(100, 160)]
    expected = {document.id: document.text for document in kept(read(*lines))}
    for seed in range(3):
        random.Random(seed).shuffle(lines)
        assert {document.id: document.text for document in kept(read(*lines))} == expected


@pytest.mark.parametrize("seed", range(8))
def test_chains_are_those_of_a_search_of_all_paths(seed: int) -> None:
    chance = random.Random(seed)
    parents = {n: chance.choice([None, *range(1, n)]) for n in range(1, 40)}
    lines = [comment(base36(n), base36(p) if p else None, body="x" * chance.randint(1, 9)) for n, p in parents.items()]
    bodies = {n: len(json.loads(line)["body"]) for n, line in zip(parents, lines, strict=True)}

    def path(n: int | None) -> list[int]:
        return [] if n is None else [*path(parents[n]), n]

    best = max((path(n) for n in parents), key=lambda found: (len(found), sum(bodies[n] for n in found), -found[-1]))
    [document] = kept(read(*lines))
    assert document.id == f"reddit/t0/{base36(best[-1])}"
    assert document.metadata["comments"] == len(best)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ([comment("c", "a")], "a b"),
        ([comment("c", "a", body="comment c and more")], "a c and more"),
        ([comment("c", "a", created_utc=1_400_000_000)], "a c"),
        ([comment("c", "a", created_utc=None)], "a b"),
        ([comment("c", "a", created_utc="1400000000")], "a c"),
    ],
)
def test_of_equal_chains_one_is_always_taken(second: list[bytes], expected: str) -> None:
    lines = [comment("a"), comment("b", "a"), *second]
    assert chains(read(*lines)) == chains(read(*lines[::-1])) == [expected]


def test_comments_without_text_are_counted_and_passed() -> None:
    lines = [comment("a"), comment("b", "a", body="[deleted]"), comment("c", "b"), comment("d", "c", body="[removed]")]
    lines += [comment("e", "a", body=" "), comment("f"), comment("g", "f", body="[deleted]")]
    outcomes = read(*lines)
    assert counts(outcomes) == {"kept": 1, "deleted": 2, "removed": 1, "empty_text": 1, "other_branch": 1}
    assert chains(outcomes) == ["a c"]
    assert kept(outcomes)[0].metadata["without_text"] == 1
    assert sum(outcome.bytes for outcome in outcomes) == sum(map(len, lines))


def test_a_comment_whose_parent_is_in_another_file_begins_a_chain() -> None:
    outcomes = read(comment("b", "a"), comment("c", "b"), comment("d"))
    assert chains(outcomes) == ["b c"]
    assert kept(outcomes)[0].metadata["is_whole"] is False


def test_a_thread_in_two_files_gives_two_ids() -> None:
    january, february = read(comment("a"), comment("b", "a")), read(comment("c", "b"), comment("d", "c"))
    assert [document.id for document in kept(january + february)] == ["reddit/t0/b", "reddit/t0/d"]


def test_parents_in_a_circle_fail() -> None:
    outcomes = read(comment("a", "b"), comment("b", "a"), comment("c", "c"), comment("d", "a"), comment("e"))
    assert counts(outcomes) == {"parents_in_circle": 4, "kept": 1}
    assert chains(outcomes) == ["e"]


def test_the_first_of_equal_ids_counts() -> None:
    outcomes = read(comment("a"), comment("a", body="again"), submission(), submission(title="again"))
    assert counts(outcomes) == {"kept": 1, "duplicate_post": 2}
    assert texts(outcomes) == ["title t0\n\ncomment a"]


def test_a_submission_in_the_file_begins_its_thread() -> None:
    outcomes = read(comment("a"), submission(selftext="why &lt;b&gt;?", score=7, subreddit="wheels"), comment("b", "a"))
    assert texts(outcomes) == ["title t0\n\nwhy <b>?\n\ncomment a\n\ncomment b"]
    [document] = kept(outcomes)
    assert (document.metadata["title"], document.metadata["scores"], document.metadata["comments"]) == (
        "title t0",
        "7 3 3",
        2,
    )


def test_submissions_without_comments_are_documents_where_the_config_says_so() -> None:
    lines = [submission("a"), submission("b", selftext="words"), submission("c", selftext="[removed]"), comment("d")]
    assert counts(read(*lines)) == {"few_comments": 2, "removed": 1, "kept": 1}
    outcomes = read(*lines, min_comments=0)
    assert counts(outcomes) == {"removed": 1, "kept": 3}
    assert [document.id for document in kept(outcomes)] == ["reddit/a", "reddit/b", "reddit/t0/d"]
    assert texts(outcomes) == ["title a", "title b\n\nwords", "comment d"]


def test_chains_of_few_comments_are_dropped() -> None:
    lines = [comment("a"), comment("b"), comment("c", thread="t1"), comment("d", "c", thread="t1")]
    outcomes = read(*lines, min_comments=2)
    assert counts(outcomes) == {"few_comments": 2, "kept": 1}


def test_texts_are_as_their_writers_wrote_them() -> None:
    body = "&gt; quoted\n\n    a &lt; b &amp;amp; c\n\n&amp;nbsp; \ud800 \u0007x"
    [document] = kept(read(comment("a", body=body, subreddit="a\ud800")))
    assert document.text == "> quoted\n\n    a < b &amp; c\n\n&nbsp;  x"
    assert document.metadata["subreddit"] == "a"


BAD_LINES = {
    "no JSON": (b'{"id": "b", \n', "not_json"),
    "not UTF-8": (comment("b", body="M").replace(b'"M"', b'"M\xfc"'), "not_utf8"),
    "another thing": (b'{"id": "b", "body": "x"}\n', "not_reddit"),
    "a list": (b"[]\n", "not_reddit"),
    "too long": (comment("b", body="x" * 9_000), "line_too_long"),
    "too deep": (b'{"id": ' + b"[" * 500 + b"]" * 500 + b"}\n", "too_complex"),
    "no id": (comment("b", id=None), "bad_id"),
    "an id that is a path": (comment("../b"), "bad_id"),
    "an id that is too large": (comment("z" * 30), "bad_id"),
    "an id with other digits": (comment("٣"), "bad_id"),
    "no thread": (comment("b", link_id="t1_x"), "bad_thread"),
    "no parent": (comment("b", parent_id=None), "bad_parent"),
    "a parent of another kind": (comment("b", parent_id="t5_x"), "bad_parent"),
    "no text": (comment("b", body=None), "no_text"),
    "a number as text": (comment("b", body=5), "no_text"),
}


@pytest.mark.parametrize("name", sorted(BAD_LINES))
def test_a_bad_line_fails_alone(name: str) -> None:
    bad, reason = BAD_LINES[name]
    outcomes = read(comment("a"), bad, comment("c", "a"), max_line_bytes=8_000)
    assert counts(outcomes) == {"kept": 1, reason: 1}
    assert chains(outcomes) == ["a c"]
    assert failures(outcomes) == [(reason, len(comment("a")))]
    assert sum(outcome.bytes for outcome in outcomes) == len(comment("a") + bad + comment("c", "a"))


@pytest.mark.parametrize("value", ["never", "1e999", 1e300, -5, "9" * 5_000, [], True, "NaN"])
def test_times_and_scores_that_are_none_are_no_failure(value: object) -> None:
    [outcome] = read(comment("a", created_utc=value, score=value))
    assert isinstance(outcome, Kept)


@pytest.mark.parametrize("compression", sorted(COMPRESSIONS))
def test_dumps_are_read_in_every_compression(compression: str) -> None:
    lines = [comment(base36(n), thread=base36(n % 7)) for n in range(40, 99)]
    outcomes = read(COMPRESSIONS[compression](b"".join(lines)))
    assert counts(outcomes) == {"kept": 7, "other_branch": 52}


def test_a_dump_that_is_cut_keeps_what_lies_before_the_end() -> None:
    chance = random.Random(1)
    lines = [comment(base36(n), thread=base36(n), body=chance.randbytes(99).hex()) for n in range(36, 9_000)]
    data = long_window(b"".join(lines))
    outcomes = read(data[: len(data) // 2])
    assert [reason for reason, _ in failures(outcomes)] == ["truncated"]
    assert len(kept(outcomes)) > 1_000


def test_work_and_memory_are_linear_in_a_chain() -> None:
    """Thousands of comments, each to the last, are deeper than the stack of the interpreter."""
    lines = [comment(base36(n), base36(n - 1) if n > 36 else None, body="x") for n in range(36, 5_000)]
    [document] = kept(read(*lines))
    assert document.metadata["comments"] == len(lines)


def test_threads_and_chains_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [comment("a"), comment("b", "a", body="x" * 2_000), comment("c", thread="t1")]
    outcomes = read(*lines, max_chain_bytes=2_048)
    assert counts(outcomes) == {"too_large": 1, "kept": 1}
    monkeypatch.setattr(reddit_threads, "_MOST_COMMENTS", 1)
    outcomes = read(*lines)
    assert counts(outcomes) == {"too_large": 1, "kept": 1}
    assert sum(outcome.bytes for outcome in outcomes) == sum(map(len, lines))


@pytest.mark.parametrize("times", [16, pytest.param(200, marks=pytest.mark.heavy)])
def test_a_line_of_any_length_takes_no_memory(times: int) -> None:
    start = comment("a") + b'{"id": "b", "body": "'
    stream = cast(BinaryIO, Repeated(start, b"x" * (1 << 20), times, b'"}\n' + comment("c", "a")))
    outcomes, peak = peak_of(read_reddit(stream, "RC", RedditConfig()))
    assert counts(outcomes) == {"line_too_long": 1, "kept": 1}
    assert peak < 32 << 20


@pytest.mark.parametrize("threads", [500, pytest.param(30_000, marks=pytest.mark.heavy)])
def test_memory_does_not_grow_with_the_number_of_threads(threads: int) -> None:
    lines = b"".join(comment(base36(n), thread=base36(n % threads + 36)) for n in range(50, 50 + 2 * threads))
    found = read_reddit(io.BytesIO(lines), "RC", RedditConfig())
    outcomes, peak = peak_of(item for item in found if not isinstance(item, Kept))
    assert len(outcomes) == 2 * threads
    assert peak < (8 << 20) + 600 * threads  # the outcomes themselves


def test_the_reader_is_under_way_while_it_puts_comments_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reddit, "BETWEEN_PAUSES", 1 << 10)
    lines = [comment(base36(n), thread=base36(n)) for n in range(40, 99)]
    found = list(read_reddit(io.BytesIO(b"".join(lines)), "RC", RedditConfig()))
    assert sum(isinstance(item, Underway) for item in found) > 5
    assert sum(isinstance(item, Record) for item in found) == len(lines)


def test_threads_are_read_in_order_without_a_sort() -> None:
    with spill("test-", *TABLES) as posts:
        plan = [row[-1] for row in posts.execute(f"EXPLAIN QUERY PLAN {reddit_threads._IN_ORDER}")]
    assert plan == ["SCAN post USING INDEX by_thread"]


def test_every_line_has_one_outcome() -> None:
    chance = random.Random(5)
    sizes: dict[str, int] = defaultdict(int)
    lines = []
    for n in range(50, 900):
        body = chance.choice(["words", "[deleted]", "[removed]", "", "more words"])
        parent = chance.choice([None, base36(chance.randrange(40, 1_000))])
        lines.append(comment(base36(n), parent, base36(chance.randrange(40, 60)), body=body))
    outcomes = read(*lines)
    for outcome in outcomes:
        sizes["kept" if isinstance(outcome, Kept) else str(outcome.reason)] += outcome.bytes
    assert sum(sizes.values()) == sum(map(len, lines))
    in_chains = sum(document.metadata["comments"] for document in kept(outcomes))
    assert len(outcomes) - len(kept(outcomes)) + in_chains == len(lines)
