"""A source's rules applied to its documents: the first rule that each document fails, and how long its text is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pydantic

from infra.documents import apply_edits
from infra.stage import StageConfig, StageKind, stage
from infra.thresholds import inside

KEPT = ""
ALL_STRUCK = "all_text_struck"
RULES_SCHEMA = pa.schema([("outcome", pa.string()), ("length", pa.int64()), ("struck", pa.list_(pa.int64()))])


class Threshold(StageConfig):
    """A range of a step's column: ``at_least ≤ value ≤ at_most``, or one of some labels."""

    column: str = pydantic.Field(pattern=r"^[a-z0-9_]+\.[a-z0-9_]+$", description="Column to compare, as STEP.COLUMN.")
    at_least: float | None = pydantic.Field(None, description="Smallest value that passes.")
    at_most: float | None = pydantic.Field(None, description="Largest value that passes.")
    one_of: tuple[str, ...] | None = pydantic.Field(None, description="Labels that pass.")

    @pydantic.model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.at_least is None and self.at_most is None and self.one_of is None:
            raise ValueError(f"{self.column} has no threshold: give at_least, at_most or one_of")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"{self.column}: at_least {self.at_least} is above at_most {self.at_most}: nothing passes")
        if self.one_of == ():
            raise ValueError(f"{self.column}: one_of is empty: nothing passes")
        return self

    @property
    def words(self) -> str:
        """The range or the labels in words."""
        asked = {"at least": self.at_least, "at most": self.at_most, "one of": self.one_of}
        return ", ".join(f"{words} {_spelled(value)}" for words, value in asked.items() if value is not None)

    @property
    def step(self) -> str:
        """The step that writes the column."""
        return self.column.partition(".")[0]

    def holds(self, documents: pa.Table) -> pa.ChunkedArray | pa.Array:
        """For each document, whether it has a value inside."""
        found = inside(documents[self.column], self.at_least, self.at_most, self.one_of)
        return pc.fill_null(found, False)

    def fails(self, documents: pa.Table) -> pa.ChunkedArray | pa.Array:
        """For each document with a value, whether it is outside; NaN is. A document without a value is not."""
        found = inside(documents[self.column], self.at_least, self.at_most, self.one_of)
        return pc.fill_null(pc.invert(found), False)


def _spelled(value: float | tuple[str, ...]) -> str:
    return " ".join(value) if isinstance(value, tuple) else f"{value:,.10g}"


class Rule(Threshold):
    """A threshold that decides what stays. Documents that fail it are dropped under `reason`.

    A document without a value fails unless `missing` lets it pass: a language without a model has no perplexity. With
    `when`, the rule applies to documents inside that threshold only, and with `unless`, to those outside it. A document
    without a value there is not inside.
    """

    reason: str = pydantic.Field(pattern=r"^[a-z0-9_]+$", description="Name of the rule in the ledger.")
    missing: Literal["fails", "passes"] = pydantic.Field("fails", description="Result for documents without a value.")
    when: Threshold | None = pydantic.Field(None, description="The rule applies only to documents inside.")
    unless: Threshold | None = pydantic.Field(None, description="The rule does not apply to documents inside.")

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """The rule itself, and its conditions."""
        return (self, *(one for one in (self.when, self.unless) if one is not None))

    @property
    def conditions(self) -> list[str]:
        """The conditions in words."""
        given = {"when": self.when, "unless": self.unless}
        return [f"{word} {one.column} is {one.words}" for word, one in given.items() if one is not None]

    def applies(self, documents: pa.Table) -> pa.ChunkedArray | pa.Array | None:
        """For each document, whether the rule applies to it; None if it has no conditions."""
        found = None if self.when is None else self.when.holds(documents)
        if self.unless is not None:
            outside = pc.invert(self.unless.holds(documents))
            found = outside if found is None else pc.and_(found, outside)
        return found


class Floor(Threshold):
    """A threshold that decides what the `steps` behind it read."""

    steps: tuple[str, ...]


class RulesConfig(StageConfig):
    """`rules` in order; `edits` are the steps that change the text, in order."""

    rules: tuple[Rule, ...] = ()
    edits: tuple[str, ...] = ()
    floors: tuple[Floor, ...] = ()


