"""The recipes of the four papers: what they say, and what they make of real and made samples."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from flows.build import make_corpus
from flows.cli.main import application
from flows.recipe import left_out, load_recipe, read_recipe
from infra.engine.pool import LocalPool
from infra.store.lake import Lake
from tasks.builds import BuildRecord, find_build
from tasks.fasttext_training import train
from tasks.recipe.source import Source
from tasks.report.fits import fit_reports
from tasks.report.history import histories_of
from tasks.settings import RecipeError
from tasks.token_artifact import read_summary, token_files
from tests.tasks.report.conftest import DirectRunner

# Touvron et al. 2023, table 1: sampling proportion in percent.
LLAMA = {
    "crawl": 67.0,
    "c4": 15.0,
    "github": 4.5,
    "wikipedia": 4.5,
    "books": 4.5,
    "arxiv": 2.5,
    "stack_exchange": 2.0,
}
SMALL_MODELS = {"minimum_documents": 10, "held_back_every": 4, "vocabulary_size": 500, "order": 3}
SMALL = [
    *(f"models.wikipedia_lm.{name}={value}" for name, value in SMALL_MODELS.items()),
    *("models.cited.minimum_documents=20", "models.cited.held_out_every=4", "models.cited.epochs=20"),
    *("tokenizer.vocabulary_size=2000", "tokens.held_out_every=20"),
]


def build(
    pool: LocalPool, folder: Path, name: str, inputs: list[str], settings: list[str], **options: Any
) -> BuildRecord:
    lake = Lake.open(str(folder / "lake"))
    resolved = load_recipe(name, settings, inputs, **options)
    return make_corpus(DirectRunner(lake, pool, lambda label, done, total: None), resolved)


def texts_of(lake: Lake, record: BuildRecord, source: str) -> list[str]:
    corpus = record.manifest(lake, f"{source}/corpus")
    return [text for part in corpus.parts for text in pq.read_table(Path(lake.uri, part.path))["text"].to_pylist()]


def test_the_mixture_of_llama_is_that_of_its_table() -> None:
    shares = read_recipe("llama").shares()
    assert shares == pytest.approx({name: share / 100 for name, share in LLAMA.items()})


@pytest.mark.parametrize("name", ["neox", "pythia", "pythia-deduped"])
def test_the_pile_has_22_parts_whose_weights_are_those_of_its_table(name: str) -> None:
    recipe = read_recipe(name)
    shares = recipe.shares()
    assert len(shares) == 22 and shares["pile.pile-cc"] == pytest.approx(0.1811)
    # Gao et al. 2020, table 1, in order of weight.
    assert [*shares.values()] == sorted(shares.values(), reverse=True)
    weights = [part.share for part in recipe.sources["pile"].parts.values() if part.share is not None]
    assert sum(weights) == pytest.approx(100)
    splits = {source: section.split for source, section in recipe.sources.items()}
    assert splits == {"pile": None, "pile-validation": "validation", "pile-test": "held-out"}
    values = [{part.value for part in section.parts.values()} for section in recipe.sources.values()]
    assert values[0] == values[1] == values[2]


def test_opt_takes_eight_sets_of_the_pile() -> None:
    recipe = read_recipe("opt")
    assert len(recipe.sources["pile"].parts) == 8 and set(recipe.epochs().values()) == {1.0}
    [step] = recipe.across
    assert (step.config["threshold"], step.config["mode"]) == (0.95, "components")


@pytest.mark.parametrize(("name", "lacks"), [("llama", "c4_language"), ("opt", "whitespace")])
def test_what_a_recipe_lacks_is_named(name: str, lacks: str) -> None:
    done = CliRunner().invoke(application, ["recipe", "check", name])
    assert done.exit_code == 0 and lacks in done.output and "lacks" in done.output


def pile_rows() -> tuple[list[dict[str, Any]], list[str]]:
    """Documents of 22 sets, a fifth of them repeated, and a chain A, B, C whose ends are not similar enough."""
    sets = [part.value for part in read_recipe("neox").sources["pile"].parts.values()]
    rng = random.Random(5)
    rows = []
    for number in range(88):
        words = [f"w{rng.randrange(9000)}" for _ in range(120)]
        rows.append({"text": f"\t{' '.join(words)} \r\n", "meta": {"pile_set_name": sets[number % 22]}})
    rows += rows[::5]
    words = [f"v{number}" for number in range(1000)]
    chain = []
    for link in range(3):
        # Each of the 8 words is in 5 of the 996 5-grams: 0.92 from link to link, 0.85 from end to end.
        chain.append(
            " ".join(
                f"x{place}" if place % 120 in (10, 70)[:link] and place < 960 else word
                for place, word in enumerate(words)
            )
        )
    rows += [{"text": text, "meta": {"pile_set_name": sets[0]}} for text in chain]
    return rows, chain


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


PILE_SETTINGS = ["tokenizer.vocabulary_size=400"]


@pytest.mark.parametrize("name", ["neox", "pythia"])
def test_the_pile_as_it_is(pool: LocalPool, tmp_path: Path, name: str) -> None:
    rows, _ = pile_rows()
    inputs = [
        f"pile={write_rows(tmp_path / 'train.jsonl', rows)}",
        f"pile-validation={write_rows(tmp_path / 'val.jsonl', rows[:44])}",
    ]
    record = build(pool, tmp_path, name, inputs, PILE_SETTINGS, skip_missing=True)
    lake = Lake.open(str(tmp_path / "lake"))
    assert Counter(texts_of(lake, record, "pile")) == Counter(row["text"] for row in rows)
    tokens = record.manifest(lake, "tokens")
    assert len(token_files(tokens)) == len(token_files(tokens, ".validation")) == 22
    assert read_summary(lake, tokens)["mixture"] == pytest.approx(read_recipe(name).shares())


@pytest.mark.parametrize("mode", ["pile_dedupe", "components", "survivors"])
def test_the_deduplicated_twin_drops_what_its_mode_drops(pool: LocalPool, tmp_path: Path, mode: str) -> None:
    rows, chain = pile_rows()
    inputs = [f"pile={write_rows(tmp_path / 'train.jsonl', rows)}"]
    settings = [*PILE_SETTINGS, f"near_duplicates.mode={mode}"]
    record = build(pool, tmp_path, "pythia-deduped", inputs, settings, skip_missing=True)
    kept = Counter(texts_of(Lake.open(str(tmp_path / "lake")), record, "pile"))
    alone = {row["text"] for row in rows} - {*chain}
    assert {text: count for text, count in kept.items() if text in alone} == dict.fromkeys(alone, 1)
    of_chain = [text in kept for text in chain]
    # In the default mode the ends stay, since neither is like the other; one of three, where a chain connects them.
    assert {"survivors": sum(of_chain) == 2, "components": sum(of_chain) == 1, "pile_dedupe": of_chain[2]}[mode]
    assert mode != "survivors" or of_chain in ([True, False, True],)


def test_opt_is_built_of_what_there_is(pool: LocalPool, tmp_path: Path) -> None:
    rows, _ = pile_rows()
    comments = [
        {
            "id": f"c{n}",
            "link_id": "t3_a",
            "parent_id": f"t1_c{n - 1}" if n else "t3_a",
            "body": f"comment {n} says {n * 7}",
            "score": 1,
            "created_utc": 1500000000 + n,
            "subreddit": "mills",
            "author": "x",
        }
        for n in range(6)
    ]
    inputs = [
        f"pile={write_rows(tmp_path / 'train.jsonl', rows)}",
        f"reddit={write_rows(tmp_path / 'RC_2020-01', comments)}",
    ]
    with pytest.raises(RecipeError, match="no source has inputs"):
        load_recipe("opt", skip_missing=True)
    with pytest.raises(RecipeError, match="SOURCE=PATH"):
        load_recipe("opt", inputs=["train.jsonl"])
    with pytest.raises(RecipeError, match="no path is given for pile"):
        load_recipe("opt", inputs=["pile="])
    record = build(pool, tmp_path, "opt", inputs, PILE_SETTINGS, skip_missing=True)
    lake = Lake.open(str(tmp_path / "lake"))
    assert record.sources == ["pile", "reddit"]
    [thread] = texts_of(lake, record, "reddit")
    assert thread.split("\n\n") == [comment["body"] for comment in comments]
    assert set(read_summary(lake, record.manifest(lake, "tokens"))["mixture"]) >= {"pile.pile-cc", "reddit"}


@pytest.mark.parametrize("given", [["github"], ["wikipedia"], ["c4", "books", "arxiv"], ["crawl", "wikipedia"]])
def test_llama_is_built_of_any_of_its_sources(given: list[str]) -> None:
    resolved = load_recipe("llama", inputs=[f"{source}=file" for source in given], skip_missing=True)
    assert [source.name for source in resolved.sources] == given
    assert bool(resolved.recipe.models) == ("crawl" in given)


def test_a_source_whose_model_would_be_fitted_on_what_is_missing_says_so() -> None:
    with pytest.raises(RecipeError, match="crawl needs the model wikipedia_lm, which is fitted on wikipedia"):
        load_recipe("llama", inputs=["crawl=file"], skip_missing=True)


def test_without_cited_pages_the_classifier_is_left_out_with_its_rule() -> None:
    given = ["crawl=file", "wikipedia=file"]
    [crawl, _] = load_recipe("llama", inputs=given, skip_missing=True).sources
    assert crawl.step("reference_classifier") is None and crawl.step("perplexity") is not None
    assert isinstance(crawl.section, Source) and "unlike_cited_pages" not in {one.reason for one in crawl.section.rules}
    told = left_out(read_recipe("llama"), load_recipe("llama", inputs=given, skip_missing=True))
    assert "cited_pages" in told and "and their rules: crawl.reference_classifier" in told
    whole = load_recipe("llama", inputs=[*given, "cited_pages=file"], skip_missing=True)
    assert set(whole.recipe.models) == {"wikipedia_lm", "cited"} and [*whole.recipe.references] == ["cited_pages"]
    assert whole.sources[0].step("reference_classifier") is not None
    assert "rules" not in left_out(read_recipe("llama"), whole)


@pytest.mark.parametrize("condition", ["when", "unless"])
def test_rules_whose_condition_asks_a_step_that_is_left_out_go_too(tmp_path: Path, condition: str) -> None:
    path = tmp_path / "cited.yaml"
    path.write_text(
        "name: cited\nmodels:\n  cited: {fit: text_classifier, on: [good, web], positive: [good]}\n"
        "references:\n  good: {read: jsonl}\n"
        "sources:\n  web:\n    read: jsonl\n    steps: [heuristics, {reference_classifier: {model: cited}}]\n"
        "    rules:\n      - {column: heuristics.word_count, at_least: 50, reason: short}\n"
        "      - {column: heuristics.word_count, at_least: 90, reason: short_and_unlike, "
        f"{condition}: {{column: reference_classifier.score, at_most: 0.5}}}}\n"
    )
    [web] = load_recipe(str(path), inputs=["web=file"], skip_missing=True).sources
    assert isinstance(web.section, Source) and [rule.reason for rule in web.section.rules] == ["short"]


def test_a_file_takes_the_place_of_a_model_that_would_be_fitted(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("__label__wiki mill river\n__label__cc shop sale\n")
    train(tmp_path / "lines", {"thread": 1, "verbose": 0, "dim": 2}, tmp_path / "wiki.bin")
    step = f"sources.crawl.reference_classifier.model={tmp_path}/wiki.bin"
    resolved = load_recipe("llama", [step, "sources.crawl.reference_classifier.label=wiki"])
    assert set(resolved.recipe.models) == {"wikipedia_lm"} and not resolved.references


def test_positive_pages_must_be_among_those_that_a_classifier_is_fitted_on() -> None:
    with pytest.raises(RecipeError, match=r"models\.cited: positive names books, which is not in on"):
        load_recipe("llama", ["models.cited.positive=[books]"])


def test_references_go_with_the_models_that_nothing_uses_any_more(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(
        "name: two\nmodels:\n  lm: {fit: language_models, on: [good]}\n"
        "references:\n  good: {read: jsonl, inputs: [good]}\n"
        "sources:\n  web: {read: jsonl, steps: [{perplexity: {model: lm}}]}\n  books: {read: jsonl}\n"
    )
    resolved = load_recipe(str(path), inputs=["books=file"], skip_missing=True)
    assert (list(resolved.recipe.models), [*resolved.recipe.references]) == ([], [])


def test_the_only_source_may_be_named_with_its_input() -> None:
    [source] = read_recipe("crawl").sources
    inputs = ["a.warc.gz", f"{source}=b.warc.gz", "lang=en/c.warc.gz", f"{source}=d=e.warc.gz"]
    [resolved] = load_recipe("crawl", inputs=inputs).sources
    assert list(resolved.section.inputs) == ["a.warc.gz", "b.warc.gz", "lang=en/c.warc.gz", "d=e.warc.gz"]
    with pytest.raises(RecipeError, match="no path is given"):
        load_recipe("crawl", inputs=[""])


@pytest.fixture(scope="module")
def samples(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Real samples of LLaMA's seven sources, as inputs."""
    folder = tmp_path_factory.mktemp("samples")
    repository = folder / "repositories.tar.gz"
    with tarfile.open(repository, "w:gz") as archive:
        licence = "SPDX-License-Identifier: Apache-2.0\n"
        for path in sorted(Path(__file__).parents[2].joinpath("infra").rglob("*.py"))[:40]:
            archive.add(path, f"project/{path.name}-{len(archive.getmembers())}.py")
        entry = tarfile.TarInfo("project/LICENSE")
        entry.size = len(licence)
        archive.addfile(entry, io.BytesIO(licence.encode()))
    books = folder / "books.tar"
    with tarfile.open(shared_data / "books" / "books.tar.xz") as whole, tarfile.open(books, "w") as archive:
        for member in sorted((one for one in whole if one.isfile()), key=lambda one: one.size)[:20]:
            archive.addfile(member, whole.extractfile(member))
    return [
        f"crawl={shared_data}/ccnet/wet/*-0000[01].warc.wet.gz",
        f"cited_pages={shared_data}/ccnet/wet/*-0000[23].warc.wet.gz",
        f"c4={shared_data}/jsonl-samples/olmo-c4-sample*.json.gz",
        f"github={repository}",
        f"wikipedia={shared_data}/wikipedia/enwiki-pages-articles-sample.xml.bz2",
        f"books={books}",
        f"arxiv={shared_data}/latex/hott-tex.tar.xz",
        f"stack_exchange={shared_data}/stackexchange/Posts.xml.gz",
    ]


