"""The ids of `Encoder` are those of the library `tokenizers`, whichever library encodes."""

from __future__ import annotations

import gzip
import io
import json
import logging
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sentencepiece
import tokenizers

from tasks.encoding import encoder as room
from tasks.encoding.encoder import COMPARED_EVERY, Encoder
from tasks.encoding.forms import open_files
from tasks.encoding.hard_strings import HARD_STRINGS
from tasks.tokenizer import END_OF_TEXT, TOKENIZER_FILE, TokenizerConfig, encode_texts, fit_tokenizer

# Words with edges that merges and splits can get wrong, and special tokens spelled out.
_WORDS = (
    "the",
    "It's",
    "WE'LL",
    "naïve",
    "水車",
    "дом",
    "  ",
    "\n\n",
    "\t",
    " " * 9,
    "1234",
    "…",
    "🙂",
    END_OF_TEXT,
    "</s>",
)


def random_texts(count: int, seed: int = 1) -> list[str]:
    rng = random.Random(seed)

    def character() -> str:
        low, high = rng.choice([(0, 128), (32, 127), (0x80, 0x600), (0x300, 0x370), (0x900, 0x3000), (0x3000, 0xD800)])
        return chr(rng.randrange(0xE000, 0x110000) if rng.random() < 0.05 else rng.randrange(low, high))

    def piece() -> str:
        return rng.choice(_WORDS) if rng.random() < 0.4 else "".join(character() for _ in range(rng.randrange(1, 9)))

    return ["".join(piece() for _ in range(rng.randrange(9))) for _ in range(count)]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fitted")
    texts = pa.table({"text": [*HARD_STRINGS, *random_texts(300, 7)]})
    return fit_tokenizer(iter([texts]), TokenizerConfig(vocabulary_size=1500), folder)["tokenizer.json"]


