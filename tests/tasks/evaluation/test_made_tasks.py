"""Tasks made of Python's own help."""

from __future__ import annotations

import random
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from tasks.evaluation.definitions import load_tasks
from tasks.evaluation.inputs import Text
from tasks.evaluation.made_tasks import continuation_choice, last_word, write_made_tasks

TEXTS = [Text(name, topics[name], "python") for name in sorted(topics)]
FOREIGN = [
    Text(f"de-{number}", "".join(f"Das ist der Satz {place} in dem Text Nummer {number}. " for place in range(9)), "de")
    for number in range(9)
]


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_the_right_choice_follows_the_question() -> None:
    items = continuation_choice(TEXTS, 60, 256)
    assert len(items) == 60
    for item in items:
        right, document = item["choices"][item["answer"]], squeezed(topics[item["id"]])
        assert squeezed(f"{item['question']} {right}") in document
        assert len(set(item["choices"])) == 4 and len(item["question"]) >= 60
        for other in item["choices"]:
            assert len(right) / 2 <= len(other) <= 2 * len(right)
    assert {item["answer"] for item in items} == {0, 1, 2, 3}
    # No place of the right choice is so common that guessing it pays.
    assert max(sum(item["answer"] == place for item in items) for place in range(4)) < 30


def test_choices_fit_the_model() -> None:
    """Also in a script whose letters have two bytes each, and an untrained tokenizer one token for each of these."""
    greek = [
        Text(f"el-{n}", f"Αυτή είναι η πρόταση {n}. Και μετά έρχεται μια άλλη πρόταση {n * n}. " * 3, "el")
        for n in range(30)
    ]
    for positions, found in ((64, False), (96, True)):
        items = continuation_choice(greek, 10, positions)
        assert bool(items) == found
        assert all(len(f" {choice}".encode()) <= positions for item in items for choice in item["choices"])
    items = continuation_choice(TEXTS, 30, 64)
    assert len(items) == 30 and max(len(choice.encode()) for item in items for choice in item["choices"]) <= 63


def test_distractors_are_of_other_documents_of_the_group() -> None:
    sources = {squeezed(text.text): text for text in [*TEXTS, *FOREIGN]}
    items = continuation_choice([*TEXTS, *FOREIGN], 2000, 256)
    assert sum(item["id"].startswith("de-") for item in items) > 30
    group_of = {text.id: text.group for text in [*TEXTS, *FOREIGN]}
    for item in items:
        for place, choice in enumerate(item["choices"]):
            homes = [text for whole, text in sources.items() if squeezed(choice) in whole]
            assert any(home.group == group_of[item["id"]] for home in homes)
            if place != item["answer"]:
                assert any(home.id != item["id"] for home in homes)


def test_the_last_word_can_be_known_from_its_passage() -> None:
    items = last_word(TEXTS, 60)
    assert len(items) == 60
    for item in items:
        before, _, word = item["text"].rpartition(" ")
        assert word.isalpha() and len(word) >= 3
        assert word.lower() in before.lower()
        assert len(item["text"].split()) >= 40
        assert item["text"] in squeezed(topics[item["id"]])
    assert len({item["text"] for item in items}) == 60


def test_items_follow_from_documents_and_seed_alone() -> None:
    shuffled = random.Random(3).sample(TEXTS, len(TEXTS))
    assert last_word(shuffled, 40) == last_word(TEXTS, 40)
    assert continuation_choice(TEXTS, 40, 256) == continuation_choice(list(TEXTS), 40, 256)
    assert continuation_choice(TEXTS, 20, 256) == continuation_choice(TEXTS, 40, 256)[:20]
    assert continuation_choice(TEXTS, 40, 256, seed=1) != continuation_choice(TEXTS, 40, 256)
    assert last_word(TEXTS, 40, seed=1) != last_word(TEXTS, 40)


def test_written_tasks_can_be_loaded(tmp_path: Path) -> None:
    tasks = load_tasks(write_made_tasks(TEXTS, tmp_path / "a", 25, 256))
    counts = {task.definition.name: len(task.items) for task in tasks}
    assert counts == {"continuation_choice": 25, "last_word": 25}
    made = continuation_choice(TEXTS, 25, 256)
    assert [item["prompt"] for item in tasks[0].items] == [item["question"] for item in made]
    again = load_tasks(write_made_tasks(TEXTS, tmp_path / "b", 25, 256))
    assert [task.digest for task in again] == [task.digest for task in tasks]
    for name in ("tasks.json", "continuation_choice.jsonl", "last_word.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_documents_that_give_nothing(tmp_path: Path) -> None:
    alone = [Text("one", topics["assignment"], "python")]
    assert continuation_choice(alone, 10, 256) == [], "there is no other document to draw from"
    with pytest.raises(ValueError, match="1 documents give no item for the task 'continuation_choice'; hold out more"):
        write_made_tasks(alone, tmp_path, 10, 256)
    chinese = [Text(f"zh-{number}", "这是一个没有空格的句子。" * 40, "zh") for number in range(5)]
    assert last_word(chinese, 10) == []
    assert continuation_choice([], 10, 256) == last_word([], 10) == []
