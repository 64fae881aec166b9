"""What people do wrong: one short message, one JSON object with the error, status 1, and no server started for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import application
from flows.recipe import RECIPES, load_recipe, with_tokens
from infra.store.lake import Lake
from infra.store.names import Reference, point
from tasks.builds import BuildRecord, write_build
from tasks.language import identify_language
from tasks.model_files import model_files
from tasks.settings import RecipeError
from tests.flows.conftest import Millrace


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a command that starts a server before it notices what is wrong."""

    @contextmanager
    def refuse(state: Path) -> Iterator[str]:
        raise AssertionError("a server was started")
        yield ""

    monkeypatch.setattr("infra.server.local.local_server", refuse)


@pytest.fixture
def built(tmp_path: Path) -> str:
    """A lake with the record of a build of the recipe ``crawl``, named ``corpus/crawl``."""
    lake = Lake.open(str(tmp_path / "built"))
    recipe = load_recipe("crawl").recipe.model_dump(mode="json")
    record = BuildRecord("c0ffee" * 10 + "c0ff", "0" * 64, recipe, {}, {}, [], {}, 1, 1, "2024-01-01T00:00:00+00:00")
    write_build(lake, record)
    point(lake, "corpus/crawl", Reference("build", record.key, record.digest))
    return lake.uri


def refused(*arguments: str) -> str:
    """The message with which a command is refused, the same for people and for programs."""
    done = CliRunner().invoke(application, [*arguments, "--json"])
    assert done.exit_code == 1, (done.exception, done.output)
    assert isinstance(done.exception, SystemExit), done.exception
    [line] = done.stdout.splitlines()
    message: str = json.loads(line)["error"]
    assert done.stderr == message + "\n"
    assert len(message.splitlines()) <= 3 and "Traceback" not in message
    return message


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("tokenizer.file=no/such/tokenizer.json", "tokenizer.file: there is no file no/such/tokenizer.json"),
        ("language.model=no/such/lid.bin", "language.model: there is no file no/such/lid.bin"),
        ("language.model=bundled:lid.177.ftz", "no bundled model is called lid.177.ftz; there are lid.176.ftz"),
        ("sources.crawl.read.min_chars=3", "there is no min_chars; it has extractor"),
        ("sources.crawl.read.min_characters=few", "web_archive.min_characters: Input should be a valid integer"),
        ("sources.crawl.read.source=other", "there is no source; it has extractor"),
        ("sources.crawl.read=3", "sources.crawl.read: Input should be a valid dictionary"),
        ("sources.crawl.language.decimals=9", "language.decimals: Input should be less than or equal to 6"),
        ("sources.crawl.steps=[unheard_of]", "there is no annotate or partitioned stage unheard_of: there are"),
        ("sources.crawl.steps=[perplexity]", "perplexity reads language, but no step of that stage is before it"),
        ("models.language_models.on=[nowhere]", "language_models.on: there is no source or reference nowhere"),
        (
            "rules.low_language_score.column=language.label",
            "at_least and at_most are for numbers, but language.label has type str",
        ),
        ("rules.word_count.one_of=[ten]", "one_of is for strings, but heuristics.word_count has type int64"),
        ("rules.word_count.column=heuristics.words", "heuristics has no column words"),
        ("rules=[1", "--set rules=[1: the value is not YAML"),
        ("name=!!int x", "--set name=!!int x: the value is not YAML: invalid literal for int()"),
        ("rules.unheard_of.at_least=1", "the list has no unheard_of; it has low_language_score, word_count"),
        ("near_duplicates.survivors.0.x=1", "the value there is 'longest', which has no fields"),
        ("tokenizer.vocabulary_size=3", "tokenizer.vocabulary_size: Input should be greater than or equal to 258"),
        ("no-sign", "--set no-sign: write KEY=VALUE"),
    ],
)
def test_a_recipe_with_a_wrong_value_is_refused(setting: str, told: str, tmp_path: Path) -> None:
    assert told in refused("recipe", "check", "crawl", "--set", setting)
    lake = str(tmp_path / "lake")
    assert told in refused("build", "crawl", "--input", "x.warc.gz", "--lake", lake, "--set", setting)
    assert not Path(lake).exists()


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("hello")
    model = str(tmp_path / "model")
    assert f"{model} is not a fastText model" in refused("recipe", "check", "crawl", "--set", f"language.model={model}")
    assert f"{model} is not a tokenizer" in refused("recipe", "check", "crawl", "--set", f"tokenizer.file={model}")
    assert f"the folder {tmp_path} has none of" in refused(
        "recipe", "check", "crawl", "--set", f"tokenizer.file={tmp_path}"
    )


