"""From tokens back to bytes: which bytes of its text a stretch of a document's tokens stands for."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ByteSpans:
    """Spans of tokens as spans of UTF-8 bytes, for tokenizers of the byte-level kind (GPT-2's, GPT-NeoX's, ours).

    Their tokens are made of whole bytes, though not of whole characters. The text is the one that was encoded: after
    the edits of the corpus, and normalised as the tokenizer does it (NFC for GPT-NeoX's).
    """

    def __init__(self, tokenizer: Any) -> None:
        decoder = json.loads(tokenizer.to_str())["decoder"]
        self._sizes: NDArray[np.int64] | None = None
        if decoder is not None and decoder["type"] == "ByteLevel":
            vocabulary = tokenizer.get_vocab(with_added_tokens=True)
            self._sizes = np.zeros(max(vocabulary.values()) + 1, np.int64)
            # A character of a token stands for a byte (GPT-2, `encoder.py`, `bytes_to_unicode`).
            for token, number in vocabulary.items():
                self._sizes[number] = len(token)
            for number, added in tokenizer.get_added_tokens_decoder().items():
                self._sizes[number] = len(added.content.encode())

    def span(self, document: NDArray[np.integer], first: int, past: int) -> tuple[int, int] | None:
        """The bytes of the tokens [first, past) of a document, whose last token ends it and stands for no text.

        None for a tokenizer of another kind, of whose tokens this cannot be told.
        """
        if self._sizes is None:
            return None
        sizes = self._sizes[document]
        sizes[-1] = 0
        start = int(sizes[:first].sum())
        return start, start + int(sizes[first:past].sum())
