"""Shares of right labels: of the languages that a system knows, and of those that all know."""

from __future__ import annotations

from tests.bench.languages import by_encoding, by_language, means

SAMPLES = [("a", "en", "latin1"), ("b", "en", "utf8"), ("c", "de", "latin1"), ("d", "zu", "utf8")]
FOUND = {"one": ["en", "de", "de", "en"], "other": ["en", "en", None, "zu"]}
KNOW: dict[str, set[str | None]] = {"one": {"en", "de"}, "other": {"en", "zu", "de"}}


def test_shares_by_language_and_their_means() -> None:
    table = by_language(SAMPLES, FOUND, KNOW)
    assert table == {
        "de": {"one": 1.0, "other": 0.0},
        "en": {"one": 0.5, "other": 1.0},
        "zu": {"one": None, "other": 1.0},
    }
    assert means(table) == {
        "one": {"known": 2, "mean": 0.75, "common": 2, "common_mean": 0.75},
        "other": {"known": 3, "mean": 0.6667, "common": 2, "common_mean": 0.5},
    }


def test_shares_by_encoding() -> None:
    assert by_encoding(SAMPLES, FOUND, KNOW) == {
        "latin1": {"texts": 2, "one": 1.0, "other": 0.5},
        "utf8": {"texts": 2, "one": 0.0, "other": 1.0},
    }
