"""Funnels: one for each source, and one for all of them, which is their sum."""

from __future__ import annotations

from itertools import pairwise

import pytest

from infra.store.ledger import Account, BooksDoNotBalance
from tasks.report.funnel import FunnelEntry, source_funnel, whole_funnel

WEB_READ = Account(
    rows_in=12, kept=10, dropped={"not_html": 1}, failed={"broken": 1}, bytes_in=120,
    bytes_out={"kept": 100, "not_html": 15, "broken": 5},
)  # fmt: skip
WEB = Account(
    rows_in=10,
    kept=5,
    dropped={"paragraphs:all_text_struck": 1, "language:low_score": 2, "near_duplicates:near_duplicate": 1},
    failed={"documents:duplicate_id": 1},
    bytes_in=1000,
    bytes_out={
        **{"kept": 500, "paragraphs:struck": 100, "documents:duplicate_id": 90, "paragraphs:all_text_struck": 10},
        **{"language:low_score": 200, "near_duplicates:near_duplicate": 100},
    },
)
WEB_STEPS = ["paragraphs", "language", "near_duplicates"]
BOOKS_READ = Account(rows_in=4, kept=4, bytes_in=40, bytes_out={"kept": 40})
BOOKS = Account(
    rows_in=4,
    kept=2,
    dropped={"heuristics:word_count": 1, "near_duplicates:near_duplicate": 1},
    bytes_in=400,
    bytes_out={"kept": 200, "heuristics:word_count": 100, "near_duplicates:near_duplicate": 100},
)
BOOKS_STEPS = ["heuristics", "near_duplicates"]


def whole(rows: int = 7) -> list[FunnelEntry]:
    """The funnel of both sources."""
    return whole_funnel(
        {"web": WEB_READ, "books": BOOKS_READ},
        {"web": WEB, "books": BOOKS},
        {"web": WEB_STEPS, "books": BOOKS_STEPS},
        rows,
    )


def shape(funnel: list[FunnelEntry]) -> list[tuple[str, int, int]]:
    """Stage, documents in and documents kept of every entry."""
    return [(entry.stage, entry.documents_in, entry.documents_kept) for entry in funnel]


def test_a_source_has_a_funnel_of_its_own_steps() -> None:
    assert shape(source_funnel(WEB_READ, WEB, WEB_STEPS, 5)) == [
        ("source", 12, 10),
        ("documents", 10, 9),
        ("paragraphs", 9, 8),
        ("language", 8, 6),
        ("near_duplicates", 6, 5),
        ("corpus", 5, 5),
    ]
    assert shape(source_funnel(BOOKS_READ, BOOKS, BOOKS_STEPS, 2)) == [
        ("source", 4, 4),
        ("documents", 4, 4),
        ("heuristics", 4, 3),
        ("near_duplicates", 3, 2),
        ("corpus", 2, 2),
    ]


def test_reasons_and_bytes_are_those_of_the_step() -> None:
    source, ids, paragraphs, language, *_ = source_funnel(WEB_READ, WEB, WEB_STEPS, 5)
    assert (source.dropped, source.failed) == ({"not_html": 1}, {"broken": 1})
    assert (source.bytes_in, source.bytes_kept) == (120, 100)
    assert (ids.failed, ids.bytes_in, ids.bytes_kept) == ({"duplicate_id": 1}, 1000, 910)
    assert paragraphs == FunnelEntry("paragraphs", 9, 8, {"all_text_struck": 1}, {}, 910, 800, 100)
    assert language.dropped == {"low_score": 2} and language.bytes_kept == 600


def test_the_whole_is_the_sum_of_the_sources() -> None:
    found = {entry.stage: entry for entry in whole()}
    assert list(found) == ["source", "documents", "paragraphs", "language", "near_duplicates", "heuristics", "corpus"]
    apart = [source_funnel(WEB_READ, WEB, WEB_STEPS, 5), source_funnel(BOOKS_READ, BOOKS, BOOKS_STEPS, 2)]
    for stage, entry in found.items():
        parts = [item for funnel in apart for item in funnel if item.stage == stage]
        for fate in ("dropped", "failed"):
            counts = [getattr(part, fate) for part in parts]
            names = {name for count in counts for name in count}
            assert getattr(entry, fate) == {name: sum(count.get(name, 0) for count in counts) for name in names}
        assert entry.bytes_struck == sum(part.bytes_struck for part in parts)
    assert (found["source"].documents_in, found["corpus"].documents_kept) == (16, 7)
    assert found["near_duplicates"].dropped == {"near_duplicate": 2}
    assert found["corpus"].bytes_kept == 700


def test_every_entry_takes_up_what_the_one_before_left() -> None:
    funnels = (whole(), source_funnel(WEB_READ, WEB, WEB_STEPS, 5))
    for before, after in (pair for funnel in funnels for pair in pairwise(funnel)):
        assert after.documents_in == before.documents_kept
        if before.stage != "source":
            assert after.bytes_in == before.bytes_kept


def test_a_source_alone_is_the_whole() -> None:
    one = whole_funnel({"web": WEB_READ}, {"web": WEB}, {"web": WEB_STEPS}, 5)
    assert one == source_funnel(WEB_READ, WEB, WEB_STEPS, 5)


def test_two_steps_whose_names_begin_alike_are_apart() -> None:
    account = Account(
        rows_in=3, kept=1, dropped={"near:x": 1, "near_duplicates:x": 1}, bytes_in=3,
        bytes_out={"kept": 1, "near:x": 1, "near_duplicates:x": 1},
    )  # fmt: skip
    funnel = source_funnel(Account(rows_in=3, kept=3), account, ["near", "near_duplicates"], 1)
    assert shape(funnel)[2:4] == [("near", 3, 2), ("near_duplicates", 2, 1)]


def test_books_that_do_not_balance_are_refused() -> None:
    with pytest.raises(BooksDoNotBalance, match="the source kept 4 documents, but the corpus read 10"):
        source_funnel(BOOKS_READ, WEB, WEB_STEPS, 5)
    with pytest.raises(BooksDoNotBalance, match="remain at the end"):
        source_funnel(WEB_READ, WEB, WEB_STEPS[:2], 5)
    with pytest.raises(BooksDoNotBalance, match="8 rows"):
        whole(8)
    with pytest.raises(BooksDoNotBalance, match="remain at the end"):
        source_funnel(WEB_READ, WEB, ["language", "near_duplicates"], 5)
