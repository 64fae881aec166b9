"""Checks that data orders hold enough sequences for a run."""

from __future__ import annotations

from dataclasses import dataclass

from model.configuration import require


@dataclass(frozen=True, slots=True)
class Counts:
    """Documents and tokens of a token file."""

    documents: int
    tokens: int


def require_sequences(needed: int, given: int) -> None:
    """Raise ValueError when a run reads more sequences than its sources give."""
    require(
        needed <= given,
        f"the run reads {needed:,} sequences and its sources give {given:,}: lower steps or batch, add tokens, or "
        "allow more epochs",
    )


def require_validation(wanted: int, given: int) -> None:
    """Raise ValueError when there are fewer validation sequences than a run asks for."""
    require(
        wanted <= given,
        f"training.validation.sequences is {wanted} and the validation tokens give {given}; ask for fewer or split off "
        "more documents",
    )
