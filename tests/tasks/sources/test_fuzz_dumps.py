"""Dumps with random damage: every reader tells it, balances its books, and invents no document."""

from __future__ import annotations

import io
import random
from collections.abc import Callable

import pytest

from infra.documents import documents_table
from infra.outcomes import Found, read_all
from tasks.sources.reddit import RedditConfig, read_reddit
from tasks.sources.stack_exchange import StackExchangeConfig, read_stack_exchange
from tasks.sources.wikipedia import WikipediaConfig, read_wikipedia
from tests.tasks.sources import test_reddit, test_stack_exchange, test_wikipedia
from tests.tasks.sources.dumps import kept
from tests.tasks.sources.seven_zip_samples import packed

READERS: dict[str, Callable[[bytes], list[Found]]] = {
    "wikipedia": lambda data: list(read_wikipedia(io.BytesIO(data), "x", WikipediaConfig())),
    "stack_exchange": lambda data: list(read_stack_exchange(io.BytesIO(data), "x", StackExchangeConfig())),
    "reddit": lambda data: list(read_reddit(io.BytesIO(data), "x", RedditConfig())),
}
ROWS = test_stack_exchange.dump(
    *(text for n in range(1, 9) for text in (test_stack_exchange.row(n), test_stack_exchange.row(n + 50, ParentId=n)))
)
DUMPS = {
    "wikipedia": [test_wikipedia.dump(*map(test_wikipedia.page, range(1, 9)))],
    "stack_exchange": [ROWS, packed(Users=b"<users />", Posts=ROWS)],
    "reddit": [b"".join(test_reddit.comment(f"a{n}", f"a{n - 1}" if n % 3 else None) for n in range(9))],
}
PIECES = [
    b"",
    b"<",
    b">",
    b"</page>",
    b"<page>",
    b"<row ",
    b'"',
    b"\n",
    b"\0",
    b"\xff",
    b"&x;",
    b"]]>",
    b"<!--",
    b"{",
    b"1",
]


@pytest.mark.parametrize("name", sorted(READERS))
def test_damage_is_told_and_nothing_is_invented(name: str) -> None:
    chance = random.Random(3)
    for whole in DUMPS[name]:
        known = {document.id for document in kept(read_all(READERS[name](whole)))}
        for _ in range(50):
            data = bytearray(whole)
            for _ in range(chance.randint(1, 3)):
                start = chance.randrange(len(data))
                data[start : start + chance.choice([0, 1, 9, 200])] = chance.choice(PIECES)
            outcomes = list(read_all(READERS[name](bytes(data))))
            documents = kept(outcomes)
            documents_table(documents)
            assert all(outcome.bytes >= 0 for outcome in outcomes)
            assert sum(outcome.bytes for outcome in outcomes) <= len(data)
            # A document that is missing is missing for a reason.
            assert len(outcomes) > len(documents) or len(documents) >= len(known)
