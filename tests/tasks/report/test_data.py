"""The report's numbers against the ledger, and against counts taken another way."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from infra.store.errors import Corrupt, NotThere
from infra.store.ledger import BooksDoNotBalance
from infra.store.manifest import Part, write_manifest
from infra.store.token_files import pair_digest
from tasks.report.data import ReportData, collect_report
from tests.tasks.report.conftest import ATTACK, HOSTILE_URI, SAVED_EVERY, STEPS, Built


def _table(built: Built, part: Part) -> list[dict[str, object]]:
    path = built.lake.local_path(part.path)
    assert path is not None
    rows: list[dict[str, object]] = pq.read_table(path, partitioning=None).to_pylist()
    return rows


def _rows(built: Built, stage: str) -> list[dict[str, object]]:
    return [row for part in built.build.manifest(built.lake, stage).parts for row in _table(built, part)]


def test_funnel_is_the_ledger(built: Built, data: ReportData) -> None:
    assert len(data.funnel) == len(built.build.ledger) > 4
    for step, entry in zip(data.funnel, built.build.ledger, strict=True):
        assert (step.stage, step.documents_in, step.documents_kept) == (
            entry["stage"],
            entry["documents_in"],
            entry["documents_kept"],
        )
        assert {reason.name: reason.documents for reason in step.reasons if reason.failed} == entry["failed"]
        assert {reason.name: reason.documents for reason in step.reasons if not reason.failed} == entry["dropped"]
        assert step.bytes_in == step.bytes_kept + step.bytes_struck + sum(reason.bytes for reason in step.reasons)
    assert [step.payload for step in data.funnel] == [True] + [False] * (len(data.funnel) - 1)


def test_the_funnel_of_the_only_source_is_that_of_the_whole(built: Built, data: ReportData) -> None:
    assert data.source_funnels == {"crawl": data.funnel}
    assert built.build.source_ledgers == {"crawl": built.build.ledger}
    total = data.distributions.total
    assert data.distributions.sources == {"crawl": total} and total.kept == data.documents


def test_planted_fates_are_there(data: ReportData) -> None:
    fates = {(step.stage, reason.name): reason for step in data.funnel for reason in step.reasons}
    assert fates["source", "warcinfo"].documents == 1
    assert fates["heuristics", "word_count"].documents >= 1
    assert fates["near_duplicates", "near_duplicate"].documents == 1
    broken = fates["source", "truncated_body"]
    assert broken.failed
    assert broken.example.startswith("pages.warc.gz, byte ")


def test_languages_are_those_of_the_parts(built: Built, data: ReportData) -> None:
    """Tokens are counted by the lineage of the token files, a way that the report does not take."""
    labels = {
        document["id"]: language["label"]
        for document, language in zip(_rows(built, "crawl/documents"), _rows(built, "crawl/language"), strict=True)
    }
    tokens: Counter[object] = Counter()
    kept: Counter[object] = Counter()
    for part in built.build.manifest(built.lake, "tokens").parts:
        if part.name.endswith(".lineage.parquet"):
            for row in _table(built, part):
                tokens[labels[row["id"]]] += row["tokens"]  # type: ignore[operator]
                kept[labels[row["id"]]] += 1
    counts = {item.label: item.count for item in data.distributions.languages}
    assert {label: count.documents for label, count in counts.items()} == Counter(labels.values())
    assert {label: count.kept for label, count in counts.items() if count.kept} == kept
    assert {label: count.tokens for label, count in counts.items() if count.tokens} == tokens
    assert {"en", "de"} <= set(counts)


def test_perplexities_are_those_of_the_parts(built: Built, data: ReportData) -> None:
    scored = [row for row in _rows(built, "crawl/perplexity") if row["perplexity"] is not None]
    [english] = data.distributions.perplexities
    assert english.language == "en"
    assert english.histogram.total == len(scored) > 30
    assert {bucket: count.documents for bucket, count in english.buckets} == Counter(row["bucket"] for row in scored)
    assert {name: sum(counts) for name, counts in english.histogram.series if sum(counts)} == Counter(
        row["bucket"] for row in scored
    )


def test_rules_count_what_they_would_drop_alone(built: Built, data: ReportData) -> None:
    [rule] = [rule for rule in data.distributions.rules if rule.column == "word_count"]
    words = [row["word_count"] for row in _rows(built, "crawl/heuristics")]
    assert rule.fails == sum(not 50 <= count <= 100_000 for count in words)  # type: ignore[operator]
    assert dict(rule.histogram.series)["fails"] and rule.histogram.total == len(words)
    assert rule.histogram.logarithmic


def test_a_value_at_a_threshold_passes(built: Built, tmp_path: Path) -> None:
    words = sorted(row["word_count"] for row in _rows(built, "crawl/heuristics"))  # type: ignore[type-var]
    least, most = words[10], words[-10]
    rule = {"column": "heuristics.word_count", "reason": "both_ends", "one_of": None, "missing": "fails"}
    section = {**built.build.recipe["sources"]["crawl"], "rules": [{**rule, "at_least": least, "at_most": most}]}
    recipe = {**built.build.recipe, "sources": {"crawl": section}}
    [view] = collect_report(built.lake, replace(built.build, recipe=recipe), tmp_path).distributions.rules
    assert view.fails == sum(count < least or count > most for count in words)  # type: ignore[operator]
    assert view.fails == sum(dict(view.histogram.series)["fails"])


def test_a_rule_counts_the_documents_to_which_it_applies(built: Built, tmp_path: Path) -> None:
    english = {"column": "language.label", "one_of": ["en"]}
    rule = {"column": "heuristics.word_count", "at_least": 1, "at_most": None, "one_of": None, "missing": "fails"}
    section = built.build.recipe["sources"]["crawl"]
    rules = [{**rule, "reason": "english", "when": english}, {**rule, "reason": "others", "unless": english}]
    recipe = {**built.build.recipe, "sources": {"crawl": {**section, "rules": rules}}}
    views = collect_report(built.lake, replace(built.build, recipe=recipe), tmp_path).distributions.rules
    labels = [row["label"] for row in _rows(built, "crawl/language")]
    counted = [view.histogram.total + view.missing for view in views]
    assert counted == [labels.count("en"), len(labels) - labels.count("en")]


def test_the_planted_pair_is_shown_with_its_evidence(data: ReportData) -> None:
    [near] = data.near_duplicates
    assert (near.step, near.scope) == ("near_duplicates", "crawl")
    assert near.gone == 1 and near.sizes == ((2, 1),)
    [pair] = [pair for pair in near.pairs if HOSTILE_URI in (pair.left.url, pair.right.url)]
    assert pair.verified and 0.9 < pair.similarity < 1
    [attack] = [member for member in (pair.left, pair.right) if member.excerpt.startswith(ATTACK)][:1]
    assert len(attack.excerpt) <= 180 and not pair.left.kept
    assert {pair.left.kept, pair.right.kept} == {True, False}
    assert near.candidates >= near.histogram.total == near.compared >= near.gone


def test_sources_are_the_summary(built: Built, data: ReportData) -> None:
    [source] = data.sources
    assert source.tokens + source.held_out_tokens == data.tokens == built.build.tokens
    assert source.documents + source.held_out_documents == data.documents == built.build.documents
    assert source.held_out_documents == data.documents // 7
    assert source.mixture == 1.0


def test_training_is_the_run(built: Built, data: ReportData) -> None:
    training = data.training
    assert training is not None
    assert [step.step for step in training.steps] == list(range(1, STEPS + 1))
    expected = {step: 6.0 - step / 4 for step in range(1, STEPS + 1) if step != 2}
    assert dict(training.losses) == expected
    assert [(step.step, step.loss) for step in training.skipped] == [(2, None)]
    assert "overflowed" in training.skipped[0].cause
    assert training.validation_losses == ((4, 5.5), (8, 4.5), (12, 3.5))
    assert training.usage is not None
    assert (training.usage.device_hours, training.usage.kilowatt_hours, training.usage.unmetered) == (2.0, 0.2, 1)
    assert (training.launches, training.restarted_at, training.errors) == (2, (8,), 0)
    assert training.checkpoints == (0, *range(SAVED_EVERY, STEPS + 1, SAVED_EVERY))
    assert (training.parameters, training.checkpoint_bytes) == (4800, 4000)
    assert training.seconds == pytest.approx(STEPS * 0.5)
    assert training.tokens_per_second == pytest.approx(64 / 0.5)
    assert [evaluation.step for evaluation in training.evaluations] == [0, 4, 12]
    last = training.evaluations[-1]
    assert last.perplexity == pytest.approx(400 / 13)
    assert [(score.task, score.metric, score.standard_error) for score in last.scores] == [
        ("sciq", "acc", 0.05),
        ("sciq", "acc_norm", None),
    ]


def test_a_tail_never_replaces_what_a_checkpoint_stands_on(built: Built, tmp_path: Path) -> None:
    path = f"runs/{built.run}/losses/tail.jsonl"
    before = built.lake.read(path)
    lines = [json.loads(line) for line in before.splitlines()]
    assert lines and lines[0]["step"] == 9
    stale = [{**line, "step": 5, "loss": 99.0} for line in lines[:1]]
    built.lake.write(path, b"".join(json.dumps(line).encode() + b"\n" for line in stale))
    try:
        training = collect_report(built.lake, built.build, tmp_path, built.run).training
    finally:
        built.lake.write(path, before)
    assert training is not None and training.steps[4].loss == 6.0 - 5 / 4


def test_every_stage_stands_after_what_it_was_made_from(built: Built, data: ReportData) -> None:
    names = [stage.name for stage in data.stages]
    wanted = [
        f"crawl/{name}" for name in ("documents", "paragraphs", "language", "perplexity", "rules", "corpus", "encode")
    ]
    assert [name for name in names if name in [*wanted, "tokens"]] == [*wanted, "tokens"]
    assert set(names) == set(built.build.artifacts)


@pytest.mark.parametrize("wrong", [{"documents": 1}, {"tokens": 1}])
def test_a_ledger_that_the_parts_belie_is_refused(built: Built, tmp_path: Path, wrong: dict[str, int]) -> None:
    [(name, more)] = wrong.items()
    build = replace(built.build, **{name: getattr(built.build, name) + more})
    with pytest.raises(BooksDoNotBalance, match=f"{built.build.tokens}.*millrace verify"):
        collect_report(built.lake, build, tmp_path)


def test_annotations_of_other_documents_are_refused(built: Built, tmp_path: Path) -> None:
    language = built.build.manifest(built.lake, "crawl/language")
    swapped = replace(language, key="0" * 64, parts=language.parts[::-1])
    write_manifest(built.lake, swapped)
    build = replace(built.build, artifacts={**built.build.artifacts, "crawl/language": ["language", "0" * 64]})
    with pytest.raises(ValueError, match="annotates the shard"):
        collect_report(built.lake, build, tmp_path)


def test_tokens_of_another_corpus_are_refused(built: Built, tmp_path: Path) -> None:
    encoded = built.build.manifest(built.lake, "crawl/encode")
    write_manifest(built.lake, replace(encoded, key="1" * 64, parts=encoded.parts[::-1]))
    build = replace(built.build, artifacts={**built.build.artifacts, "crawl/encode": ["encode", "1" * 64]})
    with pytest.raises(Corrupt, match="build the tokens again"):
        collect_report(built.lake, build, tmp_path)


def test_runs_of_other_tokens_and_unknown_runs_are_refused(built: Built, tmp_path: Path) -> None:
    with pytest.raises(NotThere):
        collect_report(built.lake, built.build, tmp_path, "f" * 64)
    other = json.loads(built.lake.read(f"runs/{built.run}/run.json"))
    other["sources"][0]["bin"]["sha256"] = "0" * 64
    built.lake.write_json("runs/other/run.json", other)
    with pytest.raises(ValueError, match="reads none of the tokens"):
        collect_report(built.lake, built.build, tmp_path, "other")


def test_a_run_on_the_same_tokens_in_other_files_is_reported(built: Built, tmp_path: Path) -> None:
    other = json.loads(built.lake.read(f"runs/{built.run}/run.json"))
    [source] = other["sources"]
    whole = pair_digest(source["bin"]["sha256"], source["idx"]["sha256"])
    pair = {kind: source.pop(kind) for kind in ("bin", "idx")}
    pieces = [{kind: part | {"sha256": digit * 64} for kind, part in pair.items()} for digit in "01"]
    source |= {"files": pieces, "digest": whole}
    built.lake.write_json("runs/other/run.json", other)
    data = collect_report(built.lake, built.build, tmp_path, "other")
    assert data.training is not None and data.training.key == "other"
    source |= {"files": []}
    built.lake.write_json("runs/other/run.json", other)
    with pytest.raises(Corrupt, match="has no token files"):
        collect_report(built.lake, built.build, tmp_path, "other")
