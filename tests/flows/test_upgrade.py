"""A lake of format 1: refused with the cure, upgraded, and its run goes on to the bits of an undisturbed one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from flows.recipe import parse_recipe, resolve_recipe
from infra.store.lake import Lake
from model.checkpoints.manifest import committed_steps, read_checkpoint
from model.observers.losses import read_losses
from tasks.upgrade import upgrade
from tests.flows.conftest import Millrace, build, digests, markers
from tests.flows.format_1 import write_back

RECORD = Path(__file__).parent / "data" / "build-of-format-1.json"
TRAIN = [
    *("tiny-pythia", "--set", "training.steps=12", "--set", "training.schedule.decay=12", "--set", "epochs=9"),
    *("--set", "training.checkpoints.every=4", "--set", "training.sequence_length=32", "--set", "model.layers=2"),
    *("--set", "model.width=32", "--layout", "engine=native,keep_full=9"),
]
TOKENIZER = ("--set", "tokenizer.vocabulary_size=512")


@pytest.fixture(scope="module")
def lakes(millrace: Millrace, pages: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A lake with a finished run, and one of format 1 in which the same run was killed after step 4."""
    folder = tmp_path_factory.mktemp("upgrade")
    build(millrace, folder / "whole", pages[:1], *TOKENIZER, "--name", "corpus/crawl")
    run = millrace.json("train", *TRAIN, "--lake", str(folder / "whole"))["run"]
    shutil.copytree(folder / "whole", folder / "old")
    for step in (8, 12):
        shutil.rmtree(folder / "old" / "runs" / run / "checkpoints" / f"step-{step:06d}")
    write_back(folder / "old")
    return folder / "whole", folder / "old"


def test_a_run_of_the_old_format_ends_in_the_same_bits(
    millrace: Millrace, lakes: tuple[Path, Path], pages: list[str], tmp_path: Path
) -> None:
    whole, old = lakes[0], shutil.copytree(lakes[1], tmp_path / "lake")
    refused = millrace.run("runs", "--lake", str(old))
    assert refused.returncode == 1 and "millrace lake upgrade --lake" in refused.stderr
    done = millrace.json("lake", "upgrade", "--lake", str(old))
    assert (done["format"], done["builds"], done["sources"], done["names"]) == (2, 1, 1, 1)
    assert millrace.json("lake", "upgrade", "--lake", str(old)) == {"format": 2}

    before = millrace.json("runs", "--lake", str(old))["runs"]
    trained = millrace.json("train", *TRAIN, "--lake", str(old))
    assert [run["run"] for run in before] == [trained["run"]], "it is the same run, and went on"
    assert trained["resumed"][-1] == 4
    found, wanted = Lake(str(old)), Lake(str(whole))
    for step in committed_steps(wanted, trained["run"]):
        mine, theirs = (read_checkpoint(lake, trained["run"], step) for lake in (found, wanted))
        assert mine.digest == theirs.digest
    losses = [[(record.step, record.loss) for record in read_losses(lake, trained["run"])] for lake in (found, wanted)]
    assert losses[0] == losses[1]


def test_the_next_build_reads_no_archive(
    millrace: Millrace, lakes: tuple[Path, Path], pages: list[str], tmp_path: Path
) -> None:
    whole, old = lakes[0], shutil.copytree(lakes[1], tmp_path / "lake")
    millrace.json("lake", "upgrade", "--lake", str(old))
    assert millrace.json("verify", "corpus/crawl", "--lake", str(old))["faults"] == []
    told = millrace.run("explain", "anything", "--lake", str(old))
    assert told.returncode == 1 and "Traceback" not in told.stderr
    before = markers(old)
    again = build(millrace, old, pages[:1], *TOKENIZER)
    assert markers(old)["web_archive"] == before["web_archive"]
    assert again["digest"] == build(millrace, whole, pages[:1], *TOKENIZER)["digest"]
    assert digests(again)["crawl/corpus"] == digests(build(millrace, whole, pages[:1], *TOKENIZER))["crawl/corpus"]


def test_an_upgrade_that_was_interrupted_is_started_again(lakes: tuple[Path, Path], tmp_path: Path) -> None:
    old = shutil.copytree(lakes[1], tmp_path / "lake")
    shutil.copytree(lakes[1], tmp_path / "other")
    first = upgrade(Lake(str(old)))
    # As if it had died after it wrote the new records: the old ones are still there, and the format is the old one.
    for path in (tmp_path / "other" / "builds").iterdir():
        shutil.copy(path, old / "builds" / path.name)
    (old / "format.json").write_text(json.dumps({"format": 1}))
    again = upgrade(Lake(str(old)))
    assert first is not None and again is not None and again.builds == first.builds
    assert len(list((old / "builds").iterdir())) == 1
    assert upgrade(Lake(str(old))) is None


def test_a_recorded_build_of_format_1_is_understood() -> None:
    """A record as 24c0e30 wrote it, of two sources with a reference and a floor."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    resolved = resolve_recipe(parse_recipe(record["recipe"], "the record"), "the record")
    assert [source.name for source in resolved.sources] == ["pages", "rest"]
    assert [step.name for step in resolved.across] == ["near_duplicates"]
    assert [source.name for source in resolved.references] == ["known"]
    [floor] = resolved.sources[0].section.floors
    assert (floor.column, floor.at_least) == ("language.score", 0.4)
    assert resolved.recipe.shares() == {"pages": 0.75, "rest": 0.25}
