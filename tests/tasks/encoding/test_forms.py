"""Tokenizers in every form that a recipe may name, judged by the ids that their own libraries give."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sentencepiece
import tokenizers

from flows.build import make_corpus
from flows.recipe import load_recipe, parse_recipe
from infra.engine.pool import LocalPool
from infra.outcomes import Kept, read_all
from infra.store.lake import Lake
from infra.store.tokens import TokenFile
from tasks.encoding.encoder import Encoder
from tasks.encoding.forms import files_of_tokenizer, open_files
from tasks.recipe.resolve import resolve
from tasks.sentencepiece_tokenizer import SentencePieceConfig, fit_sentencepiece
from tasks.settings import RecipeError
from tasks.sources.wet import WetConfig, read_wet
from tasks.token_artifact import token_files
from tasks.tokenizer import SENTENCEPIECE_FILE, TOKENIZER_FILE, TokenizerConfig, fit_tokenizer
from tasks.tracing.byte_spans import ByteSpans
from tests.tasks.encoding.test_encoder import HARD_STRINGS, random_texts
from tests.tasks.report.conftest import DirectRunner

FORMS = {
    "neox_20b": ("neox-20B_tokenizer.json", "<|endoftext|>"),
    "gpt2": ("gpt2", "<|endoftext|>"),
    "sp_test_model": ("sp_test_model.model", "</s>"),
    "sp_test_ja_model": ("sp_test_ja_model.model", "</s>"),
}
LINES = [
    "The wheel turns 1234 times.",
    "  indented\tcode = 5",
    "été, 水車 и мельница",
    "a\n\nb",
    "def f(x):",
    "aaaa  bbbb",
]


def golden(shared_data: Path, name: str) -> list[tuple[str, list[int]]]:
    with gzip.open(shared_data / "tokenizers" / "golden.jsonl.gz", "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    found = [(row["text"], row[name]) for row in rows if name in row]
    # Its ids take a special token that is spelled in a text for one. In a corpus it is text.
    return [(text, ids) for text, ids in found if name != "neox_20b" or "<|" not in text]


def placed(shared_data: Path, folder: Path, name: str) -> Path:
    """The tokenizer as a user has it: GPT-2's two files have their usual names."""
    file, _ = FORMS[name]
    if name != "gpt2":
        return shared_data / "tokenizers" / file
    folder.mkdir()
    for own in ("vocab.json", "merges.txt"):
        shutil.copyfile(shared_data / "tokenizers" / f"gpt2-{own}", folder / own)
    return folder


def built(pool: LocalPool, folder: Path, texts: list[str], tokenizer: dict[str, Any]) -> tuple[Lake, list[list[int]]]:
    """The ids of the documents of a corpus, without what ends them."""
    (folder / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    source = {"read": {"jsonl": {"verbatim": True}}, "inputs": [str(folder / "in.jsonl")]}
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps({"name": "x", "sources": {"s": source}, "tokenizer": tokenizer}))
    lake = Lake.open(str(folder / "lake"))
    record = make_corpus(DirectRunner(lake, pool, lambda label, done, total: None), load_recipe(str(recipe)))
    tokens = record.manifest(lake, "tokens")
    [pair] = token_files(tokens)["s"]
    opened = TokenFile(Path(lake.uri, pair.bin.path), Path(lake.uri, pair.idx.path))
    return lake, [opened.document(number).tolist()[:-1] for number in range(opened.documents)]


@pytest.mark.parametrize("name", FORMS)
def test_golden_ids_through_a_recipe(pool: LocalPool, shared_data: Path, tmp_path: Path, name: str) -> None:
    expected = [(text, ids) for text, ids in golden(shared_data, name) if text]
    assert len(expected) > 440
    tokenizer = {"file": str(placed(shared_data, tmp_path / "form", name)), "end_of_document": FORMS[name][1]}
    _, ids = built(pool, tmp_path, [text for text, _ in expected], tokenizer)
    assert ids == [own for _, own in expected]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = pa.table({"text": [*LINES * 20, *HARD_STRINGS[:20]]})
    config = SentencePieceConfig(vocabulary_size=900)
    return fit_sentencepiece(iter([texts]), config, tmp_path_factory.mktemp("llama"))[SENTENCEPIECE_FILE]


