"""Repairs texts that were decoded in a wrong encoding, with ftfy, where a recipe asks for it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import BinaryIO, Literal, TypeVar

import ftfy
import pydantic

from infra.outcomes import Kept, Outcome, Record
from infra.stage import StageConfig

REPAIRED = "repaired"  # in metadata, and as a measure
# ftfy repairs line by line. The work on a line can grow faster than the line, so that longer ones are cut.
_LONGEST_LINE = 1 << 14  # characters
_WHOLE = ftfy.TextFixerConfig(explain=False, max_decode_length=_LONGEST_LINE)
_ENCODING = _WHOLE._replace(
    unescape_html=False,
    remove_terminal_escapes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    fix_surrogates=False,
    remove_control_chars=False,
    normalization=None,
)


class RepairConfig(StageConfig):
    """`repair: encoding` undoes wrong encodings (``Ã©`` → ``é``). `repair: text` does all that ftfy does by default:
    also entities of HTML, quotation marks, ligatures, wide letters, control characters, and NFC."""

    repair: Literal["encoding", "text"] | None = pydantic.Field(None, exclude_if=lambda mode: mode is None)

    def more_libraries(self) -> Sequence[str]:
        return ("ftfy",) if self.repair else ()


Config = TypeVar("Config", bound=RepairConfig)
Found = TypeVar("Found")


def repairing(
    read: Callable[[BinaryIO, str, Config], Iterator[Found]],
) -> Callable[[BinaryIO, str, Config], Iterator[Found]]:
    """The reader with repaired texts, where its config asks for it. A document that changed says so in its metadata."""

    @functools.wraps(read)
    def repaired(stream: BinaryIO, name: str, config: Config) -> Iterator[Found]:
        found = read(stream, name, config)
        return found if config.repair is None else _repaired(found, config.repair)

    return repaired


def repair_text(text: str, mode: Literal["encoding", "text"]) -> str:
    """The text as ftfy repairs it. In lines of more than 16,384 characters, a fault across a cut can stay."""
    if mode == "encoding":
        return text if text.isascii() else ftfy.fix_text(text, _ENCODING)
    return ftfy.fix_text(text, _WHOLE)


def _repaired(found: Iterable[Found], mode: Literal["encoding", "text"]) -> Iterator[Found]:
    for item in found:
        # Within the budget of the record.
        yield replace(item, outcome=partial(_outcome, item.outcome, mode)) if isinstance(item, Record) else item


def _outcome(read: Callable[[], Outcome], mode: Literal["encoding", "text"]) -> Outcome:
    outcome = read()
    if not isinstance(outcome, Kept):
        return outcome
    text = repair_text(outcome.document.text, mode)
    if text == outcome.document.text:
        return outcome
    document = replace(outcome.document, text=text, metadata={**outcome.document.metadata, REPAIRED: mode})
    return replace(outcome, document=document, measures=(*outcome.measures, REPAIRED))