@pytest.fixture(scope="module")
def llama_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BPE of SentencePiece with bytes, in the form of the published LLaMA tokenizer.json."""
    model = io.BytesIO()
    sentences = [line for text in HARD_STRINGS * 3 for line in text.split("\n") if line.strip()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        model_type="bpe",
        vocab_size=600,
        byte_fallback=True,
        normalization_rule_name="identity",
        character_coverage=0.98,
        num_threads=1,
        minloglevel=2,
    )
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    vocabulary = {trained.id_to_piece(number): number for number in range(trained.get_piece_size())}
    merges = [
        (piece[:at], piece[at:])
        for piece in list(vocabulary)[259:]
        for at in range(1, len(piece))
        if {piece[:at], piece[at:]} <= set(vocabulary)
    ]
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    made.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
    )
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    path = tmp_path_factory.mktemp("llama") / "tokenizer.json"
    made.save(str(path))
    return path


def opened(path: Path, end: str = END_OF_TEXT, end_of_text: bool = False) -> tuple[Encoder, Any]:
    found = open_files({TOKENIZER_FILE: path}, end, special_are_text=not end_of_text)
    return Encoder(found), found.tokenizer


def require_same(encoder: Encoder, tokenizer: Any, texts: list[str]) -> None:
    for text, ours, theirs in zip(texts, encoder.encode(pa.array(texts)), encode_texts(tokenizer, texts), strict=True):
        assert ours.dtype == np.int32
        assert ours.tolist() == theirs, ascii(text)
    assert encoder.fallbacks == 0


@pytest.mark.parametrize("end_of_text", [False, True])
def test_ids_are_those_of_tokenizers(fitted: Path, llama_like: Path, end_of_text: bool) -> None:
    texts = [*HARD_STRINGS, *random_texts(3000), "x" * 30_000, " " * 30_000, "水" * 9_000]
    for path, end in ((fitted, END_OF_TEXT), (llama_like, "</s>")):
        encoder, tokenizer = opened(path, end, end_of_text)
        assert encoder.is_fast
        require_same(encoder, tokenizer, texts)
        [ids] = encoder.encode(pa.array([f"a{end}\u0338b"]))
        assert (tokenizer.token_to_id(end) in ids) == end_of_text


def test_ids_of_published_tokenizers(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "tokenizers"
    with gzip.open(folder / "golden.jsonl.gz", "rt", encoding="utf-8") as stream:
        texts = [json.loads(line)["text"] for line in stream]
    gpt2 = tokenizers.Tokenizer(
        tokenizers.models.BPE.from_file(str(folder / "gpt2-vocab.json"), str(folder / "gpt2-merges.txt"))
    )
    gpt2.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    gpt2.save(str(tmp_path / "gpt2.json"))
    for path in (folder / "neox-20B_tokenizer.json", tmp_path / "gpt2.json"):
        for end_of_text in (False, True):
            encoder, tokenizer = opened(path, end_of_text=end_of_text)
            assert encoder.is_fast
            require_same(encoder, tokenizer, [*texts, *HARD_STRINGS, *random_texts(1000)])


@pytest.mark.heavy
def test_every_character_is_split_alike(shared_data: Path) -> None:
    """The two libraries have tables of letters, digits and spaces of their own."""
    encoder, tokenizer = opened(shared_data / "tokenizers" / "neox-20B_tokenizer.json")
    characters = [chr(number) for number in range(0x110000) if not 0xD800 <= number < 0xE000]
    for first in range(0, len(characters), 4000):
        texts = [f"a{one}a 1{one}1 {one}!{one}!" for one in characters[first : first + 4000]]
        require_same(encoder, tokenizer, texts)


def changed(path: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    content = json.loads(path.read_text())
    change(content)
    target = folder / "changed.json"
    target.write_text(json.dumps(content))
    return target


def added(content: str, **flags: bool) -> Callable[[dict[str, Any]], object]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    return lambda file: file["added_tokens"].append({"id": 1490, "content": content, **plain, **flags})


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.update(normalizer={"type": "NFKC"}),
        lambda file: file.update(normalizer={"type": "Lowercase"}),
        lambda file: file["pre_tokenizer"].update(add_prefix_space=True),
        lambda file: file["pre_tokenizer"].update(use_regex=False),
        lambda file: file.update(pre_tokenizer={"type": "Whitespace"}),
        lambda file: file["model"].update(ignore_merges=True),
        lambda file: file["model"].update(unk_token=END_OF_TEXT),
        lambda file: file["model"].update(end_of_word_suffix="</w>"),
        added("zz", lstrip=True),
        added("zz", rstrip=True),
        added("zz", single_word=True),
        added("zz", normalized=False),
        added("e\u0301"),
        added("<|"),
    ],
)
def test_other_files_are_encoded_by_tokenizers(
    fitted: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    encoder, tokenizer = opened(changed(fitted, tmp_path, change))
    assert not encoder.is_fast
    require_same(encoder, tokenizer, [*HARD_STRINGS, *random_texts(50)])


def test_ordinary_added_tokens_are_found_alike(fitted: Path, tmp_path: Path) -> None:
    encoder, tokenizer = opened(changed(fitted, tmp_path, added("   ")))
    assert encoder.is_fast
    require_same(encoder, tokenizer, [*HARD_STRINGS, *random_texts(500), "a   b      \u00a0   c"])


class Wrong:
    """A gigatoken whose ids are wrong for texts with a certain character."""

    def __init__(self, content: str) -> None:
        self._real = Wrong.load(content)

    load = staticmethod(room.gigatoken_rs.load_hf_json)

    def encode(self, data: bytes) -> Any:
        ids = self._real.encode(data)
        return ids[:-1] if "ъ".encode() in data else ids


def test_a_difference_in_a_batch_is_told_and_costs_no_ids(
    fitted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(room.gigatoken_rs, "load_hf_json", Wrong)
    texts = [f"text {number}" for number in range(3 * COMPARED_EVERY)]
    texts[2 * COMPARED_EVERY] = "ъ"
    # The hard strings have that character.
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "millrace.tokens"):
        encoder, tokenizer = opened(fitted)
        assert not encoder.is_fast and "differently" in caplog.text
        caplog.clear()
        patch.setattr(room, "HARD_STRINGS", ("plain",))
        encoder, tokenizer = opened(fitted)
        ids = encoder.encode(pa.array(texts))
    assert encoder.is_fast and "differently" in caplog.text
    assert encoder.fallbacks == len(texts)
    assert [one.tolist() for one in ids] == encode_texts(tokenizer, texts)


class Panic(BaseException):
    """As what Rust's panics become in Python."""

    __module__ = "pyo3_runtime"


