"""Several steps that choose among duplicates: every document that goes names one that stays at the end."""

from __future__ import annotations

import hypothesis
import numpy as np
import pyarrow as pa
from hypothesis import strategies

from tasks.corpus.duplicates import DuplicatesStep
from tasks.corpus.groups import GROUPS, GroupsConfig, groups
from tasks.corpus.outcomes import OutcomesConfig, outcomes
from tasks.exact_duplicates import ExactDuplicatesConfig, exact_duplicates
from tasks.near_duplicates import near_duplicates
from tasks.near_duplicates.config import NearDuplicateConfig
from tasks.signatures import signatures
from tests.tasks.near_duplicates.test_near_duplicates import jaccard
from tests.tasks.partitioned import run_partitioned

# A later step with a lower threshold takes documents for which others went before.
CONFIGS = {
    name: NearDuplicateConfig(shingle_words=2, threshold=threshold, bands=128, rows=1)
    for name, threshold in (("near", 0.6), ("loose", 0.4))
}
NEAR = CONFIGS["near"]


def decided(texts: list[str], steps: list[tuple[str, str]], partitions: int = 1) -> list[dict[str, object]]:
    """The outcome of each text after steps (name, preference), of which those called ``exact`` compare whole texts."""
    count = len(texts)
    table = pa.table(
        {
            "id": [str(number) for number in range(count)],
            "text": pa.array(texts, pa.string()),
            "source": ["s"] * count,
            "date": pa.nulls(count, pa.string()),
            "ids.copy": pa.array([0] * count, pa.int64()),
            "rules.outcome": [""] * count,
            "rules.length": pa.array([len(text) for text in texts], pa.int64()),
        }
    )
    table = table.append_column("signatures.signature", signatures(table, NEAR.signatures())["signature"])
    duplicates = []
    for name, preference in steps:
        exact = name == "exact"
        stage, config = (exact_duplicates, ExactDuplicatesConfig()) if exact else (near_duplicates, CONFIGS[name])
        [found] = run_partitioned(stage, [table], config, partitions)
        for column in found.column_names:
            table = table.append_column(f"{name}.{column}", found[column])
        compare = None if exact else CONFIGS[name].comparison()
        reason = "exact_duplicate" if compare is None else "near_duplicate"
        duplicates.append(DuplicatesStep(step=name, reason=reason, survivors=(preference,), compare=compare))  # type: ignore[arg-type]
    if len(duplicates) > 1:
        [joined] = run_partitioned(groups, [table], GroupsConfig(duplicates=tuple(duplicates)), partitions)
        table = table.append_column(f"{GROUPS}.cluster", joined["cluster"])
    [result] = run_partitioned(outcomes, [table], OutcomesConfig(duplicates=tuple(duplicates)), partitions)
    return result.to_pylist()


def numbers(first: int, last: int) -> str:
    return " ".join(f"w{number}" for number in range(first, last))


A, B = numbers(0, 50), numbers(5, 57)
C = numbers(25, 80)


def test_a_document_stays_when_the_one_it_went_for_goes_later() -> None:
    """A goes for the longer B. Then B goes for the still longer C, to which A was not compared."""
    assert jaccard(A, B, 2) >= 0.6 > jaccard(B, C, 2) >= 0.4 > jaccard(A, C, 2)
    near = decided([A, B, C], [("near", "longest")])
    assert [row["outcome"] for row in near] == ["near:dropped:near_duplicate", "", ""] and near[0]["match"] == "1"
    both = decided([A, B, C], [("near", "longest"), ("loose", "longest")])
    assert [row["outcome"] for row in both] == ["", "loose:dropped:near_duplicate", ""]
    assert both[0]["match"] is None and both[1]["match"] == "2"


def test_an_exact_copy_of_what_goes_names_what_stays() -> None:
    found = decided([A, A, B], [("exact", "first"), ("near", "longest")])
    assert [row["outcome"] for row in found] == ["near:dropped:near_duplicate", "exact:dropped:exact_duplicate", ""]
    assert [row["match"] for row in found] == ["2", "2", None]
    assert found[0]["similarity"] == found[1]["similarity"] == round(jaccard(A, B, 2), 6)
    assert found[0]["lost"] == found[1]["lost"]


def test_evidence_of_one_pair_stands_together() -> None:
    """The first document was compared with the second, and then went as a copy of the third."""
    other = numbers(20, 70)
    found = decided([other, A, other], [("near", "first"), ("exact", "latest")])
    for row in found:
        if row["compared"] == "exact":
            assert row["similarity"] is None


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(
    strategies.lists(
        strategies.lists(strategies.sampled_from(["ant", "bee", "cat", "dog"]), max_size=7).map(" ".join),
        min_size=1,
        max_size=10,
    ),
    strategies.lists(
        strategies.tuples(
            strategies.sampled_from(["near", "exact", "loose"]),
            strategies.sampled_from(["longest", "shortest", "first"]),
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda step: step[0],
    ),
    strategies.integers(1, 3),
)
def test_every_survivor_survives(texts: list[str], steps: list[tuple[str, str]], partitions: int) -> None:
    found = decided(texts, steps, partitions)
    assert found == decided(texts, steps)
    for row, text in zip(found, texts, strict=True):
        if row["outcome"]:
            match = int(str(row["match"]))
            assert found[match]["outcome"] == ""
            if row["similarity"] is None:
                assert texts[match] == text
            else:
                assert np.isclose(row["similarity"], jaccard(text, texts[match], 2), atol=1e-6)
                assert row["similarity"] >= CONFIGS[str(row["compared"])].threshold
