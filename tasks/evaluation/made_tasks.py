"""Makes tasks from documents when no evaluation set is available: next sentence, and last word of a passage.

Hashes of the documents and the seed determine the items, their order, their distractors and the position of the correct
choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from infra.store.digests import canonical, key_of
from tasks.evaluation.inputs import Text

CHOICES = 4
LEAST_QUESTION = 60  # characters before the answer
LEAST_SENTENCE = 25  # characters
QUESTION_SENTENCES = 3
DRAWS = 200  # of distractors before the item is abandoned
PASSAGE_WORDS = 40  # minimum, so that the last word is predictable
POSITIONS = 128  # the choices fit every model with at least this many
LEAST_WORD = 3  # letters
LEAST_WORDS = 4  # of the last sentence; languages without spaces have one
ENDS = (".", "!", "?", "。", "！", "？")
BROKEN_LINE = 55  # characters: a shorter line ends where the author ended it, not at the wrapping width
TASKS_FILE = "tasks.json"


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A sentence that can be the answer, and the text before it in its paragraph."""

    document: str
    group: str
    place: int
    before: str
    text: str


def write_made_tasks(
    texts: Sequence[Text], folder: Path, items: int, positions: int = POSITIONS, seed: int = 0
) -> Path:
    """Make both tasks, write them to `folder` with at most `items` items each, and return the definitions file.

    `positions` is the longest sequence of the models to score. Raises ValueError if the documents yield no item.
    """
    made = {
        "continuation_choice": continuation_choice(texts, items, positions, seed),
        "last_word": last_word(texts, items, seed),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in made.items():
        if not lines:
            raise ValueError(
                f"{len(texts)} documents give no item for the task {name!r}; hold out more or longer documents"
            )
        (folder / f"{name}.jsonl").write_bytes(b"".join(canonical(line) + b"\n" for line in lines))
    choice = {"kind": "multiple_choice", "name": "continuation_choice", "prompt": "{question}"}
    word = {"kind": "last_word", "name": "last_word"}
    definitions = [{**one, "items": f"{one['name']}.jsonl"} for one in (choice, word)]
    (folder / TASKS_FILE).write_bytes(canonical({"tasks": definitions}))
    return folder / TASKS_FILE


def continuation_choice(
    texts: Sequence[Text], items: int, positions: int = POSITIONS, seed: int = 0
) -> list[dict[str, Any]]:
    """Items with `id`, `question` (up to three sentences), `choices` (the next one and three others) and `answer`.

    Distractors are sentences of other documents of the same group, between half and twice as long. With its leading
    space, a choice has at most `positions` UTF-8 bytes; a byte-level tokenizer never makes more tokens than bytes.
    """
    sentences = [one for text in texts for one in _sentences(text) if len(one.text.encode()) < positions]
    pools: dict[str, list[_Sentence]] = {}
    for sentence in sentences:
        pools.setdefault(sentence.group, []).append(sentence)
    asked = sorted((one for one in sentences if len(one.before) >= LEAST_QUESTION), key=lambda one: _rank(seed, one))
    once: dict[tuple[str, str], _Sentence] = {}
    for one in asked:  # a sentence that two documents share is used once
        once.setdefault((one.before, one.text), one)
    made = (_choice(one, pools[one.group], seed) for one in once.values())
    return list(islice((item for item in made if item is not None), items))


def last_word(texts: Sequence[Text], items: int, seed: int = 0) -> list[dict[str, Any]]:
    """Items with `id` and `text`: a passage of whole sentences, without the last full stop, that repeats its last word.

    Languages without spaces between words yield no items.
    """
    ranked = sorted(
        (key_of([seed, text.id, place]), text.id, passage) for text in texts for place, passage in _passages(text)
    )
    once: dict[str, str] = {}
    for _, document, passage in ranked:
        once.setdefault(passage, document)
    return [{"id": document, "text": passage} for passage, document in islice(once.items(), items)]


def _sentences(text: Text) -> Iterator[_Sentence]:
    place = 0
    for paragraph in _paragraphs(text.text):
        for number, sentence in enumerate(paragraph):
            if len(sentence) >= LEAST_SENTENCE and sentence.endswith(ENDS):
                before = " ".join(paragraph[max(0, number - QUESTION_SENTENCES) : number])
                yield _Sentence(text.id, text.group, place + number, before, sentence)
        place += len(paragraph)


def _choice(asked: _Sentence, pool: Sequence[_Sentence], seed: int) -> dict[str, Any] | None:
    distractors: dict[str, _Sentence] = {}
    for draw in range(DRAWS):
        one = pool[int(key_of([seed, asked.document, asked.place, draw])[:15], 16) % len(pool)]
        alike = len(asked.text) <= 2 * len(one.text) and len(one.text) <= 2 * len(asked.text)
        if one.document != asked.document and one.text != asked.text and alike:
            distractors.setdefault(one.text, one)
        if len(distractors) == CHOICES - 1:
            choices = list(distractors)
            answer = int(_rank(seed, asked)[:15], 16) % CHOICES
            choices.insert(answer, asked.text)
            return {"id": asked.document, "question": asked.before, "choices": choices, "answer": answer}
    return None


def _passages(text: Text) -> Iterator[tuple[int, str]]:
    """Non-overlapping passages, each of the fewest whole sentences with enough words."""
    passage: list[str] = []
    for place, sentence in enumerate(sentence for paragraph in _paragraphs(text.text) for sentence in paragraph):
        words = sentence.split()
        passage += words
        if len(passage) < PASSAGE_WORDS:
            continue
        word = re.sub(r"\W+$", "", words[-1])
        asked = len(word) >= LEAST_WORD and word.isalpha() and len(words) >= LEAST_WORDS and sentence.endswith(ENDS)
        if asked and word.lower() in {re.sub(r"^\W+|\W+$", "", one).lower() for one in passage[:-1]}:
            yield place, " ".join([*passage[:-1], word])
        passage = []


def _paragraphs(text: str) -> Iterator[list[str]]:
    """The sentences of each paragraph, with single spaces. Joins lines that were wrapped at a fixed width."""
    lines: list[str] = []
    for line in [*text.split("\n"), ""]:
        line = " ".join(line.split())
        lines.append(line)
        if len(line) < BROKEN_LINE or line.endswith((*ENDS, ":")):
            paragraph = " ".join(lines).strip()
            lines = []
            if paragraph:
                yield [sentence for sentence in re.split(r"(?<=[.!?]) |(?<=[。！？])", paragraph) if sentence]


def _rank(seed: int, one: _Sentence) -> str:
    return key_of([seed, one.document, one.place])