def test_a_fitted_sentencepiece_tokenizer_is_of_llamas_kind(llama: Path, tmp_path: Path) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(llama))
    assert processor.get_piece_size() == 900
    assert sum(processor.is_byte(number) for number in range(900)) == 256
    assert [processor.id_to_piece(number) for number in range(3)] == ["<unk>", "<s>", "</s>"]
    assert not [piece for piece in map(processor.id_to_piece, range(259, 900)) if len(piece) > 1 and _has_digit(piece)]
    assert processor.encode("12 345", out_type=str) == ["▁", "1", "2", "▁", "3", "4", "5"]
    texts = pa.table({"text": [*LINES * 20, *HARD_STRINGS[:20]]})
    again = fit_sentencepiece(iter([texts]), SentencePieceConfig(vocabulary_size=900), tmp_path)[SENTENCEPIECE_FILE]
    assert again.read_bytes() == llama.read_bytes()


def _has_digit(piece: str) -> bool:
    return any(character.isdigit() for character in piece)


def odd_texts() -> Iterator[str]:
    rng = random.Random(1)
    letters = "  \t\n\r\u3000\u00a0▁aAbé１中文ﬁ①\u0301\u200d\ufeff\x00\x1f😀ｶﾞ019<s></s>"
    yield from ("".join(rng.choice(letters) for _ in range(rng.randrange(30))) for _ in range(500))


def test_its_ids_are_those_of_sentencepiece_and_round_trips_are_exact(llama: Path) -> None:
    encoder = Encoder(open_files({SENTENCEPIECE_FILE: llama}, "</s>"))
    assert encoder.is_fast
    texts = ["", *HARD_STRINGS, *random_texts(200, 11), *odd_texts()]
    processor = sentencepiece.SentencePieceProcessor(model_file=str(llama))
    ids = [one.tolist() for one in encoder.encode(pa.array(texts))]
    assert ids == [processor.encode(text) for text in texts] and not encoder.fallbacks
    decoder = open_files({SENTENCEPIECE_FILE: llama}, "</s>").tokenizer
    for text, own in zip(texts, ids, strict=True):
        # U+2581 is what it writes for a space.
        assert decoder.decode(own) == processor.decode(own) == text.replace("▁", " ")


def test_ids_of_a_thousand_pages(llama: Path, shared_data: Path) -> None:
    pages: list[str] = []
    for path in sorted((shared_data / "ccnet" / "wet").glob("*.gz")):
        with path.open("rb") as stream:
            outcomes = read_all(read_wet(stream, path.name, WetConfig()))
            pages += [outcome.document.text for outcome in outcomes if isinstance(outcome, Kept)]
    assert len(pages) > 1000
    encoder = Encoder(open_files({SENTENCEPIECE_FILE: llama}, "</s>"))
    processor = sentencepiece.SentencePieceProcessor(model_file=str(llama))
    decoder = open_files({SENTENCEPIECE_FILE: llama}, "</s>").tokenizer
    for page, ids in zip(pages[:1000], encoder.encode(pa.array(pages[:1000])), strict=True):
        assert ids.tolist() == processor.encode(page)
        assert decoder.decode(ids.tolist()) == page.replace("▁", " ")


def test_bytes_of_tokens_are_known(llama: Path) -> None:
    tokenizer = open_files({SENTENCEPIECE_FILE: llama}, "</s>").tokenizer
    spans = ByteSpans(tokenizer)
    text = " The mill 水車 turned 12\ttimes\u200d.\n"
    ids = np.array([*tokenizer.encode(text, add_special_tokens=False).ids, tokenizer.token_to_id("</s>")])
    found = b""
    for number in range(len(ids)):
        span = spans.span(ids, number, number + 1)
        assert span is not None and span[0] == len(found)
        found += text.encode()[slice(*span)]
    assert found == text.encode()


def test_a_recipe_fits_one(pool: LocalPool, tmp_path: Path) -> None:
    tokenizer = {"fit": "sentencepiece", "vocabulary_size": 400}
    lake, ids = built(pool, tmp_path, LINES * 5, tokenizer)
    parts = {part.name: Path(lake.uri, part.path) for part in _tokens_of(lake)}
    processor = sentencepiece.SentencePieceProcessor(model_file=str(parts[SENTENCEPIECE_FILE]))
    assert ids == [processor.encode(line) for line in LINES * 5]
    assert tokenizers.Tokenizer.from_file(str(parts[TOKENIZER_FILE])).decode(ids[2]) == LINES[2]


