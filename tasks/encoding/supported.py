"""Tokenizer files that gigatoken encodes like `tokenizers`: two structures, each compared part by part.

- Byte-level BPE, as of GPT-2, GPT-NeoX and Pythia: GPT-2's pattern, NFC or no normaliser;
- BPE of SentencePiece with bytes for unknown characters, as of LLaMA: spaces become ``▁``, with one in front.
"""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tokenizers

_MODEL = {"type": "BPE", "dropout": None, "continuing_subword_prefix": None, "end_of_word_suffix": None}
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_SPACES = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ],
}
# The bytes that UTF-8 never has, each written as itself in a byte-level vocabulary.
_NEVER = {chr(byte) for byte in (0xC0, 0xC1, *range(0xF5, 0x100))}


@dataclass(frozen=True)
class Supported:
    """A tokenizer as gigatoken loads it.

    `content` is the tokenizer file without special tokens and without NFC. `nfc`: texts must be normalised first.
    `apart` are the special tokens that `tokenizers` finds in a text: it must encode the texts that contain one.
    """

    content: dict[str, Any]
    nfc: bool
    apart: tuple[str, ...]


def supported(content: Mapping[str, Any], special_are_text: bool) -> Supported | None:
    """What gigatoken needs for a tokenizer file, or None if its structure is not known to be encoded alike.

    `special_are_text`: special tokens spelled in a text are text.
    """
    special = [token["content"] for token in content["added_tokens"] if token["special"]]
    others = [token for token in content["added_tokens"] if not token["special"]]
    if not _same(_MODEL, content["model"]) or content["model"]["ignore_merges"] or not all(special):
        return None
    if content["model"]["byte_fallback"]:
        # The normaliser puts ▁ in front of each piece between added tokens.
        fits = _is_sentencepiece(content) and not others
    else:
        fits = _is_byte_level(content) and all(map(_is_plain, others)) and _are_disjoint(special, others)
    if not fits:
        return None
    nfc = content["normalizer"] == {"type": "NFC"}
    left = copy.copy(dict(content)) | {"added_tokens": others, "truncation": None, "padding": None}
    return Supported(left | ({"normalizer": None} if nfc else {}), nfc, () if special_are_text else tuple(special))


def _is_byte_level(content: Mapping[str, Any]) -> bool:
    model = content["model"]
    return (
        content["normalizer"] in (None, {"type": "NFC"})
        and _same(_BYTE_LEVEL, content["pre_tokenizer"])
        and model["unk_token"] is None
        # `tokenizers` leaves out bytes without a token.
        and all(byte in model["vocab"] for byte in tokenizers.pre_tokenizers.ByteLevel.alphabet() if byte not in _NEVER)
        and _are_unique(model["merges"])
    )


def _is_sentencepiece(content: Mapping[str, Any]) -> bool:
    model = content["model"]
    return (
        content["normalizer"] == _SPACES
        and content["pre_tokenizer"] is None
        and all(f"<0x{byte:02X}>" in model["vocab"] for byte in range(256))
        and "▁" in model["vocab"]
        and _are_unique(model["merges"])
    )


def _same(wanted: Mapping[str, Any], found: Mapping[str, Any] | None) -> bool:
    # Older files have "" for "none".
    return found is not None and all((found.get(name) or value) == value for name, value in wanted.items())


def _are_unique(merges: list[list[str]]) -> bool:
    return len({tuple(pair) for pair in merges}) == len(merges)


def _is_plain(token: Mapping[str, Any]) -> bool:
    """Whether an ordinary added token is found in the normalised text, wherever it stands."""
    content: str = token["content"]
    return (
        token["normalized"]
        and not (token["single_word"] or token["lstrip"] or token["rstrip"])
        and content != ""
        and unicodedata.is_normalized("NFC", content)
    )


def _are_disjoint(special: list[str], others: list[Mapping[str, Any]]) -> bool:
    """Whether no special token can overlap an ordinary one: `tokenizers` seeks the special ones first."""
    return not set("".join(special)) & set("".join(token["content"] for token in others))
