"""Task files against real evaluation sets and the requests that another system built from the same items."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tasks.evaluation.definitions import LoadedTask, load_tasks
from tasks.evaluation.local_tasks import LocalTask
from tests.tasks.evaluation.small import one_task, write_tasks

GOOD = {"question": "Which?", "choices": ["a", "b"], "answer": 1}
CHOICE = {"kind": "multiple_choice", "name": "one"}


def definitions_file(folder: Path, *definitions: dict[str, Any]) -> Path:
    path = folder / "tasks.json"
    path.write_text(json.dumps({"tasks": definitions}))
    return path


def built_requests(task: LoadedTask) -> list[tuple[str, str]]:
    local = LocalTask(task)
    local.build_all_requests()
    return [request.args for request in local.instances]


def published(path: Path) -> list[dict[str, Any]]:
    """The requests with a question before them; those after "Answer:" alone are another normalisation's."""
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    return [line for line in lines if line["request"]["context"] != "Answer:"]


@pytest.mark.parametrize("name", ["arc_easy", "arc_challenge", "openbookqa", "csqa"])
def test_requests_are_those_of_another_system(name: str, shared_data: Path, tmp_path: Path) -> None:
    """OLMo's evaluation requests: the same contexts, continuations and right answers for every item."""
    lines = published(shared_data / "evaluation" / "requests" / f"{name}-rc_0shot.jsonl.gz")
    documents = {line["doc_id"]: line["doc"] for line in lines}
    items = [
        {"query": one["query"].removesuffix("\nAnswer:"), "choices": one["choices"], "gold": one["gold"]}
        for one in documents.values()
    ]
    definition = {"kind": "multiple_choice", "name": name, "question": "query", "answer": "gold"}
    task = one_task(tmp_path, definition, items)
    assert len(items) > 150
    expected = [(line["request"]["context"], line["request"]["continuation"]) for line in lines]
    assert built_requests(task) == expected
    assert [item["answer"] for item in task.items] == [line["label"] for line in lines if line["idx"] == 0]


def test_a_prompt_is_put_around_the_question(shared_data: Path, tmp_path: Path) -> None:
    """SciQ, the items without a supporting paragraph."""
    lines = published(shared_data / "evaluation" / "requests" / "sciq-rc_0shot.jsonl.gz")
    lines = [line for line in lines if not line["doc"]["support"]]
    items = list({line["doc_id"]: line["doc"] for line in lines}.values())
    # The answer as the text of a choice.
    definition = {
        "kind": "multiple_choice",
        "name": "sciq",
        "answer": "correct_answer",
        "prompt": "Question: {question}\nAnswer:",
    }
    task = one_task(tmp_path, definition, items)
    assert built_requests(task) == [(line["request"]["context"], line["request"]["continuation"]) for line in lines]
    assert [item["answer"] for item in task.items] == [one["gold"] for one in items] and len(items) > 50


def test_real_sets_load_whole(shared_data: Path, tmp_path: Path) -> None:
    sets = shared_data / "evaluation" / "sets"
    path = definitions_file(
        tmp_path,
        {
            **CHOICE,
            "name": "arc_easy",
            "items": str(sets / "arc_easy_test.jsonl.gz"),
            **{"question": "query", "answer": "gold"},
        },
        {**CHOICE, "name": "mmlu", "items": str(sets / "mmlu_dev.jsonl.gz")},
        {
            **CHOICE,
            "name": "hellaswag",
            "items": str(sets / "hellaswag_val_1000.jsonl.gz"),
            **{"question": "ctx", "choices": "endings", "answer": "label", "prompt": "{question}"},
        },
        {
            **CHOICE,
            "name": "arithmetic",
            "items": str(sets / "olmo_basic_arithmetic.jsonl.gz"),
            **{"choices": "choices.text", "labels": "choices.label", "answer": "answerKey"},
        },
        {"kind": "last_word", "name": "lambada", "items": str(sets / "lambada_openai.jsonl.gz")},
    )
    tasks = {task.definition.name: task for task in load_tasks(path)}
    assert {name: len(task.items) for name, task in tasks.items()} == {
        **{"arc_easy": 1326, "mmlu": 285, "hellaswag": 535, "arithmetic": 1679, "lambada": 2829}
    }
    first = tasks["arithmetic"].items[0]
    assert first == {"prompt": "Calculate 63 - 63 =\nAnswer:", "choices": ["-1", "1", "0", "10"], "answer": 2}
    lines = gzip.decompress((sets / "lambada_openai.jsonl.gz").read_bytes()).splitlines()
    for item, line in zip(tasks["lambada"].items, lines, strict=True):
        # As `lambada_openai` of the harness has it: text.split(' ')[:-1], and ' ' before the last.
        text = json.loads(line)["text"]
        assert (item["prompt"], item["target"]) == (" ".join(text.split(" ")[:-1]), " " + text.split(" ")[-1])


