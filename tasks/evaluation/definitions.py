"""Evaluation tasks as data: a JSON file maps fields of local JSONL files to task items.

{"tasks": [{"kind": "multiple_choice", "name": "arc_easy", "items": "arc_easy_test.jsonl.gz",
            "question": "query", "choices": "choices", "answer": "gold", "prompt": "{question}\\nAnswer:"},
           {"kind": "last_word", "name": "lambada", "items": "lambada_openai.jsonl.gz"}]}
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from infra.store.digests import key_of, sha256_bytes

_PLACEHOLDER = re.compile(r"\{[A-Za-z_][A-Za-z0-9_.]*\}")
Name = Annotated[str, pydantic.Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]


class _Definition(pydantic.BaseModel):
    """`items` is a JSONL file, plain or gzip, beside the definitions file; `limit` is the number of items to use."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    name: Name
    items: str
    limit: int | None = pydantic.Field(None, ge=1)


class MultipleChoice(_Definition):
    """Choose the correct continuation: `acc`, and `acc_norm`, normalised by the choices' lengths in characters.

    `question`, `choices`, `answer` and `labels` name fields; dots separate nested fields (``choices.text``). The answer
    is a 0-based number, a label if there are labels, or else the text of a choice. A space separates the prompt and a
    choice.
    """

    kind: Literal["multiple_choice"] = "multiple_choice"
    question: str = "question"
    choices: str = "choices"
    answer: str = "answer"
    labels: str | None = None
    prompt: str = "{question}\nAnswer:"

    @pydantic.field_validator("prompt")
    @classmethod
    def _has_question(cls, prompt: str) -> str:
        if "{question}" not in prompt:
            raise ValueError(f"the prompt {prompt!r} does not contain {{question}}")
        if unknown := set(_PLACEHOLDER.findall(prompt)) - {"{question}"}:
            raise ValueError(f"the prompt {prompt!r} contains {min(unknown)}; the only placeholder is {{question}}")
        return prompt

    def item(self, values: dict[str, Any]) -> dict[str, Any]:
        """`prompt`, `choices` and the number of the `answer`. Raises ValueError that names an invalid field."""
        question, choices = _field(values, self.question), _field(values, self.choices)
        if not isinstance(question, str) or not question.strip():
            raise ValueError(f"{self.question!r} is {question!r}; it must be a text")
        if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) and c for c in choices):
            raise ValueError(f"{self.choices!r} is {choices!r}; it must be a list of two or more texts")
        answer = _field(values, self.answer)
        names = choices if self.labels is None else _field(values, self.labels)
        number = names.index(answer) if isinstance(answer, str) and answer in names else answer
        if type(number) is not int or not 0 <= number < len(choices):
            raise ValueError(f"{self.answer!r} is {answer!r}; it must be one of the {len(choices)} choices")
        return {"prompt": self.prompt.replace("{question}", question), "choices": choices, "answer": number}


class LastWord(_Definition):
    """LAMBADA (Paperno et al. 2016): predict the last word of a passage from the rest; `acc` and `perplexity`.

    The word is the text after the last space, as in the harness's `lambada_openai`.
    """

    kind: Literal["last_word"] = "last_word"
    text: str = "text"

    def item(self, values: dict[str, Any]) -> dict[str, Any]:
        """`prompt`, and `target` with its leading space. Raises ValueError that names an invalid field."""
        text = _field(values, self.text)
        before, blank, word = text.rpartition(" ") if isinstance(text, str) else ("", "", "")
        if not before.strip() or not word:
            raise ValueError(f"{self.text!r} is {text!r}; it must be a text of two or more words")
        return {"prompt": before, "target": blank + word}


Definition = Annotated[MultipleChoice | LastWord, pydantic.Field(discriminator="kind")]


class _Definitions(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[Definition, ...] = pydantic.Field(min_length=1)


@dataclass(frozen=True)
class LoadedTask:
    """A task with its items, ready to score; `digest` identifies both."""

    definition: MultipleChoice | LastWord
    items: tuple[dict[str, Any], ...]
    digest: str


def load_tasks(path: Path) -> list[LoadedTask]:
    """Load the tasks of a definitions file, with all their items read and validated.

    Raises ValueError that names the file, line and field of an invalid entry, and FileNotFoundError.
    """
    try:
        definitions = _Definitions.model_validate_json(path.read_bytes()).tasks
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path}: {where}: {first['msg']}") from error
    names = [definition.name for definition in definitions]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{path}: two tasks have the name {sorted(twice)[0]!r}; give each its own")
    return [_load(definition, path.parent / definition.items) for definition in definitions]


def _load(definition: MultipleChoice | LastWord, path: Path) -> LoadedTask:
    data = _content(path)
    items: list[dict[str, Any]] = []
    for number, values in _lines(path, data):
        if definition.limit is not None and len(items) == definition.limit:
            break
        try:
            items.append(definition.item(values))
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number}: {error}; mend the line or the task {definition.name!r}"
            ) from error
    if not items:
        raise ValueError(f"{path}: the task {definition.name!r} has no items")
    identity = [definition.model_dump(mode="json", exclude={"items"}), sha256_bytes(data)]
    return LoadedTask(definition, tuple(items), key_of(identity))


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: broken gzip ({error}); fetch it again") from error


def _lines(path: Path, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(values, dict):
            raise ValueError(f"{path}, line {number}: {type(values).__name__} where an object belongs")
        yield number, values


def _field(values: dict[str, Any], name: str) -> Any:
    found: Any = values
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            raise ValueError(f"there is no field {name!r}; the fields are {', '.join(values)}")
        found = found[part]
    return found
