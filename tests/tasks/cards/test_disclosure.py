"""The public summary: each field is filled from artifacts or statements, or is named as missing."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from infra.engine.shards import PartReader
from infra.store.errors import StoreError
from tasks.cards.disclosure import UnknownSource, disclose
from tasks.cards.facts import collect_facts
from tasks.cards.files import build_of_run, write_disclosure
from tasks.cards.statements import Statements, read_statements
from tasks.settings import RecipeError
from tests.tasks.cards.conftest import BATCH, LENGTH, STEPS, Corpus

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "cards.md").read_text(encoding="utf-8")
[FULL] = re.findall(r'```yaml title="statements.yaml"\n(.*?)```', PAGE, re.DOTALL)


def statements(folder: Path, text: str = FULL) -> Statements:
    (folder / "statements.yaml").write_text(text)
    return read_statements(folder / "statements.yaml")


def test_without_statements_what_is_missing_is_named(corpus: Corpus, tmp_path: Path) -> None:
    files, found = write_disclosure(
        corpus.lake, corpus.build, "corpus/small", None, Statements(), tmp_path, tmp_path / "cache"
    )
    missing = {(field.section, field.title) for field in found.missing}
    assert ("1.1 Provider", "Name") in missing
    assert ("2 Data sources", "Kind of each source") in missing  # JSON Lines may be anything
    assert ("1.3 Modalities and size", "Training data size") not in missing
    text = files[0].read_text()
    assert all(field.origin.split()[0] in text for field in found.missing)
    assert f"{corpus.build.tokens:,} tokens" in text
    values = json.loads(files[2].read_text())
    assert len(values["missing"]) == len(found.missing)
    assert values["artifacts"]["tokens"] == f"tokens/{corpus.build.artifacts['tokens'][1]}"


def test_a_run_with_all_statements_is_complete(corpus: Corpus, tmp_path: Path) -> None:
    run = corpus.run.key
    assert build_of_run(corpus.lake, run, tmp_path / "cache").key == corpus.build.key
    files, found = write_disclosure(
        corpus.lake, corpus.build, "run/x", run, statements(tmp_path), tmp_path / "out", tmp_path / "cache"
    )
    assert found.missing == []
    assert "Nothing: every field has a value." in files[0].read_text()
    assert sum(source.size.tokens for source in found.sources) == STEPS * BATCH * LENGTH
    assert all(source.passes is not None and source.passes > 0 for source in found.sources)
    with files[3].open(newline="") as file:
        rows = list(csv.DictReader(file))
    sizes = [int(row["bytes"]) for row in rows]
    assert len(rows) == -(-found.all_domains // 10) and sizes == sorted(sizes, reverse=True)


def test_what_is_stated_of_some_sources_is_missing_of_the_others(corpus: Corpus, tmp_path: Path) -> None:
    some = statements(tmp_path, "sources: {web: {kind: public, content: news}, books: {kind: public, title: Topics}}")
    _, found = write_disclosure(corpus.lake, corpus.build, "x", None, some, tmp_path, tmp_path / "cache")
    missing = {field.title: field.origin for field in found.missing}
    assert missing["Types of content of other sources"] == "state content of books"
    assert missing["Titles and links of large datasets"] == "state title and link of web, books"
    assert [field.value for field in found.fields if field.title == "Types of content"] == ["web: news"]


def test_figures_name_their_artifacts(corpus: Corpus, tmp_path: Path) -> None:
    crawled = statements(tmp_path, "sources: {web: {kind: crawled}, books: {kind: public}}")
    _, found = write_disclosure(corpus.lake, corpus.build, "x", None, crawled, tmp_path, tmp_path / "cache")
    for field in found.fields:
        if field.value is not None and re.search(r"\d", field.value):
            named = [name for name in found.artifacts if name in field.origin]
            assert named, field


def test_languages_that_are_not_identified_are_shown(corpus: Corpus, tmp_path: Path) -> None:
    facts = collect_facts(corpus.lake, corpus.build, "x", PartReader(corpus.lake, tmp_path))
    facts.sources[1].languages = {None: facts.sources[1].size}
    found = disclose(facts, None, Statements())
    [value] = [field.value for field in found.fields if field.title == "Linguistic characteristics"]
    assert value is not None and "not identified" in value
    assert sum(float(share) for share in re.findall(r"([0-9.]+)%", value)) == pytest.approx(100, abs=0.5)


def test_held_out_tokens_are_told(corpus: Corpus, tmp_path: Path) -> None:
    facts = collect_facts(corpus.lake, corpus.build, "x", PartReader(corpus.lake, tmp_path))
    assert "held out" not in disclose(facts, None, Statements()).basis
    facts.sources[0].held_out = 1234
    assert "training does not read the 1,234 that are held out" in disclose(facts, None, Statements()).basis


def test_a_small_provider_lists_fewer_domains(corpus: Corpus, tmp_path: Path) -> None:
    small = statements(tmp_path, "provider: {small: true}")
    _, found = write_disclosure(corpus.lake, corpus.build, "x", None, small, tmp_path, tmp_path / "cache")
    assert len(found.domains) == -(-found.all_domains // 20)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("provider: {nam: x}", "provider.nam: Extra inputs"),
        ("sources: {web: {kind: stolen}}", "sources.web.kind"),
        ("- a", "expected a mapping"),
    ],
)
def test_wrong_statements_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        statements(tmp_path, text)


def test_statements_about_no_source_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UnknownSource, match="a source wb; the corpus has web, books"):
        write_disclosure(
            *(corpus.lake, corpus.build, "x", None, statements(tmp_path, "sources: {wb: {kind: public}}")),
            *(tmp_path, tmp_path / "cache"),
        )


def test_a_run_of_other_tokens_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        build_of_run(corpus.lake, "0" * 64, tmp_path)