def test_llama_is_built_of_its_seven_sources(pool: LocalPool, tmp_path: Path, samples: list[str]) -> None:
    record = build(pool, tmp_path, "llama", samples, SMALL)
    lake = Lake.open(str(tmp_path / "lake"))
    assert record.sources == [*LLAMA]
    summary = read_summary(lake, record.manifest(lake, "tokens"))
    assert set(token_files(record.manifest(lake, "tokens"))) == set(LLAMA)
    assert summary["mixture"] == pytest.approx(read_recipe("llama").shares())
    assert (
        summary["sources"]["stack_exchange"]["documents"] + summary["sources"]["stack_exchange.held-out"]["documents"]
        == 133
    )
    [report] = fit_reports(lake, record).values()
    assert report["auc_of_length"]["as_trained"] == 0.5 and report["positive"]["held_out"] > 0
    told = CliRunner().invoke(application, ["ledger", record.artifacts["models/cited"][1], "--lake", lake.uri])
    assert told.exit_code == 0 and "auc_of_length.as_trained" in told.output, told.output
    # Every source has a document, and every reason too, whose life is told.
    wanted = {(source, "kept") for source in LLAMA}
    for source, entries in record.source_ledgers.items():
        wanted |= {(source, reason) for entry in entries[1:] for reason in entry["dropped"]}
    outcomes = Counter[tuple[str, str]]()
    for source in LLAMA:
        manifest = record.manifest(lake, f"{source}/documents")
        for part in manifest.parts:
            for identity in pq.read_table(Path(lake.uri, part.path), columns=["id"])["id"].to_pylist():
                if all(outcomes[pair] for pair in wanted if pair[0] == source):
                    break
                [history] = histories_of(lake, record, identity, tmp_path / "cache")
                outcomes[source, history.outcome.rpartition(":")[2] or "kept"] += 1
    assert {pair for pair in wanted if not outcomes[pair]} == set()