def test_files_that_are_models_are_taken(shared_data: Path) -> None:
    tokenizer = shared_data / "tokenizers" / "neox-20B_tokenizer.json"
    language = model_files(identify_language, "bundled:lid.176.ftz").local["lid.176.ftz"]
    settings = ["--set", f"tokenizer.file={tokenizer}", "--set", f"language.model={language}"]
    done = CliRunner().invoke(application, ["recipe", "check", "crawl", *settings])
    assert done.exit_code == 0, done.output
    named = ["recipe", "check", "crawl", *settings[:2], "--set"]
    told = refused(*named, "tokenizer.end_of_document=</s>")
    assert "has no token </s>, which ends every document; its special tokens are <|endoftext|>, <|padding|>" in told
    done = CliRunner().invoke(application, [*named, "tokenizer.end_of_document=<|padding|>"])
    assert done.exit_code == 0, done.output


def test_thresholds_on_columns_of_strings_are_taken() -> None:
    rule = "{column: language.label, one_of: [en, de], reason: language}"
    done = CliRunner().invoke(application, ["recipe", "check", "crawl", "--set", f"rules=[{rule}]"])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"name: [1\n", "is not YAML: expected ',' or ']', but got '<stream end>' in line 2, column 1"),
        (b"name: a\n\tsources: b\n", "in line 2, column 1"),
        (b"name: \xff\n", "is not YAML: 'utf-8' codec can't decode byte 0xff"),
        (b"- a\n", "expected a mapping, found a list"),
        (b"", "expected a mapping, found nothing"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(text: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "written.yaml"
    path.write_bytes(text)
    assert told in refused("recipe", "check", str(path))
    assert told in refused("build", str(path), "--lake", str(tmp_path / "lake"))
    assert told in refused("train", str(path), "--lake", str(tmp_path / "lake"))


def test_inputs_need_one_source(tmp_path: Path) -> None:
    path = tmp_path / "written.yaml"
    path.write_text("name: a\nsources: {one: {read: jsonl}, two: {read: jsonl}}\n")
    told = refused("build", str(path), "--input", "x.warc.gz")
    assert "has several sources: give 'x.warc.gz' as SOURCE=PATH, with one of one, two" in told
    path.write_text("name: a\nsources: 3\n")
    assert "sources: Input should be a valid dictionary" in refused("build", str(path), "--input", "x.warc.gz")


def test_a_recipe_of_the_form_before_is_read(tmp_path: Path) -> None:
    path = tmp_path / "written.yaml"
    path.write_text("name: a\nsources: [{name: one, reader: jsonl}]\nlanguage: {}\n")
    done = CliRunner().invoke(application, ["recipe", "check", str(path), "--json"])
    assert done.exit_code == 0, done.output
    names = [task["name"] for task in json.loads(done.stdout)["tasks"]]
    assert [names[0], names[2]] == ["one: jsonl", "one: language"]
    path.write_text("name: a\nsources: [one]\n")
    assert "sources: each needs a name and a reader, but this is 'one'" in refused("recipe", "check", str(path))


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("seed=[1", "--set seed=[1: the value is not YAML"),
        ("seed=-1", "seed: Input should be greater than or equal to 0"),
        ("sed=1", "sed: Extra inputs are not permitted"),
        ("layout=3", "layout: expected a section with"),
    ],
)
def test_a_training_config_with_a_wrong_value_is_refused(setting: str, told: str, built: str) -> None:
    assert told in refused("train", "tiny-pythia", "--lake", built, "--set", setting)


def test_a_training_section_that_is_no_mapping_is_refused(tmp_path: Path, built: str) -> None:
    path = tmp_path / "training.yaml"
    path.write_text("preset: tiny-pythia\nlayout: 3\n")
    assert "layout: Input should be a valid dictionary" in refused("train", str(path), "--lake", built)
    unknown = refused("train", str(path), "--lake", built, "--set", "layout.ranks=1")
    assert "layout: there is no ranks; there are data, device" in unknown


