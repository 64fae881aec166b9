"""A small corpus of two sources with domains, licences, languages and hostile addresses, and a run trained on it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest

from infra.engine.pool import LocalPool
from infra.store.lake import Lake
from model.run.config import RunConfig, create_run
from model.run.events import SkipData, read_events, record
from tasks.builds import BuildRecord
from tasks.run_request import TrainingRequest, requested_run
from tests.model.support.trained import train_here
from tests.tasks.report.conftest import GERMAN
from tests.tasks.test_parts_of_sources import build

STEPS, BATCH, LENGTH = 60, 8, 64
HOSTILE = "http://evil.example/<script>alert(1)</script>|[x](http://click.example)`\x1b[31m"
RULES = [
    {"column": "opt_outs.hit", "at_most": 0, "reason": "opted_out"},
    {"column": "heuristics.word_count", "at_least": 20, "reason": "too_short"},
]


@dataclass(frozen=True)
class Corpus:
    """A lake with a build and a run on its tokens."""

    lake: Lake
    build: BuildRecord
    run: RunConfig


def documents() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, name in enumerate(sorted(topics)[:40]):
        url = f"https://www{number % 3}.site{number % 12}.co.uk/{name}" if number % 7 else None
        text = " ".join(topics[name].split())[:1500]
        found.append({"text": text, "url": url, "time": f"2026-0{1 + number % 9}-11"})
    found.append({"text": GERMAN, "url": HOSTILE, "time": None})
    found += [{"text": f"Too short {number}.", "url": HOSTILE, "time": None} for number in range(5)]
    return found


def values(folder: Path) -> dict[str, Any]:
    """The recipe; it writes its inputs."""
    folder.mkdir()
    rows = documents()
    for name, own in (("web", rows[::2]), ("books", rows[1::2])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))
    steps = ["language", "heuristics"]
    (folder / "opt-outs.txt").write_text("site4.co.uk 2026-01-01\n")
    opt_outs = {"opt_outs": {"model": str(folder / "opt-outs.txt")}}
    read = {"url_field": "url", "date_field": "time"}
    sources = {
        "web": {
            "read": {"jsonl": read},
            "inputs": [str(folder / "web.jsonl")],
            "steps": [*steps, opt_outs],
            "rules": RULES,
            "share": 1,
        },
        "books": {
            "read": {"jsonl": {**read, "licence": "CC0-1.0"}},
            "inputs": [str(folder / "books.jsonl")],
            "steps": steps,
            "rules": [],
            "share": 3,
        },
    }
    return {"name": "small", "sources": sources, "tokenizer": {"vocabulary_size": 300}}


@pytest.fixture(scope="session")
def corpus(pool: LocalPool, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("cards")
    lake, record_of_build, tokens = build(pool, folder, values(folder / "in"))
    training = {"steps": STEPS, "batch": BATCH, "sequence_length": LENGTH, "schedule": {"warmup": 2, "decay": STEPS}}
    model = {"layers": 1, "width": 16, "heads": 2, "positions": LENGTH}
    request = TrainingRequest.model_validate(
        {"preset": "tiny-pythia", "training": training, "model": model, "epochs": 9}
    )
    config = requested_run(lake, tokens, request)
    create_run(lake, config)
    course = config.course(read_events(lake, config.key))
    record(lake, config.key, "launch", course, SkipData(2, "bad data", "me", 20, 23))
    train_here(lake, config, folder / "cache")
    return Corpus(lake, record_of_build, config)