def _columns(config: RulesConfig) -> list[str]:
    thresholds = [*(one for rule in config.rules for one in rule.thresholds), *config.floors]
    failures = [f"{one.step}.failed" for rule in config.rules for one in rule.thresholds]
    edits = [f"{name}.edits" for name in config.edits]
    return list(dict.fromkeys(["text", *edits, *(threshold.column for threshold in thresholds), *failures]))


@stage("rules", version=1, kind=StageKind.annotate, config=RulesConfig, columns=_columns, schema=RULES_SCHEMA)
def apply_rules(documents: pa.Table, config: RulesConfig) -> pa.Table:
    """For each document, read with its text as stored:

    - ``outcome`` (string): ``step:dropped:reason`` of the first rule that it fails, "" when it passes all. A document
      that a step could not annotate is ``step:failed:reason``, in the place of the first rule that asks for that step,
      in a condition too. A document of which an edit leaves only white space is ``edit:dropped:all_text_struck``,
      before all rules;
    - ``length`` (int64): the UTF-8 bytes of its text after the edits;
    - ``struck`` (list of int64): the bytes that each edit takes from it. Edits after the one that leaves nothing take
      nothing.

    A rule that asks for a step that did not read a document because of a floor is passed over: a rule at least as
    strict as the floor drops the document for the true reason. Raises KeyError when a column is missing.
    """
    outcome, length, struck = _edited(documents, config.edits)
    skipped = _skipped(documents, config.floors)
    failed_seen: set[str] = set()
    for rule in config.rules:
        for step in dict.fromkeys(one.step for one in rule.thresholds):
            name = f"{step}.failed"
            if step not in failed_seen and name in documents.column_names:
                reasons = pc.binary_join_element_wise(f"{step}:failed", documents[name], ":")
                outcome = pc.if_else(pc.and_(pc.equal(outcome, KEPT), pc.is_valid(reasons)), reasons, outcome)
            failed_seen.add(step)
        fails = rule.fails(documents)
        if rule.missing == "fails":
            missing = pc.is_null(documents[rule.column])
            if rule.step in skipped:
                missing = pc.and_(missing, pc.invert(skipped[rule.step]))
            fails = pc.or_(fails, missing)
        applies = rule.applies(documents)
        if applies is not None:
            fails = pc.and_(fails, applies)
        for condition in rule.thresholds[1:]:
            if condition.step in skipped:
                fails = pc.and_(fails, pc.invert(skipped[condition.step]))
        dropped = pc.and_(fails, pc.equal(outcome, KEPT))
        outcome = pc.if_else(dropped, f"{rule.step}:dropped:{rule.reason}", outcome)
    return pa.table([outcome, length, struck], schema=RULES_SCHEMA)


def _edited(documents: pa.Table, edits: Iterable[str]) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Outcome, length and bytes struck per edit of every document."""
    text = documents["text"]
    length = pc.cast(pc.binary_length(text), pa.int64()).to_numpy().copy()
    outcome = np.full(documents.num_rows, KEPT, dtype=object)
    taken: list[np.ndarray] = []
    for name in edits:
        text, _ = apply_edits(text, documents[f"{name}.edits"])
        after = pc.cast(pc.binary_length(text), pa.int64()).to_numpy()
        here = outcome == KEPT
        taken.append(np.where(here, length - after, 0))
        length = np.where(here, after, length)
        blank = pc.equal(pc.utf8_trim_whitespace(text), "").to_numpy(zero_copy_only=False)
        outcome[here & blank] = f"{name}:dropped:{ALL_STRUCK}"
    sizes = np.stack(taken, axis=1) if taken else np.empty((documents.num_rows, 0), np.int64)
    offsets = pa.array(np.arange(documents.num_rows + 1, dtype=np.int32) * sizes.shape[1])
    struck = pa.ListArray.from_arrays(offsets, pa.array(sizes.ravel(), pa.int64()))
    return pa.array(outcome, pa.string()), pa.array(length, pa.int64()), struck


def _skipped(documents: pa.Table, floors: Iterable[Floor]) -> dict[str, pa.Array]:
    """Per step, the documents that it did not read because of a floor."""
    skipped: dict[str, pa.Array] = {}
    for floor in floors:
        outside = pc.or_(floor.fails(documents), pc.is_null(documents[floor.column]))
        for step in floor.steps:
            skipped[step] = pc.or_(skipped[step], outside) if step in skipped else outside
    return skipped