@pytest.mark.parametrize(
    "arguments",
    [
        ["artifacts"],
        ["ledger", "corpus/crawl"],
        ["explain", "https://example.org/"],
        ["verify", "corpus/crawl"],
        ["gc"],
        ["runs"],
        ["evaluate", "c0ffee"],
        ["report"],
        ["tokenize", "corpus/crawl"],
        ["train", "tiny-pythia"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_asking_makes_no_lake(arguments: list[str], tmp_path: Path) -> None:
    lake = tmp_path / "typo_lake"
    assert f"there is no lake at {lake}" in refused(*arguments, "--lake", str(lake))
    assert f"there is no lake at file://{lake}" in refused(*arguments, "--lake", f"file://{lake}")
    assert not lake.exists()
    (tmp_path / "file").write_text("")
    assert "there is no lake at" in refused(*arguments, "--lake", str(tmp_path / "file" / "lake"))
    assert "a lake is a local folder or s3://" in refused(*arguments, "--lake", "gs://bucket/lake")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["ledger", "beef"], "0 builds and artifacts of"),
        (["verify", "beef"], "0 builds and artifacts of"),
        (["ledger", "corpus/unheard-of"], "its names are: corpus/crawl"),
        (["verify", "corpus/unheard-of"], "its names are: corpus/crawl"),
        (["explain", "x", "--build", "beef"], "0 builds of"),
        (["evaluate", "beef"], "0 runs of"),
        (["report", "beef"], "0 builds of"),
        (["report", "corpus/crawl", "--run", "beef"], "0 runs of"),
        (["tokenize", "beef"], "0 builds of"),
        (["tokenize", "corpus/crawl", "--tokenizer", "no/such.json"], "there is no file no/such.json"),
        (["tokenize", "corpus/crawl", "--tokenizer", "x", "--vocabulary-size", "300"], "has a fixed vocabulary"),
        (["tokenize", "corpus/crawl", "--name", "No Name"], "'No Name' is not a name: use lower-case letters"),
    ],
)
def test_what_a_lake_does_not_have_is_told(arguments: list[str], told: str, built: str) -> None:
    assert told in refused(*arguments, "--lake", built)


@pytest.mark.parametrize("option", ["--vocabulary-size=3", "--held-out-every=-1"])
def test_an_option_outside_its_limits_is_a_usage_error(option: str, built: str) -> None:
    done = CliRunner().invoke(application, ["tokenize", "corpus/crawl", option, "--lake", built])
    assert done.exit_code == 2 and "Invalid value for" in done.output


def test_an_old_recipe_may_name_a_model_that_is_gone(built: str, tmp_path: Path) -> None:
    values = load_recipe("crawl").recipe.model_dump(mode="json")
    [language] = [step for step in values["sources"]["crawl"]["steps"] if step["name"] == "language"]
    language["model"] = str(tmp_path / "gone.bin")
    assert with_tokens(values, None, 300, None).tokenizer.vocabulary_size == 300


def test_an_end_of_documents_goes_with_the_file_that_it_is_named_for(shared_data: Path) -> None:
    values = load_recipe("crawl").recipe.model_dump(mode="json")
    neox = str(shared_data / "tokenizers" / "neox-20B_tokenizer.json")
    named = with_tokens(values, neox, None, None, "<|padding|>")
    assert (named.tokenizer.file, named.tokenizer.end_of_document) == (neox, "<|padding|>")
    kept = named.model_dump(mode="json")
    assert with_tokens(kept, None, None, 3).tokenizer == named.tokenizer
    assert with_tokens(kept, neox, None, None).tokenizer.end_of_document == "<|endoftext|>"
    with pytest.raises(RecipeError, match="name a file that has the token"):
        with_tokens(values, None, None, None, "</s>")


def test_every_recipe_of_ours_can_be_built() -> None:
    for path in RECIPES.glob("*.yaml"):
        assert CliRunner().invoke(application, ["recipe", "check", path.stem]).exit_code == 0


def test_the_script_itself_ends_with_one_message(millrace: Millrace, tmp_path: Path) -> None:
    done = millrace.run("artifacts", "--lake", str(tmp_path / "typo_lake"), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"] == done.stderr.strip()


def test_a_build_of_another_name_is_to_be_named(tmp_path: Path) -> None:
    Lake.open(str(tmp_path / "lake"))
    told = refused("what-if", "crawl", "--lake", str(tmp_path / "lake"))
    assert "has no name corpus/crawl" in told and told.endswith("Name the build with --corpus")
    assert "--corpus" not in refused("what-if", "crawl", "--corpus", "corpus/x", "--lake", str(tmp_path / "lake"))
