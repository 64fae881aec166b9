"""Seven sources of three kinds, each with steps and rules of its own: built, balanced and explained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import yaml

from tests.flows.conftest import Millrace, markers
from tests.tasks.sources.samples import page, stored, warc_record

SOURCES = ("web", "news", "wet", "wiki", "books", "code", "forum")
COPIED = " ".join(topics["objects"].split()[:300])


def _texts(start: int) -> list[str]:
    names = sorted(topics)[start : start + 6]
    return [" ".join(topics[name].split()) for name in names]


def _paragraphs(text: str) -> str:
    return f"<p>{text.replace('<', '&lt;')}</p>"


def _inputs(folder: Path) -> Iterator[tuple[str, Path]]:
    """A file for each source; `books`, `forum` and `web` share a text, and `code` has a broken line."""
    for number, name in enumerate(("web", "news")):
        texts = [*_texts(6 * number), *([COPIED] if name == "web" else [])]
        records = [
            warc_record(page(_paragraphs(text)), number=100 * number + place, uri=f"http://{name}.example/{place}")
            for place, text in enumerate(texts)
        ]
        (folder / f"{name}.warc.gz").write_bytes(stored(records, "gzip")[0])
        yield name, folder / f"{name}.warc.gz"
    records = [warc_record(text.encode(), "conversion", 300 + place) for place, text in enumerate(_texts(12))]
    (folder / "wet.warc.wet.gz").write_bytes(stored(records, "gzip")[0])
    yield "wet", folder / "wet.warc.wet.gz"
    for number, name in enumerate(SOURCES[3:]):
        texts = [*_texts(18 + 6 * number), *([COPIED + " again"] if name in ("books", "forum") else [])]
        lines = [json.dumps({"text": text, "id": f"{place}"}) for place, text in enumerate(texts)]
        lines += ["{broken"] if name == "code" else []
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        yield name, folder / f"{name}.jsonl"


def _recipe(folder: Path) -> dict[str, Any]:
    words = {"column": "heuristics.word_count", "at_least": 60, "reason": "word_count"}
    english = {"column": "language.label", "one_of": ["en"], "reason": "unwanted_language"}
    lines = {"jsonl": {"id_field": "id"}}
    recipe: dict[str, Any] = {
        "name": "seven",
        "models": {
            "wikipedia": {
                "fit": "language_models",
                "on": ["wiki"],
                "minimum_documents": 4,
                "held_back_every": 3,
                "vocabulary_size": 200,
                "order": 2,
            }
        },
        "defaults": {"read": lines, "share": 1},
        "sources": {
            "web": {
                "read": {"web_archive": {"min_characters": 40}},
                "steps": [
                    {"paragraphs": {"files_per_group": 1}},
                    "language",
                    "heuristics",
                    {"perplexity": {"model": "wikipedia"}},
                ],
                "floors": [{"column": "language.score", "at_least": 0.2}],
                "rules": [{"column": "language.score", "at_least": 0.3, "reason": "low_language_score"}, words],
                "share": 4,
            },
            "news": {"read": "web_archive", "steps": ["heuristics", "language"], "rules": [english, words], "share": 2},
            "wet": {"read": "wet", "steps": ["language", {"perplexity": {"model": "wikipedia"}}], "rules": [english]},
            "wiki": {"steps": ["language"], "share": 1},
            "books": {"steps": [{"near_duplicates": {"threshold": 0.9}}], "share": 1},
            "code": {
                "steps": ["heuristics", {"strict": {"stage": "heuristics", "decimals": 2}}],
                "rules": [{**words, "column": "strict.word_count"}],
            },
            "forum": {},
        },
        "across": [{"copies": {"stage": "near_duplicates", "threshold": 0.8, "survivors": ["source", "longest"]}}],
        "most_failures": 0.5,
        "tokenizer": {"vocabulary_size": 400},
    }
    for name, path in _inputs(folder):
        recipe["sources"][name]["inputs"] = [str(path)]
    return recipe


@pytest.fixture(scope="module")
def built(millrace: Millrace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("seven")
    recipe, lake = folder / "seven.yaml", folder / "lake"
    recipe.write_text(yaml.safe_dump(_recipe(folder), sort_keys=False))
    return recipe, lake, millrace.json("build", str(recipe), "--lake", str(lake))


def test_the_books_of_each_source_and_of_the_sum_balance(built: tuple[Path, Path, dict[str, Any]]) -> None:
    result = built[2]
    assert tuple(result["source_ledgers"]) == SOURCES
    for ledger in (result["ledger"], *result["source_ledgers"].values()):
        for entry, after in pairwise(ledger):
            out = sum(entry["dropped"].values()) + sum(entry["failed"].values())
            assert entry["documents_in"] == entry["documents_kept"] + out
            assert after["documents_in"] == entry["documents_kept"]
    for field in ("documents_in", "documents_kept", "bytes_in", "bytes_kept"):
        for place in (0, -1):
            whole = sum(ledger[place][field] for ledger in result["source_ledgers"].values())
            assert result["ledger"][place][field] == whole, field
    assert result["source_ledgers"]["code"][0]["failed"] == {"not_json": 1}
    steps = {name: [entry["stage"] for entry in ledger[2:-1]] for name, ledger in result["source_ledgers"].items()}
    assert steps["web"] == ["paragraphs", "language", "heuristics", "copies"]
    assert steps["books"] == ["near_duplicates", "copies"] and steps["code"] == ["strict", "copies"]
    assert steps["forum"] == ["copies"]


def test_the_copy_of_the_earliest_source_stays(millrace: Millrace, built: tuple[Path, Path, dict[str, Any]]) -> None:
    """web stands before books and forum, so its shorter copy stays: the order of the step across decides."""
    lake = str(built[1])
    web = {entry["stage"]: entry["dropped"] for entry in built[2]["source_ledgers"]["web"]}
    assert web["copies"] == {}
    for name in ("books/6", "forum/6"):
        [told] = millrace.json("explain", name, "--lake", lake)["documents"]
        assert told["fate"] == "copies:dropped:near_duplicate"
        assert "copies" in told["stages"]
    kept = millrace.json("explain", "http://web.example/6", "--lake", lake)["documents"][0]
    assert kept["fate"] == "kept"
    assert set(kept["stages"]) >= {"paragraphs", "language", "heuristics", "perplexity", "copies"}


def test_the_report_tells_each_source(
    millrace: Millrace, built: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    done = millrace.run("report", "corpus/seven", "--lake", str(built[1]), "--folder", str(tmp_path))
    assert done.returncode == 0, done.stderr
    [page_of_seven] = tmp_path.glob("*.html")
    text = page_of_seven.read_text()
    assert "Source by source" in text and "in all sources" in text and "in books" in text


def test_a_rule_of_one_source_writes_no_other_corpus_again(
    millrace: Millrace, built: tuple[Path, Path, dict[str, Any]]
) -> None:
    recipe, lake, first = built
    before = markers(lake)
    changed = millrace.json(
        "build", str(recipe), "--lake", str(lake), "--set", "sources.news.rules.word_count.at_least=1000"
    )
    after = markers(lake)
    same = [name for name in SOURCES if changed["artifacts"][f"{name}/corpus"] == first["artifacts"][f"{name}/corpus"]]
    assert same == [name for name in SOURCES if name != "news"]
    assert {stage for stage in after if after[stage] != before.get(stage)} <= {
        *("rules", "outcomes", "corpus", "tokenizer", "encode", "tokens")
    }
    assert len(after["rules"] - before["rules"]) == 1


def test_recipe_check_explains_what_is_there(millrace: Millrace, built: tuple[Path, Path, dict[str, Any]]) -> None:
    recipe, lake, _ = built
    told = millrace.json("recipe", "check", str(recipe), "--lake", str(lake), "--set", "strict.decimals=3")
    states = {task["name"]: task["state"] for task in told["tasks"]}
    assert states["web: language"] == states["web: heuristics"] == "there" and states["fit wikipedia"] == "there"
    assert states["code: heuristics + strict + copies_signatures"] == "to build"
    assert told["settings"] == {"strict.decimals": ["sources.code.strict.decimals"]}
    compared = millrace.json("recipe", "diff", str(recipe), str(recipe), "--set", "copies.threshold=0.7")
    assert [item["path"] for item in compared["differences"]] == ["across.copies.config.threshold"]
    assert "across/copies" in compared["made_anew"] and "web/language" not in compared["made_anew"]
