"""Maps spans of a document's tokens to byte ranges of its text."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ByteSpans:
    """Converts token spans to UTF-8 byte ranges, for byte-level tokenizers (GPT-2's, GPT-NeoX's, ours).

    A token consists of whole bytes, but not always of whole characters. The text is the encoded one: after the edits of
    the corpus, normalised by the tokenizer (NFC for GPT-NeoX's).
    """

    def __init__(self, tokenizer: Any) -> None:
        decoder = json.loads(tokenizer.to_str())["decoder"]
        self._sizes: NDArray[np.int64] | None = None
        if decoder is not None and decoder["type"] == "ByteLevel":
            vocabulary = tokenizer.get_vocab(with_added_tokens=True)
            self._sizes = np.zeros(max(vocabulary.values()) + 1, np.int64)
            # Each character of a token represents one byte (GPT-2, `encoder.py`, `bytes_to_unicode`).
            for token, number in vocabulary.items():
                self._sizes[number] = len(token)
            for number, added in tokenizer.get_added_tokens_decoder().items():
                self._sizes[number] = len(added.content.encode())

    def span(self, document: NDArray[np.integer], first: int, past: int) -> tuple[int, int] | None:
        """The byte range of the tokens [first, past) of a document, whose last token is end-of-text and has no bytes.

        None if the tokenizer is not byte-level: its tokens do not determine bytes.
        """
        if self._sizes is None:
            return None
        sizes = self._sizes[document]
        sizes[-1] = 0
        start = int(sizes[:first].sum())
        return start, start + int(sizes[first:past].sum())