def test_a_digest_is_of_definition_and_items_alone(tmp_path: Path) -> None:
    task = one_task(tmp_path / "a", CHOICE, [GOOD, GOOD])
    assert one_task(tmp_path / "b", CHOICE, [GOOD, GOOD]).digest == task.digest
    (tmp_path / "b" / "one.jsonl.gz").write_bytes(gzip.compress((tmp_path / "b" / "one.jsonl").read_bytes()))
    [packed] = load_tasks(definitions_file(tmp_path / "b", {**CHOICE, "items": "one.jsonl.gz"}))
    assert packed.digest == task.digest
    others = [
        one_task(tmp_path / "c", CHOICE, [GOOD, {**GOOD, "answer": 0}]),
        one_task(tmp_path / "d", {**CHOICE, "prompt": "{question}"}, [GOOD, GOOD]),
        one_task(tmp_path / "e", {**CHOICE, "limit": 1}, [GOOD, GOOD]),
    ]
    assert len({task.digest, *(other.digest for other in others)}) == 4
    assert len(others[2].items) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": 2}, r"one.jsonl, line 2: 'answer' is 2; it must be one of the 2 choices; mend"),
        ({"answer": -1}, "'answer' is -1"),
        ({"answer": True}, "'answer' is True"),
        ({"answer": "c"}, "'answer' is 'c'"),
        ({"choices": ["a"]}, "list of two or more texts"),
        ({"choices": ["a", ""]}, "list of two or more texts"),
        ({"choices": "ab"}, "list of two or more texts"),
        ({"question": " "}, "'question' is ' '"),
        ({"question": None}, "'question' is None"),
    ],
)
def test_items_that_cannot_be_asked(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        one_task(tmp_path, CHOICE, [GOOD, {**GOOD, **change}])


@pytest.mark.parametrize("text", ["one", "", " word", "word ", None, 3])
def test_passages_without_a_last_word(text: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 1: 'text' is .*two or more words"):
        one_task(tmp_path, {"kind": "last_word", "name": "one"}, [{"text": text}])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "essay"}, "multiple_choice"),
        ({"name": "A task"}, r"tasks\.0\.multiple_choice\.name"),
        ({"shots": 5}, r"tasks\.0\.multiple_choice\.shots: Extra inputs"),
        ({"prompt": "Answer:"}, "does not contain {question}"),
        ({"prompt": "{support} {question}"}, "contains {support}; the only placeholder is {question}"),
        ({"limit": 0}, "limit"),
    ],
)
def test_definitions_that_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_tasks(definitions_file(tmp_path, {**CHOICE, "items": "one.jsonl", **change}))
    assert str(tmp_path / "tasks.json") in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two tasks have the name 'one'"):
        load_tasks(write_tasks(tmp_path, [(CHOICE, [GOOD]), (CHOICE, [GOOD])]))
    with pytest.raises(ValueError, match="no items"):
        one_task(tmp_path, CHOICE, [])
    (tmp_path / "one.jsonl").write_text(f"{json.dumps(GOOD)}\n\n{{broken\n")
    with pytest.raises(ValueError, match=r"one.jsonl, line 3: not JSON"):
        load_tasks(tmp_path / "tasks.json")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(json.dumps(GOOD).encode())[:-9])
    with pytest.raises(ValueError, match=r"cut.gz: broken gzip .*fetch it again"):
        load_tasks(definitions_file(tmp_path, {**CHOICE, "items": "cut.gz"}))
    with pytest.raises(FileNotFoundError, match=r"missing\.jsonl"):
        load_tasks(definitions_file(tmp_path, {**CHOICE, "items": "missing.jsonl"}))
    with pytest.raises(ValueError, match="there is no field 'query'; the fields are question, choices, answer"):
        one_task(tmp_path, {**CHOICE, "question": "query"}, [GOOD])
