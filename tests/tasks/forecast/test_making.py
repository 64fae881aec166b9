"""Forecasts of small builds beside the builds: counts within a fifth. Seconds are never compared."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest

from flows.build import make_corpus
from flows.recipe import parse_recipe
from infra.child import ChildDied, run_in_child
from infra.engine.pool import LocalPool
from infra.store.errors import StoreError
from infra.store.lake import Lake
from infra.store.names import Reference, point
from tasks.builds import BuildRecord
from tasks.forecast.making import NoForecast, make_forecast
from tasks.forecast.record import Estimate, Forecast, find_forecast, keep, key_of_build
from tasks.forecast.sample import bytes_of, in_proportion
from tasks.language_models import LanguageModelsConfig
from tasks.recipe.resolve import resolve
from tasks.recipe.resolved import ResolvedRecipe
from tasks.recipe.schema import Recipe
from tasks.report.forecast import compared_with_forecast
from tasks.tokenizer import TokenizerConfig
from tests.tasks.report.conftest import DirectRunner
from tests.tasks.sources.samples import COMPRESSIONS, page, warc_record

WORDS = " ".join(topics.values()).split()
DOCUMENTS, FILES = 600, 3


def text(number: int) -> str:
    chance = random.Random(number)
    return " ".join(chance.choices(WORDS, k=chance.randrange(150, 250)))


def json_lines(folder: Path) -> None:
    for file in range(FILES):
        lines = (json.dumps({"text": text(number)}) for number in range(file, DOCUMENTS, FILES))
        (folder / f"{file}.jsonl").write_text("".join(f"{line}\n" for line in lines))


def archives(folder: Path) -> None:
    compress = COMPRESSIONS["gzip"]
    for file in range(FILES):
        records = (
            compress(warc_record(page(f"<p>{text(number)}</p>"), number=number, uri=f"http://a.example/{number}"))
            for number in range(file, DOCUMENTS, FILES)
        )
        (folder / f"{file}.warc.gz").write_bytes(b"".join(records))


def recipe(folder: Path, reader: str, *steps: str) -> ResolvedRecipe:
    source = {"read": reader, "inputs": [str(folder)], "steps": steps}
    values = {"name": "small", "sources": {"web": source}, "tokenizer": {"vocabulary_size": 600}}
    return resolve(Recipe.model_validate(values))


def told(text: str) -> None:
    """Nobody reads what a forecast says of its progress."""


def built(resolved: ResolvedRecipe, lake: Lake, pool: LocalPool) -> BuildRecord:
    return make_corpus(DirectRunner(lake, pool, lambda label, done, total: None), resolved)


def near(estimate: Estimate, value: float) -> bool:
    return abs(estimate.value - value) <= 0.2 * value


@pytest.mark.parametrize(("write", "reader"), [(json_lines, "jsonl"), (archives, "web_archive")])
def test_counts_come_within_a_fifth(
    write: Callable[[Path], None], reader: str, lake: Lake, pool: LocalPool, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in")
    resolved = recipe(tmp_path / "in", reader, "language", "heuristics", "near_duplicates")
    made = make_forecast(lake, resolved, 0.1, 2, told)
    keep(lake, made)
    record = built(resolved, lake, pool)
    assert (made.every, made.found, made.files, made.sampled_files) == (10, DOCUMENTS, FILES, FILES)
    assert near(made.documents, record.documents)
    assert near(made.tokens, record.tokens) and made.tokens.low <= record.tokens <= made.tokens.high
    assert near(made.bytes, sum(entry.size for entry in lake.list("parts")))
    manifests = {name: record.manifest(lake, name) for name in record.artifacts}
    stages = {stage.name: stage for stage in made.stages}
    assert stages.keys() == manifests.keys()
    assert near(stages["web/documents"].bytes, bytes_of(manifests["web/documents"]))
    # The build finds the forecast by its recipe and inputs, and the page has one row for each artifact.
    assert find_forecast(lake, key_of_build(record.recipe, manifests)) == made
    compared = compared_with_forecast(lake, record, manifests)
    assert compared is not None and [stage.forecast.name for stage in compared.stages] == list(manifests)
    assert compared.stored_bytes == sum(map(bytes_of, manifests.values()))
    # As many units as the whole has, so as many requests.
    whole = make_forecast(lake, resolved, 1.0, 2, told)
    assert near(made.requests, whole.requests.value)
    assert_exact(whole, record)


@pytest.mark.parametrize("most", [100_000, 100])
def test_what_an_earlier_build_has_is_forecast(
    most: int, lake: Lake, pool: LocalPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 600 documents, 200 stand in the corpus of an earlier build, with 200 others, in four shards."""
    (tmp_path / "in").mkdir()
    json_lines(tmp_path / "in")
    (tmp_path / "old").mkdir()
    for file, start in enumerate((0, 100, 1000, 1100)):
        lines = (json.dumps({"text": text(number)}) for number in range(start, start + 100))
        (tmp_path / "old" / f"{file}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    first = built(recipe(tmp_path / "old", "jsonl"), lake, pool)
    point(lake, "corpus/old", Reference("build", first.key, first.digest))
    resolved = compared(tmp_path / "in", "corpus/old")
    monkeypatch.setattr("tasks.forecast.earlier.MOST_DOCUMENTS", most)
    made = make_forecast(lake, resolved, 0.1, 2, told)
    if most == 100:
        [note] = [note for note in made.notes if "25.0% of the documents of earlier builds" in note]
        assert 400 <= made.documents.value <= 600
    else:
        record = built(resolved, lake, pool)
        assert record.documents == 400 and near(made.documents, 400)
        manifests = {name: record.manifest(lake, name) for name in record.artifacts}
        stages = {stage.name: stage for stage in made.stages}
        assert stages.keys() == manifests.keys(), "so the page of the build shows it"
        assert near(stages["earlier/corpus/old/signatures"].bytes, bytes_of(manifests["earlier/corpus/old/signatures"]))
        # The words of those that have copies: how many of the 60 in the sample do is chance.
        assert 0.6 < stages["across/near_duplicates"].bytes.value / bytes_of(manifests["across/near_duplicates"]) < 1.6
    stage = next(stage for stage in made.stages if stage.name == "earlier/corpus/old/signatures")
    assert stage.seconds.value > 0 and near(stage.bytes, 400 * 512), "400 signatures, in any case"


def test_an_earlier_build_that_is_not_there_is_told(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    json_lines(tmp_path / "in")
    with pytest.raises(StoreError, match="corpus/none"):
        make_forecast(lake, compared(tmp_path / "in", "corpus/none"), 0.1, 2, told)


def compared(folder: Path, earlier: str) -> ResolvedRecipe:
    values = {
        "name": "new",
        "sources": {"web": {"read": "jsonl", "inputs": [str(folder)]}},
        "across": [{"near_duplicates": {"survivors": ["first"], "against": [earlier]}}],
        "tokenizer": {"vocabulary_size": 600},
    }
    return resolve(parse_recipe(values, "test"))


def assert_exact(whole: Forecast, record: BuildRecord) -> None:
    """A sample of everything is no estimate."""
    assert whole.every == 1 and whole.documents == Estimate(record.documents, record.documents, record.documents)
    assert whole.tokens.value == pytest.approx(record.tokens) and whole.tokens.low == whole.tokens.high


def test_few_records_are_all_read(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "few.jsonl").write_text("".join(json.dumps({"text": text(number)}) + "\n" for number in range(30)))
    said: list[str] = []
    made = make_forecast(lake, recipe(tmp_path / "few.jsonl", "jsonl"), 0.05, 1, said.append)
    assert made.every == 1 and made.read == made.found == 30
    assert any("too few" in line for line in said) and any("all were read" in note for note in made.notes)


def test_a_record_that_ends_the_process_is_found_record_by_record(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "few.jsonl").write_text("".join(json.dumps({"text": text(number)}) + "\n" for number in range(30)))
    careful: list[bool] = []

    def child(function: Any, *arguments: Any, budget: Any) -> Any:
        careful.append(arguments[-1])
        if len(careful) == 1:
            raise ChildDied("was killed")
        # Watching every record is slow; `tests/infra/engine/test_metering.py` has it.
        return run_in_child(function, *arguments[:-1], False, budget=budget)

    monkeypatch.setattr("tasks.forecast.sample.run_in_child", child)
    said: list[str] = []
    made = make_forecast(lake, recipe(tmp_path / "few.jsonl", "jsonl"), 1.0, 1, said.append)
    assert careful == [False, True] and made.read == 30
    assert any("record by record" in line and "was killed" in line for line in said)


def test_no_records_and_no_share_are_told(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    resolved = recipe(tmp_path / "empty.jsonl", "jsonl")
    with pytest.raises(NoForecast, match="no records"):
        make_forecast(lake, resolved, 0.05, 1, told)
    for share in (0, -0.1, 1.5, float("nan")):
        with pytest.raises(NoForecast, match="above 0 and at most 1"):
            make_forecast(lake, resolved, share, 1, told)


def test_limits_of_fits_shrink_with_the_sample() -> None:
    tokenizer = in_proportion(TokenizerConfig(most_documents=100_000), 0.05)
    assert tokenizer == TokenizerConfig(most_documents=5000)
    models = in_proportion(LanguageModelsConfig(minimum_documents=1000, maximum_documents=1_000_000), 0.05)
    assert models == LanguageModelsConfig(minimum_documents=50, maximum_documents=50_000)
    # A model needs held-back documents in a sample too.
    assert in_proportion(LanguageModelsConfig(minimum_documents=100), 0.025) == LanguageModelsConfig(
        minimum_documents=10, maximum_documents=25_000
    )
