"""Encodes texts with the ids that the library of a tokenizer gives: `tokenizers`, or `sentencepiece`.

gigatoken does the work for the tokenizer files of `tasks.encoding.supported`, if it passes a comparison on hard strings
when it is loaded. In every batch, beginnings of some texts are encoded by both.
"""

from __future__ import annotations

import json
import logging

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from gigatoken import gigatoken_rs
from numpy.typing import NDArray

from tasks.encoding.forms import OpenedTokenizer
from tasks.encoding.hard_strings import HARD_STRINGS
from tasks.encoding.nfc import normalised
from tasks.encoding.supported import Supported, supported
from tasks.tokenizer import PANIC

_logger = logging.getLogger("millrace.tokens")
# Its cache grows by up to ten bytes for each byte of text, and loading it anew takes 0.1 s.
CACHED_BYTES = 32 << 20
# Of every 128th text of a batch, the library encodes this many characters too.
COMPARED_EVERY = 128
COMPARED_CHARACTERS = 1000

Ids = NDArray[np.int32]


class Encoder:
    """Encodes as the library of a tokenizer does, or with gigatoken in its place.

    `fallbacks` counts the texts that gigatoken should have encoded, but the library did, after a warning.
    """

    def __init__(self, opened: OpenedTokenizer) -> None:
        self._opened = opened
        self._fast = _fast(opened)
        self.fallbacks = 0

    @property
    def is_fast(self) -> bool:
        """Whether gigatoken encodes."""
        return self._fast is not None

    def encode(self, texts: pa.Array) -> list[Ids]:
        """The ids of each text, without those that a post-processor adds.

        Raises ValueError if the library gives up.
        """
        # gigatoken takes bytes as they are, and must get no others than UTF-8.
        texts.validate(full=True)
        found = None if self._fast is None else self._compared(texts, self._fast)
        if found is None:
            self.fallbacks += len(texts) if self.is_fast else 0
            return self._slow(texts.to_pylist())
        return found

    def _compared(self, texts: pa.Array, fast: _Fast) -> list[Ids] | None:
        """The ids by gigatoken; None, with a warning, where it fails or differs from the library."""
        apart = fast.apart_of(texts)
        rows = [row for row in range(len(texts)) if row not in apart]
        samples = [texts[row].as_py()[:COMPARED_CHARACTERS] for row in rows[::COMPARED_EVERY]]
        try:
            compared = fast.encode(pa.array(samples, pa.string()))
            ids = fast.encode(texts)
        except BaseException as error:
            if type(error).__module__ != PANIC:
                raise
            _logger.warning("gigatoken fails (%s): another library encodes these %d texts", error, len(texts))
            fast.renew()
            return None
        for sample, ours, theirs in zip(samples, compared, self._slow(samples), strict=True):
            if not np.array_equal(ours, theirs):
                _logger.warning(
                    "gigatoken encodes %r differently from the tokenizer's own library, which encodes these %d texts. "
                    "Please report it.",
                    sample,
                    len(texts),
                )
                return None
        for row in apart:
            [ids[row]] = self._slow([texts[row].as_py()])
        return ids

    def _slow(self, texts: list[str]) -> list[Ids]:
        return [np.array(ids, np.int32) for ids in self._opened.encode(texts)] if texts else []


class _Fast:
    """gigatoken's encoder of one tokenizer file. It uses only the calling thread."""

    def __init__(self, description: Supported) -> None:
        self._description = description
        self._content = json.dumps(description.content)
        self.renew()

    def apart_of(self, texts: pa.Array) -> set[int]:
        """The rows of the texts that it must not encode."""
        return {
            row
            for special in self._description.apart
            for row in pc.indices_nonzero(pc.match_substring(texts, special)).to_pylist()
        }

    def encode(self, texts: pa.Array) -> list[Ids]:
        """The ids of each text."""
        forms = normalised(texts) if self._description.nfc else {}
        found = []
        for row, value in enumerate(texts.cast(pa.binary())):
            text = forms[row].encode() if row in forms else value.as_py()
            if self._cached > 0 and self._cached + len(text) > CACHED_BYTES:
                self.renew()
            self._cached += len(text)
            found.append(self._encoder.encode(text).view(np.int32))
        return found

    def renew(self) -> None:
        """Load it anew, with an empty cache."""
        self._encoder = gigatoken_rs.load_hf_json(self._content)
        self._cached = 0


def _fast(opened: OpenedTokenizer) -> _Fast | None:
    """gigatoken's encoder, if it has one for this tokenizer that agrees on the hard strings."""
    tokenizer = opened.tokenizer
    description = supported(json.loads(tokenizer.to_str()), tokenizer.encode_special_tokens)
    if description is None:
        return None
    texts = [text for text in HARD_STRINGS if not any(special in text for special in description.apart)]
    try:
        fast = _Fast(description)
        ours = fast.encode(pa.array(texts))
    except BaseException as error:
        if type(error).__module__ != PANIC and not isinstance(error, ValueError):
            raise
        _logger.warning("gigatoken cannot load this tokenizer (%s): its own library encodes", error)
        return None
    for text, ids, theirs in zip(texts, ours, opened.encode(texts), strict=True):
        if ids.tolist() != theirs:
            _logger.warning("gigatoken encodes %r differently from its library, which encodes instead", text)
            return None
    return fast