def test_a_panic_costs_no_ids(fitted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    class Panicking(Wrong):
        def encode(self, data: bytes) -> Any:
            if b"panic" in data:
                raise Panic("index out of bounds")
            return self._real.encode(data)

    monkeypatch.setattr(room.gigatoken_rs, "load_hf_json", Panicking)
    encoder, tokenizer = opened(fitted)
    texts = ["calm", "panic"]
    with caplog.at_level(logging.WARNING, "millrace.tokens"):
        ids = encoder.encode(pa.array(texts))
    assert "index out of bounds" in caplog.text and encoder.fallbacks == 2
    assert [one.tolist() for one in ids] == encode_texts(tokenizer, texts)
    # With the name that Rust's panics have, but another origin, it is not for us to catch.
    monkeypatch.setattr(Panic, "__module__", "elsewhere")
    with pytest.raises(Panic):
        encoder.encode(pa.array(texts))


def test_bytes_that_are_no_text_reach_no_library(fitted: Path) -> None:
    encoder, _ = opened(fitted)
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], "<i4")), pa.py_buffer(b"a\xff")]
    )
    with pytest.raises(ValueError, match="UTF8"):
        encoder.encode(broken)


def test_a_file_that_it_cannot_load_is_told(
    fitted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(content: str) -> Any:
        raise ValueError("no")

    monkeypatch.setattr(room.gigatoken_rs, "load_hf_json", refuse)
    encoder, _ = opened(fitted)
    assert not encoder.is_fast and "no" in caplog.text


def test_its_cache_is_renewed_by_the_bytes_of_text(fitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    load = room.gigatoken_rs.load_hf_json
    monkeypatch.setattr(room, "CACHED_BYTES", 1000)
    monkeypatch.setattr(room.gigatoken_rs, "load_hf_json", lambda content: loads.append(1) or load(content))
    encoder, tokenizer = opened(fitted)
    loads.clear()
    require_same(encoder, tokenizer, ["дом " * 50] * 40)  # of 350 bytes each, and one compared
    assert len(loads) == 41 // 2


_GROWTH = """
import os, random, resource, sys
import pyarrow as pa
from pathlib import Path
from tasks.encoding import encoder as room
from tasks.encoding.forms import open_files
room.CACHED_BYTES = 2 << 20
encoder = room.Encoder(open_files({"tokenizer.json": Path(sys.argv[1])}, "<|endoftext|>"))
rng = random.Random(1)
letters = str.maketrans("0123456789", "qrstuvwxyz")  # of which a word is one piece
def text():
    return " ".join(rng.randbytes(5).hex().translate(letters) for _ in range(90_000))
encoder.encode(pa.array([text()]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
threads = len(os.listdir("/proc/self/task"))
for _ in range(20):
    encoder.encode(pa.array([text()]))
assert encoder.is_fast
assert len(os.listdir("/proc/self/task")) == threads
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def test_its_memory_does_not_grow_with_the_text(fitted: Path) -> None:
    """20 MB of words that never repeat: without renewal it grows by 200 MiB. It starts no threads."""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", _GROWTH, str(fitted)], cwd=root, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 128
