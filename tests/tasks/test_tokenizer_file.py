"""Tokenizer files: what they say for other uses is ignored, and what cannot work is found before it is used."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.tokenizer import END_OF_TEXT, TOKENIZER_FILE, TokenizerConfig, encode_texts, fit_tokenizer, load_tokenizer
from tasks.tokenizer_file import _growth, tokenizer_faults
from tasks.tokens import EncodeConfig, encode, load_encoder

Change = Callable[[dict[str, Any]], None]
TEXT = "the mill by the river grinds 12 sacks of corn " * 50
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": END_OF_TEXT, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    "special_tokens": {END_OF_TEXT: {"id": END_OF_TEXT, "ids": [0], "tokens": [END_OF_TEXT]}},
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("plain")
    fit_tokenizer(iter([pa.table({"text": [TEXT]})]), TokenizerConfig(vocabulary_size=300), folder)
    found: dict[str, Any] = json.loads((folder / TOKENIZER_FILE).read_text())
    return found


def written(folder: Path, plain: dict[str, Any], change: Change) -> Path:
    content = copy.deepcopy(plain)
    change(content)
    path = folder / "changed.json"
    path.write_text(json.dumps(content))
    return path


def ids_of(path: Path, texts: list[str]) -> list[list[int]]:
    tokenizer = load_encoder(EncodeConfig(), {TOKENIZER_FILE: path})
    found: list[list[int]] = encode(pa.table({"text": texts}), EncodeConfig(), tokenizer)["ids"].to_pylist()
    return found


def not_special(content: dict[str, Any]) -> None:
    for token in content["added_tokens"]:
        token["special"] = False


def not_added(content: dict[str, Any]) -> None:
    content["added_tokens"] = []


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(
            truncation={"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
        ),
        lambda content: content.update(
            padding={
                **{"strategy": {"Fixed": 5000}, "direction": "Right", "pad_to_multiple_of": 64},
                **{"pad_id": 1, "pad_type_id": 0, "pad_token": "<|padding|>"},
            }
        ),
        lambda content: content.update(
            padding={
                **{"strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": None},
                **{"pad_id": 1, "pad_type_id": 0, "pad_token": "<|padding|>"},
            }
        ),
        lambda content: content.update(post_processor=TEMPLATE),
        not_special,
        not_added,
    ],
)
def test_what_a_file_says_for_other_uses_changes_no_token(
    plain: dict[str, Any], change: Change, tmp_path: Path
) -> None:
    texts = [TEXT, "short", f"{END_OF_TEXT}", f"a {END_OF_TEXT} b{END_OF_TEXT}"]
    expected = ids_of(written(tmp_path, plain, lambda content: None), texts)
    assert all(0 not in ids for ids in expected), "what a page spells is text"
    path = written(tmp_path, plain, change)
    assert ids_of(path, texts) == expected
    assert load_tokenizer(path).token_to_id(END_OF_TEXT) == 0
    assert tokenizer_faults(str(path)) == []


def move_last(content: dict[str, Any]) -> None:
    content["model"]["vocab"][list(content["model"]["vocab"])[-1]] = 70_000


def share_an_id(content: dict[str, Any]) -> None:
    *_, left, right = content["model"]["vocab"]
    content["model"]["vocab"][right] = content["model"]["vocab"][left]


def explode(content: dict[str, Any]) -> None:
    replace = {"type": "Replace", "pattern": {"String": "e"}, "content": "e" * 1000}
    content["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFC"}, replace, replace]}


def split_by(pattern: str) -> Change:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return lambda content: content.update(pre_tokenizer=split)


def without_an_end(content: dict[str, Any]) -> None:
    not_added(content)
    del content["model"]["vocab"][END_OF_TEXT]


def claim_an_id(content: dict[str, Any]) -> None:
    content["added_tokens"].append({**content["added_tokens"][0], "id": 9, "content": "<x>"})


def without_letters(content: dict[str, Any]) -> None:
    nothing = {"type": "Replace", "pattern": {"Regex": "[\\s\\S]"}, "content": ""}
    content["normalizer"] = {"type": "Sequence", "normalizers": [nothing, {"type": "Lowercase"}]}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (move_last, "none with the id"),
        (share_an_id, "an id of its own"),
        (claim_an_id, "'<x>' has the id 9"),
        (explode, "longer|times as long"),
        (split_by("(a+)+$"), "cannot encode these texts"),
        (split_by("(?:ab|ab)*c"), "cannot encode these texts"),
        (without_letters, "no tokens"),
        (without_an_end, "has no token"),
        (lambda content: content.pop("model"), "is not a tokenizer"),
    ],
)
def test_a_file_that_cannot_work_is_refused(
    plain: dict[str, Any], change: Change, expected: str, tmp_path: Path
) -> None:
    path = written(tmp_path, plain, change)
    [fault] = tokenizer_faults(str(path))
    assert str(path) in fault
    assert any(part in fault for part in expected.split("|")), fault


def end_with(token: str) -> Change:
    """Name the token that ends documents otherwise, as in LLaMA's and OPT's files."""

    def change(content: dict[str, Any]) -> None:
        vocabulary = content["model"]["vocab"]
        content["model"]["vocab"] = {(token if name == END_OF_TEXT else name): id for name, id in vocabulary.items()}
        content["added_tokens"][0]["content"] = token

    return change


@pytest.mark.parametrize("and_then", [lambda content: None, not_special, not_added])
def test_a_token_that_ends_documents_can_be_named(plain: dict[str, Any], and_then: Change, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        end_with("</s>")(content)
        and_then(content)

    path = written(tmp_path, plain, change)
    assert tokenizer_faults(str(path), "</s>") == []
    config = EncodeConfig(end_of_document="</s>")
    texts = ["</s>", "a </s> b", TEXT]
    encoder = load_encoder(config, {TOKENIZER_FILE: path})
    ids = encode(pa.table({"text": texts}), config, encoder)["ids"].to_pylist()
    assert all(0 not in one for one in ids), "what a page spells is text"
    assert load_tokenizer(path, "</s>").decode(ids[1]) == texts[1]
    # Without the name it is refused, and what the file has is told.
    [fault] = tokenizer_faults(str(path))
    assert "has no token <|endoftext|>" in fault
    if and_then is not not_special and and_then is not not_added:
        assert "its special tokens are </s>, <|padding|>: name the right one" in fault
    [fault] = tokenizer_faults(str(path), "<eos>")
    assert "has no token <eos>" in fault


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for content in (b"", b"[" * 100_000, b"\xff\xfe", b"[]", b"null", b'{"added_tokens": 3}'):
        path.write_bytes(content)
        [fault] = tokenizer_faults(str(path))
        assert "is not a tokenizer of the `tokenizers` library" in fault


def test_growth_is_the_product_of_replacements() -> None:
    def replace(content: str, **pattern: str) -> dict[str, Any]:
        return {"type": "Replace", "pattern": pattern, "content": content}

    def chain(*normalizers: dict[str, Any]) -> dict[str, Any]:
        return {"type": "Sequence", "normalizers": list(normalizers)}

    for normalizer, growth in (
        (None, 1),
        (chain({"type": "Prepend", "prepend": "\u2581"}, replace("\u2581", String=" ")), 1),
        (replace(" ", Regex="\\s+"), 1),
        (chain(replace("ee", String="e"), replace("ee", String="e")), 4),
        (chain(chain(*[replace("ee", String="e")] * 20), replace("x", String="yyyy")), 1 << 20),
        (replace("abc", Regex="x*"), 6),
        (replace("abcd", Regex="(?<x>["), 8),
    ):
        assert _growth(normalizer) == growth


def test_a_tokenizer_that_gives_up_is_an_error_of_its_own(plain: dict[str, Any], tmp_path: Path) -> None:
    tokenizer = load_tokenizer(written(tmp_path, plain, split_by("(a+)+$")))
    with pytest.raises(ValueError, match="use another tokenizer file"):
        encode_texts(tokenizer, ["a" * 50 + "b"])
