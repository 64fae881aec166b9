"""Outcomes: repeated ids, survivors of clusters, and clusters that several steps find."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tasks.corpus.comparison import Comparison
from tasks.corpus.duplicates import DuplicatesStep
from tasks.corpus.outcomes import OutcomesConfig, outcomes
from tasks.corpus.rules import Rule, RulesConfig
from tasks.corpus.selection import CorpusConfig, select_documents
from tests.tasks.corpus.tables import documents, fates, with_outcomes

SCORE = RulesConfig(rules=(Rule(column="language.score", at_least=0.5, reason="low_score"),))
OUT = "near_duplicates:dropped:near_duplicate"
EXACT = "exact:dropped:exact_duplicate"
LOW = "language:dropped:low_score"


def near(*survivors: Any, source: str | None = None) -> DuplicatesStep:
    """The step ``near_duplicates``, in one source or across all."""
    return DuplicatesStep(step="near_duplicates", reason="near_duplicate", survivors=survivors, source=source)


def exact(*survivors: Any, source: str | None = None) -> DuplicatesStep:
    """Another step that finds duplicates."""
    return DuplicatesStep(step="exact", reason="exact_duplicate", survivors=survivors, source=source)


def of(cluster: str, **more: Any) -> dict[str, Any]:
    """A member of a cluster of near-duplicates."""
    return {"near_duplicates.cluster": cluster, **more}


def clusters(shards: list[pa.Table], *steps: DuplicatesStep) -> list[list[str | None]]:
    """The cluster of every document by shard."""
    return [shard["outcomes.cluster"].to_pylist() for shard in with_outcomes(shards, None, *steps)]


def test_a_cluster_keeps_its_preferred_member() -> None:
    shards = [
        documents(of("c", text="a b c"), of("c", text="a b c d")),
        documents(of("c", text="a b"), {}, source="t"),
    ]
    assert fates(shards, None, near("longest")) == [[OUT, ""], [OUT, ""]]
    assert fates(shards, None, near("shortest")) == [[OUT, OUT], ["", ""]]
    assert fates(shards, None, near("first")) == [["", OUT], [OUT, ""]]
    assert fates(shards, None, near("all")) == [["", ""], ["", ""]]


def test_dates_choose_and_a_document_without_one_comes_last() -> None:
    shard = documents(of("c", date="2024-05-01"), of("c", date="2023-01-01"), of("c", date=None))
    assert fates([shard], None, near("earliest")) == [[OUT, "", OUT]]
    assert fates([shard], None, near("latest")) == [["", OUT, OUT]]


def test_dates_are_compared_as_instants_and_not_as_strings() -> None:
    # 22:00 of the day before, and midnight, in UTC.
    shard = documents(of("c", date="2024-05-01T00:00:00Z"), of("c", date="2024-05-01T08:00:00+10:00"))
    assert fates([shard], None, near("earliest")) == [[OUT, ""]]
    assert fates([shard], None, near("latest")) == [["", OUT]]
    # Two forms of one instant leave the choice to the next preference.
    same = documents(of("c", date="2024-05-01T02:00:00+02:00", text="a"), of("c", date="20240501000000", text="a b"))
    assert fates([same], None, near("earliest", "longest")) == [[OUT, ""]]


def test_a_date_that_cannot_be_read_is_none_and_is_counted() -> None:
    shard = documents(
        of("c", date="0 BC", text="a b c"), of("c", date="2024-05-01", text="a"), of("c", date=" "), of("c", date=None)
    )
    for order in ("earliest", "latest"):
        [found] = with_outcomes([shard], None, near(order))
        assert found["outcomes.outcome"].to_pylist() == [OUT, "", OUT, OUT]
        assert found["outcomes.undated"].to_pylist() == ["near_duplicates", None, None, None]
        assert select_documents(found, CorpusConfig())[1].measures["near_duplicates:unreadable_dates"] == 1
    [found] = with_outcomes([shard], None, near("longest"))
    assert found["outcomes.undated"].null_count == 4, "nobody asked for it"


def test_later_preferences_choose_among_equals_and_the_first_place_in_the_end() -> None:
    shard = documents(
        of("c", text="four", date="2024-05-01"), of("c", text="five", date="2023-01-01"), of("d"), of("d")
    )
    assert fates([shard], None, near("longest", "earliest")) == [[OUT, "", "", OUT]]


def test_the_order_of_sources_is_that_of_the_recipe_and_not_of_their_names() -> None:
    shards = [documents(of("c", text="a"), source="web"), documents(of("c", text="a b c"), source="books")]
    assert fates(shards, None, near("source", "longest")) == [[""], [OUT]]
    assert fates(shards[::-1], None, near("source", "longest")) == [[""], [OUT]]


def test_a_cluster_whose_preferred_member_fails_a_rule_keeps_the_next() -> None:
    shard = documents(of("c", text="a b c d", **{"language.score": 0.1}), of("c", text="a b c"), of("c", text="a b"))
    assert fates([shard], SCORE, near("longest")) == [[LOW, "", OUT]]


def test_a_second_document_of_an_id_fails() -> None:
    shards = [documents({"id": "x"}), documents({"id": "x"}, {"id": "y"}, source="t")]
    repeated = "documents:failed:duplicate_id"
    assert fates(shards) == [[""], [repeated, ""]]
    # The first keeps the id even where a rule drops it, and the second does not stand in for a cluster.
    shards = [documents(of("c", id="x", **{"language.score": 0.1}), of("c", id="x"), of("c", id="y", text="a"))]
    assert fates(shards, SCORE, near("longest")) == [[LOW, repeated, ""]]


def test_a_step_of_one_source_leaves_the_others_alone() -> None:
    """Clusters of two sources may have one name: each is of its source."""
    shards = [documents(of("c"), of("c"), source="web"), documents(of("c"), of("c"), source="books")]
    assert fates(shards, None, near("first", source="web")) == [["", OUT], ["", ""]]
    both = (near("first", source="web"), near("first", source="books"))
    assert fates(shards, None, *both) == [["", OUT], ["", OUT]]
    assert fates(shards, None, near("first")) == [["", OUT], [OUT, OUT]]


def test_sources_may_choose_by_different_preferences() -> None:
    shards = [
        documents(of("c", text="a"), of("c", text="a b"), source="web"),
        documents(of("d", text="a"), of("d", text="a b"), source="books"),
    ]
    chosen = (near("longest", source="web"), near("shortest", source="books"))
    assert fates(shards, None, *chosen) == [[OUT, ""], ["", OUT]]


def test_steps_choose_in_order_among_those_that_still_stay() -> None:
    shard = documents(
        {"exact.cluster": "e", "text": "a b"},
        {"exact.cluster": "e", "text": "a b", "near_duplicates.cluster": "n"},
        {"near_duplicates.cluster": "n", "text": "a"},
    )
    # The second document is out before the last step looks, so the third is alone in its cluster.
    assert fates([shard], None, exact("first"), near("longest")) == [["", EXACT, ""]]
    assert fates([shard], None, near("longest"), exact("first")) == [["", EXACT, OUT]]


def test_a_source_without_a_step_has_no_clusters_of_it() -> None:
    web = documents(of("c"), of("c"), source="web").drop_columns(["exact.cluster"])
    books = documents({"exact.cluster": "e"}, {"exact.cluster": "e"}, source="books")
    books = books.drop_columns(["near_duplicates.cluster"])
    steps = (near("first", source="web"), exact("first", source="books"))
    assert fates([web, books], None, *steps) == [["", OUT], ["", EXACT]]
    assert [together(found) for found in clusters([web, books], *steps)] == [[0, 0], [0, 0]]


def test_clusters_that_share_a_member_are_one() -> None:
    shard = documents(
        {"exact.cluster": "x", "near_duplicates.cluster": "b"},
        {"exact.cluster": "x"},
        {"near_duplicates.cluster": "b"},
        {"exact.cluster": "y", "near_duplicates.cluster": "z"},
        {"near_duplicates.cluster": "a"},
        {},
    )
    for steps in ((exact("all"), near("all")), (near("first"), exact("first"))):
        assert together(clusters([shard], *steps)[0]) == [0, 0, 0, 3, 4, None]


def test_clusters_are_joined_over_chains_of_three_steps() -> None:
    third = DuplicatesStep(step="third", reason="third", survivors=("all",))
    shard = documents(
        {"exact.cluster": "e1"},
        {"exact.cluster": "e1", "near_duplicates.cluster": "n1"},
        {"near_duplicates.cluster": "n1"},
        {"near_duplicates.cluster": "n2"},
        {"exact.cluster": "e2"},
    )
    bridge = pa.array([None, None, "t", "t", None], pa.string())
    found = clusters([shard.append_column("third.cluster", bridge)], exact("all"), near("all"), third)
    assert together(found[0]) == [0, 0, 0, 0, 4]


def test_clusters_of_the_same_name_of_two_steps_are_two() -> None:
    shard = documents({"exact.cluster": "c"}, {"exact.cluster": "c"}, of("c"), of("c"))
    assert together(clusters([shard], exact("all"), near("all"))[0]) == [0, 0, 2, 2]


def test_a_document_that_is_out_keeps_its_cluster() -> None:
    shard = documents(of("c", **{"language.score": 0.1}), of("c"))
    [judged] = with_outcomes([shard], SCORE, near("longest"))
    assert judged["outcomes.cluster"].to_pylist() == ["c", "c"]
    assert judged["outcomes.outcome"].to_pylist() == [LOW, ""]


def test_nothing_gives_nothing() -> None:
    assert fates([documents()], None, near("longest")) == [[]]
    assert fates([documents(), documents({})], None, near("longest"), exact("first")) == [[], [""]]
    assert clusters([documents({}, {})]) == [[None, None]]


def test_what_stays_instead_is_named() -> None:
    shards = [documents(of("c", text="a b c"), of("c", text="a b c d")), documents(of("c", text="a b"), {}, source="t")]
    found = with_outcomes(shards, None, near("longest"))
    assert [shard["outcomes.match"].to_pylist() for shard in found] == [["s1", None], ["s1", None]]
    assert [shard["outcomes.compared"].to_pylist() for shard in found] == [["near_duplicates", None]] * 2


def test_no_text_is_read() -> None:
    compared = near("first").model_copy(update={"compare": Comparison(threshold=0.8, words=5, bands=18, rows=7)})
    assert outcomes.columns_of(OutcomesConfig(duplicates=(near("first", source="a"), compared)), "map") == [
        *("id", "date", "source", "ids.copy", "rules.outcome", "rules.length"),
        *("near_duplicates.cluster", "near_duplicates.words", "near_duplicates.signature"),
    ]
    assert not outcomes.reads_text(OutcomesConfig())


def together(clusters: list[str | None]) -> list[int | None]:
    """For each document the first one of its cluster."""
    return [None if name is None else clusters.index(name) for name in clusters]
