import csv
import json
import math
import sys
import unicodedata
from pathlib import Path

import kenlm
import pyarrow as pa
import pytest
import sentencepiece

from tasks.language_models import LanguageModelsConfig, fit_language_models
from tasks.perplexity import (
    PERPLEXITY_SCHEMA,
    LanguageScorer,
    PerplexityConfig,
    bucket_of,
    load_perplexity_models,
    read_fitted_percentiles,
    read_published_percentiles,
    score_perplexity,
)
from tasks.text.normalise import PUNCTUATION

CONFIG = PerplexityConfig()


@pytest.fixture(scope="module")
def train(shared_data: Path) -> list[str]:
    return (shared_data / "kenlm" / "trained_en" / "train.txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def held_out(shared_data: Path) -> list[str]:
    return (shared_data / "kenlm" / "trained_en" / "test.txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def files(train: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    documents = pa.table({"text": train, "language.label": ["en"] * len(train), "language.score": [0.9] * len(train)})
    config = LanguageModelsConfig(vocabulary_size=600, minimum_documents=100)
    return fit_language_models(iter([documents]), config, tmp_path_factory.mktemp("models"))


def cc_net_perplexity(text: str, tokenizer: Path, model: Path) -> float:
    """cc_net's SentencePiece and DocLM from their description, in double precision over KenLM's own tokens."""
    text = "".join(c for c in unicodedata.normalize("NFD", text.strip().lower()) if unicodedata.category(c) != "Mn")
    text = "".join("0" if character.isdecimal() else PUNCTUATION.get(character, character) for character in text)
    text = "".join(character for character in text if unicodedata.category(character) != "Cc")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer)).encode_as_pieces(text)
    scores = [score for score, _, _ in kenlm.Model(str(model)).full_scores(" ".join(pieces))]
    assert len(scores) == len(pieces) + 1
    return 10 ** (-math.fsum(scores) / len(scores))


def test_perplexity_is_that_of_cc_net(files: dict[str, Path], held_out: list[str]) -> None:
    texts = [*held_out, "Two\nlines, “quoted” — Ünïcödé 2019…", "日本語 \x07 😀", "<s> spelt out </s>"]
    batch = pa.table({"text": texts, "language.label": ["en"] * len(texts)})
    annotations = score_perplexity(batch, CONFIG, load_perplexity_models(CONFIG, files))
    assert annotations.schema == PERPLEXITY_SCHEMA
    percentiles = json.loads(files["cutoffs.json"].read_text())["languages"]["en"]["percentiles"]
    for text, row in zip(texts, annotations.to_pylist(), strict=True):
        expected = cc_net_perplexity(text, files["en.sp.model"], files["en.arpa.bin"])
        assert row["perplexity"] == pytest.approx(expected, rel=1e-5, abs=0.051)
        assert row["perplexity"] == round(row["perplexity"], 1)
        position = sum(row["perplexity"] >= percentiles[index] for index in (30, 60))
        assert row["bucket"] == ["head", "middle", "tail"][position]
    assert set(annotations["bucket"].to_pylist()) == {"head", "middle", "tail"}


def test_shuffled_words_are_more_perplexing(files: dict[str, Path], held_out: list[str]) -> None:
    scorer = LanguageScorer(files["en.sp.model"], files["en.arpa.bin"])
    straight = [scorer.perplexity(line) for line in held_out]
    backwards = [scorer.perplexity(line[::-1]) for line in held_out]
    assert sum(a < b for a, b in zip(straight, backwards, strict=True) if a and b) > 0.95 * len(held_out)


def test_no_model_and_no_text_have_no_perplexity(files: dict[str, Path]) -> None:
    batch = pa.table(
        {"text": ["Ein Satz.", "", " \n", "a sentence", "x"], "language.label": ["de", "en", "en", "en", None]}
    )
    annotations = score_perplexity(batch, CONFIG, load_perplexity_models(CONFIG, files)).to_pylist()
    assert [row["bucket"] == "all" for row in annotations] == [True, True, True, False, True]
    assert [row["perplexity"] is None for row in annotations] == [True, True, True, False, True]


def test_a_batch_does_not_change_its_rows(files: dict[str, Path], held_out: list[str]) -> None:
    models = load_perplexity_models(CONFIG, files)
    batch = pa.table({"text": held_out, "language.label": ["en"] * len(held_out)})
    together = score_perplexity(batch, CONFIG, models)
    alone = [score_perplexity(batch.slice(row, 1), CONFIG, models) for row in reversed(range(len(held_out)))]
    assert together.equals(pa.concat_tables(reversed(alone)))


