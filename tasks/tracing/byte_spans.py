"""Maps spans of a document's tokens to byte ranges of its text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.encoding.sentencepiece_model import SPACE, keeps_text

_BYTE = re.compile("<0x[0-9A-F]{2}>")


class ByteSpans:
    """Converts token spans to UTF-8 byte ranges, for tokenizers whose tokens have all bytes of the text.

    These are byte-level ones (GPT-2's, GPT-NeoX's, ours), and BPEs of SentencePiece with bytes for unknown characters
    and no normalisation (LLaMA's). A token consists of whole bytes, but not always of whole characters. The text is the
    encoded one: after the edits of the corpus, normalised by the tokenizer (NFC for GPT-NeoX's; for LLaMA's, spaces in
    place of U+2581).
    """

    def __init__(self, tokenizer: Any) -> None:
        content = json.loads(tokenizer.to_str())
        self._sizes: NDArray[np.int64] | None = None
        self._prefix = 0
        if content["decoder"] is not None and content["decoder"]["type"] == "ByteLevel":
            # Each character of a token represents one byte (GPT-2, `encoder.py`, `bytes_to_unicode`).
            self._sizes = _table(tokenizer, len)
        elif content.get("model", {}).get("byte_fallback") and keeps_text(content["normalizer"]):
            self._sizes = _table(tokenizer, _size)
            # The space in front of the text.
            self._prefix = int("Prepend" in json.dumps(content["normalizer"]))

    def span(self, document: NDArray[np.integer], first: int, past: int) -> tuple[int, int] | None:
        """The byte range of the tokens [first, past) of a document, whose last token is end-of-text and has no bytes.

        None if the tokens do not determine bytes.
        """
        if self._sizes is None:
            return None
        sizes = self._sizes[document]
        sizes[-1] = 0
        ends = np.maximum(np.cumsum(np.concatenate(([0], sizes))) - self._prefix, 0)
        return int(ends[first]), int(ends[past])


def _table(tokenizer: Any, size: Callable[[str], int]) -> NDArray[np.int64]:
    """The bytes of each token; an added one has those that it shows."""
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    table = np.zeros(max(vocabulary.values()) + 1, np.int64)
    for token, number in vocabulary.items():
        table[number] = size(token)
    for number, added in tokenizer.get_added_tokens_decoder().items():
        table[number] = len(added.content.encode())
    return table


def _size(token: str) -> int:
    """The bytes of a token of SentencePiece: one for ``<0x0A>``, and one for a space."""
    return 1 if _BYTE.fullmatch(token) else len(token.replace(SPACE, " ").encode())
