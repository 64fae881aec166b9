"""How documents become windows of length + 1 tokens, as each system packs them.

- ``overlapping``: each window begins with the last token of the one before it, so that every token but the first is a
  label once (GPT-NeoX, `megatron/data/gpt2_dataset.py`; Pythia as well; for LLaMA, whose paper says nothing of it, our
  choice).
- ``blocks``: windows that share nothing, so that the first token of each is never a label (OPT; metaseq with
  ``sample_break_mode none`` and blocks of 2,049).

In both, documents follow each other and straddle windows, and what is left at the end of a file makes no window.
"""

from __future__ import annotations

from typing import Literal

Packing = Literal["overlapping", "blocks"]


def stride(packing: Packing, length: int) -> int:
    """Tokens from the start of one window to that of the next."""
    return length if packing == "overlapping" else length + 1


def count_windows(tokens: int, packing: Packing, length: int) -> int:
    """Whole windows in a file of so many tokens."""
    return (tokens - 1) // length if packing == "overlapping" else tokens // (length + 1)


def windows_holding(first: int, past: int, packing: Packing, length: int, windows: int) -> range:
    """The windows that hold any of the tokens [first, past)."""
    if past <= first:
        return range(0)
    step = stride(packing, length)
    return range(max(0, -((length - first) // step)), min(windows, (past - 1) // step + 1))