@pytest.mark.parametrize("arpa", ["test.arpa", "test_nounk.arpa", "toy0.arpa", "toy1.arpa"])
def test_kenlm_gives_the_known_scores(arpa: str, shared_data: Path) -> None:
    model = kenlm.Model(str(shared_data / "kenlm" / arpa))
    lines = (shared_data / "kenlm" / f"golden_{arpa}.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines
    for golden in map(json.loads, lines):
        assert model.score(golden["text"]) == pytest.approx(golden["log10"], rel=1e-6)
        for (score, length, unknown), token in zip(model.full_scores(golden["text"]), golden["tokens"], strict=True):
            assert [pytest.approx(score, rel=1e-5), length, unknown] == token


def test_buckets_follow_the_cut_offs_of_cc_net(shared_data: Path) -> None:
    path = shared_data / "kenlm" / "ccnet_cutoff.csv"
    percentiles = read_published_percentiles(path)
    assert len(percentiles) == 48
    known = {
        "en": (340, 520), "de": (370, 590), "fr": (180, 330), "es": (180, 290), "it": (220, 360), "ru": (210, 310),
        "zh": (1460, 1950), "pl": (160, 260), "pt": (170, 270), "nl": (430, 650),
    }  # fmt: skip
    for language, (head, middle) in known.items():
        values = [(head - 0.1, "head"), (head, "middle"), (middle - 0.1, "middle"), (middle, "tail")]
        for perplexity, bucket in values:
            assert bucket_of(perplexity, percentiles[language], CONFIG) == bucket
    with path.open(newline="") as file:
        table = list(csv.DictReader(file))
    assert all([float(row[language]) for row in table] == percentiles[language] for language in percentiles)


def test_models_of_cc_net_are_taken_by_their_own_names(files: dict[str, Path], shared_data: Path) -> None:
    named = {name: path for name, path in files.items() if name != "cutoffs.json"}
    models = load_perplexity_models(CONFIG, {**named, "cutoff.csv": shared_data / "kenlm" / "ccnet_cutoff.csv"})
    batch = pa.table({"text": ["the people of the country"], "language.label": ["en"]})
    [row] = score_perplexity(batch, CONFIG, models).to_pylist()
    assert row["bucket"] == bucket_of(row["perplexity"], models.percentiles["en"], CONFIG)


def test_incomplete_models_are_refused(files: dict[str, Path]) -> None:
    half = {name: path for name, path in files.items() if name != "en.arpa.bin"}
    with pytest.raises(ValueError, match="the languages en have only one of"):
        load_perplexity_models(CONFIG, half)
    with pytest.raises(ValueError, match=r"come without percentiles: add cutoffs\.json"):
        load_perplexity_models(CONFIG, {name: path for name, path in files.items() if name != "cutoffs.json"})


def test_broken_files_are_named(files: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    for content in (b"", b"not a model\n", files["en.arpa.bin"].read_bytes()[:1000]):
        broken.write_bytes(content)
        with pytest.raises(ValueError, match="broken is not a SentencePiece model"):
            LanguageScorer(broken, files["en.arpa.bin"])
        with pytest.raises(ValueError, match="broken is not a KenLM model"):
            LanguageScorer(files["en.sp.model"], broken)
    for content in (b"{", b"[]", b'{"languages": {"en": {}}}', b'{"languages": {"en": {"percentiles": [1]}}}'):
        broken.write_bytes(content)
        with pytest.raises(ValueError, match="broken"):
            read_fitted_percentiles(broken)
    for content in (b"", b",en\n0,1\n", b",en\n0\n"):
        broken.write_bytes(content)
        with pytest.raises(ValueError, match="broken"):
            read_published_percentiles(broken)


def test_percentiles_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="head_percentile 70 is above middle_percentile 60"):
        PerplexityConfig(head_percentile=70)


class Spelling:
    """A tokenizer that gives the same pieces for every text."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = [piece.encode() for piece in pieces]

    def encode(self, text: str, out_type: type) -> list[bytes]:
        assert out_type is bytes
        return self.pieces


def test_pieces_that_spell_the_ends_of_a_sentence_are_unknown_words(files: dict[str, Path]) -> None:
    """A run of characters that the tokenizer does not know is one piece, and KenLM gives its marks 10 ** -99."""
    scorer = LanguageScorer(files["en.sp.model"], files["en.arpa.bin"])
    found = []
    for piece in ("<s>", "</s>", "<unk>", "\u2603"):
        scorer._tokenizer = Spelling("\u2581the", piece, "\u2581the")
        found.append(scorer.perplexity("x"))
    assert len(set(found)) == 1


def test_with_compat_they_are_the_marks_of_kenlm(files: dict[str, Path]) -> None:
    models = load_perplexity_models(CONFIG, files)
    scorer = models.scorer("en")
    model = kenlm.Model(str(files["en.arpa.bin"]))
    batch = pa.table({"text": ["x"], "language.label": ["en"]})
    for piece in ("<s>", "</s>"):
        pieces = ("\u2581the", piece, "\u2581the")
        scorer._tokenizer = Spelling(*pieces)  # type: ignore[union-attr]
        expected = round(10.0 ** (-model.score(" ".join(pieces)) / 4), 1)
        [found] = score_perplexity(batch, PerplexityConfig(compat="ccnet"), models).to_pylist()
        [text] = score_perplexity(batch, CONFIG, models).to_pylist()
        assert found["perplexity"] == expected != text["perplexity"]


def test_white_space_inside_a_piece_is_counted_as_cc_net_counts_it(files: dict[str, Path]) -> None:
    """Its length is that of str.split, which knows more white space than KenLM."""
    scorer = LanguageScorer(files["en.sp.model"], files["en.arpa.bin"])
    model = kenlm.Model(str(files["en.arpa.bin"]))
    spaces = [chr(code) for code in range(0x80, sys.maxunicode + 1) if chr(code).isspace()]
    assert len(spaces) > 15
    for space in [*spaces, "\u00e9", "\u200b", "\u2014", "\u3042", "\u1e00"]:
        line = f"\u2581the {space} a{space}b"
        scorer._tokenizer = Spelling(*line.split(" "))
        expected = round(10.0 ** (-model.score(line) / (len(line.split()) + 1)), 1)
        assert scorer.perplexity("x") == expected, hex(ord(space))
