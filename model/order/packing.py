"""How each system packs documents into windows of length + 1 tokens.

- ``overlapping``: each window begins with the last token of the previous one, so every token except the first is a
  label once (GPT-NeoX, `megatron/data/gpt2_dataset.py`; also Pythia; our choice for LLaMA, whose paper does not say).
- ``blocks``: windows do not overlap, so the first token of each is never a label (OPT; metaseq with
  ``sample_break_mode none`` and blocks of 2,049).

In both, documents are concatenated and may span windows, and the remainder at the end of a file is dropped.
"""

from __future__ import annotations

from typing import Literal

Packing = Literal["overlapping", "blocks"]


def stride(packing: Packing, length: int) -> int:
    """Tokens from the start of a window to the start of the next."""
    return length if packing == "overlapping" else length + 1


def count_windows(tokens: int, packing: Packing, length: int) -> int:
    """Whole windows in a file of `tokens` tokens."""
    return (tokens - 1) // length if packing == "overlapping" else tokens // (length + 1)


def windows_holding(first: int, past: int, packing: Packing, length: int, windows: int) -> range:
    """The windows that hold any of the tokens [first, past)."""
    if past <= first:
        return range(0)
    step = stride(packing, length)
    return range(max(0, -((length - first) // step)), min(windows, (past - 1) // step + 1))
