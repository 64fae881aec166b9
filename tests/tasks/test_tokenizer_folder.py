"""Tokenizers of published folders without tokenizer.json, against those of transformers and SentencePiece."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest
import sentencepiece
from transformers import AutoTokenizer

from tasks.tokenizer_folder import open_folder_tokenizer, read_vocabulary, vocabulary_files
from tests.tasks.folders import opt_folder, small_llama_model

PROMPTS = ["The mill", " by  the\n\nriver's bank", "", "a</s>b <pad>", "Ünïcode 中文 \U0001f600\u200d"]


def golden(shared_data: Path, name: str) -> list[tuple[str, list[int]]]:
    with gzip.open(shared_data / "tokenizers" / "golden.jsonl.gz", "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    return [(row["text"], row[name]) for row in rows if name in row]


@pytest.mark.parametrize("begins", [True, False])
def test_opts_files_give_what_transformers_gives(begins: bool, shared_data: Path, tmp_path: Path) -> None:
    folder = opt_folder(tmp_path, shared_data, add_bos_token=begins)
    theirs, ours = AutoTokenizer.from_pretrained(folder), open_folder_tokenizer(folder)
    assert ours is not None and ours.size == len(theirs) == 50_260
    for text in [*PROMPTS, *(text for text, _ in golden(shared_data, "gpt2"))]:
        ids = ours.encode(text)
        assert ids == theirs.encode(text)
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
        assert (ids[:1] == [2]) >= begins, "</s> is first where the configuration says so"


def test_gpt2s_files_give_its_golden_ids(shared_data: Path, tmp_path: Path) -> None:
    for theirs, ours in (("gpt2-vocab.json", "vocab.json"), ("gpt2-merges.txt", "merges.txt")):
        shutil.copyfile(shared_data / "tokenizers" / theirs, tmp_path / ours)
    tokenizer = read_vocabulary(vocabulary_files(tmp_path))
    assert tokenizer.encode("<|endoftext|>").ids == [50_256]
    tokenizer.encode_special_tokens = True
    cases = golden(shared_data, "gpt2")
    assert len(cases) > 400
    assert [tokenizer.encode(text).ids for text, _ in cases] == [ids for _, ids in cases]


def test_added_tokens_keep_their_ids(shared_data: Path, tmp_path: Path) -> None:
    folder = opt_folder(tmp_path, shared_data)
    added = {"<second>": 50_261, "<first>": 50_260}
    (folder / "added_tokens.json").write_text(json.dumps(added))
    tokenizer = read_vocabulary(vocabulary_files(folder))
    assert {token: tokenizer.token_to_id(token) for token in added} == added
    assert tokenizer.encode("a<second>").ids[-1] == 50_261
    (folder / "added_tokens.json").write_text(json.dumps({"<first>": 50_300}))
    with pytest.raises(ValueError, match="<first> has the id 50300 in one file, but the vocabulary makes it 50260"):
        read_vocabulary(vocabulary_files(folder))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("vocab.json", "[]", "no vocabulary of GPT-2's kind"),
        ("vocab.json", '{"a": -1}', "no vocabulary of GPT-2's kind"),
        ("merges.txt", "#version: 0.2\nq\n", "no vocabulary of GPT-2's kind"),
        ("merges.txt", "#version: 0.2\nzz zzzz\n", "no vocabulary of GPT-2's kind"),
        ("tokenizer_config.json", "[" * 100_000, "is not JSON"),
        ("special_tokens_map.json", "3", "no JSON object"),
        ("added_tokens.json", '{"<x>": []}', "special tokens cannot be used"),
        ("tokenizer_config.json", '{"added_tokens_decoder": [1]}', "special tokens cannot be used"),
        ("tokenizer.json", "[]", "is not a tokenizer of the `tokenizers` library"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    name: str, content: str, said: str, shared_data: Path, tmp_path: Path
) -> None:
    folder = opt_folder(tmp_path, shared_data)
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=said) as caught:
        open_folder_tokenizer(folder)
    assert str(folder) in str(caught.value)


def test_what_tokenizer_json_says_for_other_uses_cuts_no_prompt(shared_data: Path, tmp_path: Path) -> None:
    tokenizer = read_vocabulary(vocabulary_files(opt_folder(tmp_path, shared_data)))
    text = "The mill by the river grinds corn. " * 20
    whole = tokenizer.encode(text).ids
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=500)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = open_folder_tokenizer(tmp_path)
    assert found is not None and found.encode(text) == whole


@pytest.fixture(scope="module")
def llama_model() -> bytes:
    return small_llama_model()


def test_a_sentencepiece_model_encodes_prompts_as_llama(llama_model: bytes, tmp_path: Path) -> None:
    """LLaMA's own code: the first special token, then the ids of the library (llama, `tokenizer.py`)."""
    path = tmp_path / "tokenizer.model"
    path.write_bytes(llama_model)
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(path))
    ours = open_folder_tokenizer(tmp_path)
    assert ours is not None and ours.size == 330
    for text in PROMPTS:
        assert ours.encode(text) == [theirs.bos_id(), *theirs.encode(text)]
        assert ours.decode(ours.encode(text)) == text
    (tmp_path / "tokenizer_config.json").write_text('{"add_bos_token": false}')
    plain = open_folder_tokenizer(tmp_path)
    assert plain is not None and plain.encode("The mill") == theirs.encode("The mill")


def test_a_broken_sentencepiece_model_is_an_error(llama_model: bytes, tmp_path: Path) -> None:
    for content in (b"", b"not a model", llama_model[: len(llama_model) // 2]):
        (tmp_path / "tokenizer.model").write_bytes(content)
        with pytest.raises(ValueError, match=r"tokenizer\.model"):
            open_folder_tokenizer(tmp_path)


def test_a_folder_without_a_tokenizer_has_none(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{}")
    assert open_folder_tokenizer(tmp_path) is None