@pytest.mark.heavy
def test_a_tiny_llama_trains_on_it(tmp_path: Path, samples: list[str]) -> None:
    lake = str(tmp_path / "lake")
    given = [part for item in samples for part in ("--input", item)] + [
        part for item in SMALL for part in ("--set", item)
    ]
    built = CliRunner().invoke(application, ["build", "llama", "--lake", lake, *given])
    assert built.exit_code == 0, built.output
    opened = Lake.open(lake)
    corpus = find_build(opened).key[:12]
    settings = ["training.steps=4", "training.schedule.decay=4", "training.schedule.warmup=1", "training.batch=8"]
    values = [part for item in (*settings, "epochs=50") for part in ("--set", item)]
    layout = ["--layout", "engine=native,micro_batch=4,data=1"]
    train = ["train", "tiny-llama", "--corpus", corpus, "--lake", lake, "--json", *layout, *values]
    trained = CliRunner().invoke(application, train)
    assert trained.exit_code == 0, trained.output
    planned = CliRunner().invoke(
        application,
        [
            "plan",
            "mixture",
            "--corpus",
            corpus,
            "--lake",
            lake,
            "--steps",
            "4",
            "--batch",
            "4",
            "--sequence-length",
            "128",
        ],
    )
    assert planned.exit_code == 0 and "stack_exchange" in planned.output
