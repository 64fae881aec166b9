"""Encodes texts with the ids that the library `tokenizers` gives.

gigatoken does the work for the tokenizer files of `tasks.encoding.supported`, if it passes a comparison on hard strings
when it is loaded. In every batch, beginnings of some texts are encoded by both.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gigatoken import gigatoken_rs
from numpy.typing import NDArray

from tasks.encoding.hard_strings import HARD_STRINGS
from tasks.encoding.nfc import normalised
from tasks.encoding.supported import Supported, supported
from tasks.tokenizer import PANIC, encode_texts

_logger = logging.getLogger("millrace.tokens")
# Its cache grows by up to ten bytes for each byte of text, and loading it anew takes 0.1 s.
CACHED_BYTES = 32 << 20
# Of every 64th text of a batch, `tokenizers` encodes this many characters too.
COMPARED_EVERY = 64
COMPARED_CHARACTERS = 2000

Ids = NDArray[np.int32]


class Encoder:
    """Encodes with `tokenizer`, of the library `tokenizers`, or with gigatoken in its place.

    `fallbacks` counts the texts that gigatoken should have encoded, but `tokenizers` did, after a warning.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._fast = _fast(tokenizer)
        self.fallbacks = 0

    @property
    def is_fast(self) -> bool:
        """Whether gigatoken encodes."""
        return self._fast is not None

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of each text, without those that a post-processor adds.

        Raises ValueError if `tokenizers` gives up.
        """
        texts = list(texts)
        if self._fast is None:
            return self._slow(texts)
        found = self._compared(texts, self._fast)
        if found is None:
            self.fallbacks += len(texts)
            return self._slow(texts)
        return found

    def _compared(self, texts: list[str], fast: _Fast) -> list[Ids] | None:
        """The ids by gigatoken; None, with a warning, where it fails or differs from `tokenizers`."""
        apart = [row for row, text in enumerate(texts) if any(special in text for special in fast.apart)]
        left = set(apart)
        rows = [row for row in range(len(texts)) if row not in left]
        samples = [texts[row][:COMPARED_CHARACTERS] for row in rows[::COMPARED_EVERY]]
        try:
            ids = fast.encode([*samples, *(texts[row] for row in rows)])
        except BaseException as error:
            if type(error).__module__ != PANIC:
                raise
            _logger.warning("gigatoken fails (%s): tokenizers encodes these %d texts", error, len(texts))
            fast.renew()
            return None
        for sample, ours, theirs in zip(samples, ids, self._slow(samples), strict=False):
            if not np.array_equal(ours, theirs):
                _logger.warning(
                    "gigatoken encodes %r differently from tokenizers, which encodes these %d texts. Please report it.",
                    sample,
                    len(texts),
                )
                return None
        found = dict(zip(rows, ids[len(samples) :], strict=True))
        found |= dict(zip(apart, self._slow([texts[row] for row in apart]), strict=True))
        return [found[row] for row in range(len(texts))]

    def _slow(self, texts: list[str]) -> list[Ids]:
        return [np.array(ids, np.int32) for ids in encode_texts(self._tokenizer, texts)] if texts else []


class _Fast:
    """gigatoken's encoder of one tokenizer file. It uses only the calling thread."""

    def __init__(self, description: Supported) -> None:
        self.apart = description.apart
        self._prepare: Callable[[Sequence[str]], list[str]] = normalised if description.nfc else list
        self._content = json.dumps(description.content)
        self.renew()

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of each text."""
        found = []
        for text in self._prepare(texts):
            data = text.encode()
            if self._cached > 0 and self._cached + len(data) > CACHED_BYTES:
                self.renew()
            self._cached += len(data)
            found.append(self._encoder.encode(data).astype(np.int32))
        return found

    def renew(self) -> None:
        """Load it anew, with an empty cache."""
        self._encoder = gigatoken_rs.load_hf_json(self._content)
        self._cached = 0


def _fast(tokenizer: Any) -> _Fast | None:
    """gigatoken's encoder, if it has one for this tokenizer that agrees on the hard strings."""
    description = supported(json.loads(tokenizer.to_str()), tokenizer.encode_special_tokens)
    if description is None:
        return None
    texts = [text for text in HARD_STRINGS if not any(special in text for special in description.apart)]
    try:
        fast = _Fast(description)
        ours = fast.encode(texts)
    except BaseException as error:
        if type(error).__module__ != PANIC and not isinstance(error, ValueError):
            raise
        _logger.warning("gigatoken cannot load this tokenizer (%s): tokenizers encodes", error)
        return None
    for text, ids, theirs in zip(texts, ours, encode_texts(tokenizer, texts), strict=True):
        if ids.tolist() != theirs:
            _logger.warning("gigatoken encodes %r differently from tokenizers, which encodes instead", text)
            return None
    return fast