def _tokens_of(lake: Lake) -> Any:
    from tasks.builds import find_build

    return find_build(lake).manifest(lake, "tokens").parts


def test_a_vocabulary_that_the_documents_do_not_allow_is_told(tmp_path: Path) -> None:
    texts = pa.table({"text": ["few words"]})
    with pytest.raises(ValueError, match="vocabulary_size"):
        fit_sentencepiece(iter([texts]), SentencePieceConfig(vocabulary_size=8000), tmp_path)


def test_runs_of_spaces_are_tokens_as_in_the_20b_tokenizer(shared_data: Path, tmp_path: Path) -> None:
    published = json.loads((shared_data / "tokenizers" / "neox-20B_tokenizer.json").read_text())
    texts = pa.table({"text": [*LINES * 20, " " * 30 + "x"]})
    path = fit_tokenizer(iter([texts]), TokenizerConfig(vocabulary_size=400, longest_run=24), tmp_path)[TOKENIZER_FILE]
    made = json.loads(path.read_text())
    for name in ("normalizer", "pre_tokenizer"):
        assert made[name].items() >= published[name].items()
    flags = [{**token, "id": 0} for token in published["added_tokens"]]
    assert [{**token, "id": 0} for token in made["added_tokens"]] == flags
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    assert tokenizer.get_vocab_size(with_added_tokens=True) <= 400
    runs = [token["id"] for token in made["added_tokens"][2:]]
    assert runs == [*range(runs[0], runs[0] + 23)] and runs[-1] == tokenizer.get_vocab_size() - 1
    encoder = Encoder(open_files({TOKENIZER_FILE: path}, "<|endoftext|>"))
    texts_of_code = ["\n".join(" " * depth + "x" for depth in range(40)), *HARD_STRINGS]
    ours = [ids.tolist() for ids in encoder.encode(pa.array(texts_of_code))]
    tokenizer.encode_special_tokens = True
    assert encoder.is_fast and ours == [tokenizer.encode(text).ids for text in texts_of_code]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"file": "no-such"}, "there is no file"),
        ({"file": "empty"}, "has none of"),
        ({"file": "broken.model", "end_of_document": "</s>"}, "not a SentencePiece model"),
        ({"file": "char.model", "end_of_document": "</s>"}, "char model"),
        ({"file": "good.model"}, "has no token <|endoftext|>"),
    ],
)
def test_what_cannot_be_used_is_refused(
    section: dict[str, Any], message: str, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.model").write_bytes(llama.read_bytes()[:5000])
    shutil.copyfile(llama, tmp_path / "good.model")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_prefix=str(tmp_path / "char"), model_type="char", minloglevel=2
    )
    with pytest.raises(RecipeError, match=message.replace("|", r"\|")):
        (tmp_path / "r.yaml").write_text(
            json.dumps({"name": "x", "sources": {"s": {"read": "jsonl", "inputs": ["x.jsonl"]}}, "tokenizer": section})
        )
        load_recipe("r.yaml")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"fit": "sentencepiece", "longest_run": 24}, "longest_run is for"),
        ({"fit": "sentencepiece", "end_of_document": "x"}, "ends documents with </s>"),
        ({"fit": "sentencepiece", "vocabulary_size": 300}, "320"),
        ({"end_of_document": "</s>"}, "ends documents with <|endoftext|>"),
    ],
)
def test_sections_that_do_not_fit(section: dict[str, Any], message: str) -> None:
    with pytest.raises((RecipeError, ValueError), match=message.replace("|", r"\|")):
        resolve(parse_recipe({"name": "x", "sources": {"s": {"read": "jsonl"}}, "tokenizer": section}, "x"))


def test_a_folder_may_have_any_form(llama: Path, tmp_path: Path) -> None:
    shutil.copyfile(llama, tmp_path / SENTENCEPIECE_FILE)
    assert files_of_tokenizer(tmp_path) == {SENTENCEPIECE_FILE: tmp_path / SENTENCEPIECE_FILE}
