"""The trainer by itself: what people ask of it, what it does about spikes and overflows, and what validation leaves."""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch

from infra.store import faults
from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.tokens import TokenWriter
from model.accounting.launch import open_accounting
from model.checkpoints.manifest import checkpoint_folder, committed_steps, read_checkpoint
from model.checkpoints.retention import Retention
from model.engine.native import NativeEngine
from model.layout import Layout
from model.observers.losses import read_losses
from model.observers.records import StepRecord
from model.run.config import RunConfig, create_run, run_config
from model.run.events import Change, Rollback, read_events
from model.supervision import control
from model.supervision.control import Request, ask, read_answer
from model.supervision.logbook import read_logbook
from model.train import make_engine, whole_checkpoints
from model.training.observers import open_observers
from model.training.records import Launch, Records
from model.training.stepping import Diverged
from model.training.trainer import Outcome, Trainer
from tests.model.support.launches import Moment, finish, launch
from tests.model.support.small import END_OF_DOCUMENT, VOCABULARY, same_end, small_run, store_tokens

LAYOUT = Layout(micro_batch=4)
ROWS, ROW, BATCH = 400, 33, 8
# The sequences of the steps after 14 and 15 others are noise; the run keeps a checkpoint every four steps.
NOISE = range(14 * BATCH, 16 * BATCH)
CALM = {"deviations": 6.0, "window": 8}
ROLLBACK = {**CALM, "skip": False, "patience": 2, "rollback": 1, "lower": 0.5}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What a launch sets for its whole process."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(state)
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Launch a run in this process; `at` is what happens when it reaches a point. The store is asked at every step."""
    monkeypatch.setattr(control, "INTERVAL", 0.0)

    def train(
        lake: Lake,
        config: RunConfig,
        at: dict[str, Callable[[], object]] | None = None,
        change: Callable[[Any], object] = lambda engine: None,
    ) -> Outcome:
        monkeypatch.setattr(faults, "reach", lambda point: (at or {}).get(point, int)())
        engine = make_engine(config, LAYOUT)
        change(engine)
        retention = Retention(max(2, whole_checkpoints(config.training)))
        one = Launch(lake, config, LAYOUT, tmp_path / "cache", retention)
        records = Records(one, engine)
        accounting = open_accounting(lake, config, LAYOUT)
        return Trainer(one, engine, records, accounting.clock, open_observers(one, records, accounting)).train()

    return train


def lakes(folder: Path, *names: str) -> list[Lake]:
    return [Lake.open(str(folder / name)) for name in names]


def events(lake: Lake, config: RunConfig, *kinds: str) -> list[dict[str, Any]]:
    return [event for event in read_logbook(lake, config.key) if event["event"] in kinds]


def losses(lake: Lake, config: RunConfig) -> list[StepRecord]:
    return read_losses(lake, config.key)


def noisy_run(
    lake: Lake, folder: Path, spikes: dict[str, Any] | None, every: int = 4, noise: range = NOISE, rows: int = ROWS
) -> RunConfig:
    """A run that reads rows of text in stored order, with noise for two steps or more."""
    folder.mkdir(parents=True)
    text = [token for name in sorted(topics) for token in [*topics[name].encode(), END_OF_DOCUMENT]]
    chance = random.Random(5)
    with TokenWriter(folder / "rows.bin", folder / "rows.idx", VOCABULARY) as writer:
        for row in range(rows):
            random_row = [chance.randrange(VOCABULARY) for _ in range(ROW)]
            writer.append(random_row if row in noise else text[row * ROW : (row + 1) * ROW])
    config = small_run(
        lake, folder / "text", compat="rows", spikes=spikes, checkpoints={"kind": "every", "every": every}
    )
    values = config.to_plain()
    values["sources"] = [store_tokens(lake, folder / "rows.bin", folder / "rows.idx", "rows")]
    config = run_config(values)
    create_run(lake, config)
    return config


def test_an_overflow_is_told_and_skipped(tmp_path: Path, lake: Lake, train: Callable[..., Outcome]) -> None:
    scaler = {"kind": "deepspeed", "initial": 2.0**21, "window": 4, "hysteresis": 1}
    config = small_run(lake, tmp_path / "text", precision="fp16", scaler=scaler)
    assert train(lake, config) == "finished"
    trace = losses(lake, config)
    skipped = [record for record in trace if record.skipped]
    assert len(skipped) >= 2
    assert all(record.gradient_norm is None and "overflowed at loss scale" in record.cause for record in skipped)
    assert [event["step"] for event in events(lake, config, "skip")] == [record.step - 1 for record in skipped]
    # A skipped step halves the scale, and moves no schedule.
    assert trace[0].skipped and trace[1].scale == 2.0**20 and trace[1].learning_rate == trace[0].learning_rate
    last = read_checkpoint(lake, config.key, config.training.steps).trainer
    assert last["updates"] == config.training.steps - len(skipped)


def test_a_scale_that_cannot_fall_further_ends_the_run(
    tmp_path: Path, lake: Lake, train: Callable[..., Outcome]
) -> None:
    scaler = {"kind": "deepspeed", "initial": 2.0**30, "minimum": 2.0**30, "window": 4, "hysteresis": 1}
    config = small_run(lake, tmp_path / "text", precision="fp16", scaler=scaler)
    with pytest.raises(RuntimeError, match="smallest loss scale"):
        train(lake, config)
    assert events(lake, config, "error")[-1]["error"] == "ScaleExhausted"


def test_validation_leaves_the_training_as_it_is(tmp_path: Path, train: Callable[..., Outcome]) -> None:
    without, with_it = lakes(tmp_path, "without", "with")
    plain = small_run(without, tmp_path / "text", "opt", shape={"dropout": 0.1})
    small_run(with_it, tmp_path / "text again", "opt", shape={"dropout": 0.1})
    values = plain.to_plain()
    values["training"]["validation"] = {"every": 5, "sequences": 16}
    config = run_config({**values, "validation_sources": values["sources"]})
    create_run(with_it, config)
    train(without, plain)
    train(with_it, config)
    taken = {record.step: record.validation_loss for record in losses(with_it, config) if record.validation_loss}
    assert list(taken) == [5, 10, 15, 20, 24] and taken[5] - taken[24] >= 0.5
    assert [r.loss for r in losses(with_it, config)] == [r.loss for r in losses(without, plain)]
    ends = [read_checkpoint(lake, one.key, 24) for lake, one in ((without, plain), (with_it, config))]
    assert ends[0].files == ends[1].files


def test_asked_to_save_and_to_stop(tmp_path: Path, train: Callable[..., Outcome]) -> None:
    unbroken, asked = lakes(tmp_path, "unbroken", "asked")
    config = small_run(unbroken, tmp_path / "text", "opt", shape={"dropout": 0.1})
    small_run(asked, tmp_path / "text again", "opt", shape={"dropout": 0.1})
    train(unbroken, config)

    requests = []

    def wish(kind: str, **values: Any) -> Callable[[], object]:
        return lambda: requests.append(ask(asked, config.key, kind, "ann", **values))

    # What is asked in a step is heard after it.
    at = {"train.step.4": wish("save_now"), "train.step.6": wish("stop", save=True)}
    assert train(asked, config, at) == "stopped"
    assert committed_steps(asked, config.key) == [0, 4, 5, 7]
    assert train(asked, config, {"train.step.9": wish("stop", save=False)}) == "stopped"
    # Not saved at 10: what was done since the last checkpoint is done again.
    assert committed_steps(asked, config.key)[-1] == 8
    assert train(asked, config) == "finished"

    assert same_end(unbroken, asked, config)
    assert [event["step"] for event in events(asked, config, "launch", "resume")] == [0, 7, 8]
    assert [(event["step"], event["who"]) for event in events(asked, config, "stop")] == [(7, "ann"), (10, "ann")]
    answers = [read_answer(asked, config.key, request.id) for request in requests]
    assert [(one.outcome, one.step) for one in answers if one] == [("done", 5), ("done", 7), ("done", 10)]


def test_a_signal_is_as_good_as_a_stop_with_save(tmp_path: Path, train: Callable[..., Outcome]) -> None:
    unbroken, told = lakes(tmp_path, "unbroken", "told")
    config = small_run(unbroken, tmp_path / "text")
    small_run(told, tmp_path / "text again")
    train(unbroken, config)
    assert train(told, config, {"train.update.5": lambda: signal.raise_signal(signal.SIGTERM)}) == "terminated"
    assert committed_steps(told, config.key)[-1] == 6
    assert train(told, config) == "finished"
    assert same_end(unbroken, told, config)


def test_a_signal_is_heard_between_micro_batches(tmp_path: Path, train: Callable[..., Outcome]) -> None:
    """A step may take longer than there is time to save. What it had computed is dropped, dropout's draws with it."""
    unbroken, told = lakes(tmp_path, "unbroken", "told")
    config = small_run(unbroken, tmp_path / "text", "opt", shape={"dropout": 0.1})
    small_run(told, tmp_path / "text again", "opt", shape={"dropout": 0.1})
    train(unbroken, config)
    before, begun = len(losses(told, config)), []

    def signal_in_the_middle(engine: NativeEngine) -> Callable[[Any], float]:
        accumulate = engine.accumulate

        def heard(micro_batches: Any) -> float:
            if len(begun) == 5:
                watch = engine.on_micro_batch
                engine.on_micro_batch = lambda: (watch(), signal.raise_signal(signal.SIGTERM))  # type: ignore[assignment, return-value]
            begun.append(len(micro_batches))
            return accumulate(micro_batches)

        return heard

    assert train(told, config, change=lambda engine: setattr(engine, "accumulate", signal_in_the_middle(engine)))
    assert begun[-1] > 1 and committed_steps(told, config.key)[-1] == 5 and not before
    assert events(told, config, "terminated")[-1]["step"] == 5
    assert train(told, config) == "finished"
    assert same_end(unbroken, told, config)


def test_save_now_is_answered_when_the_checkpoint_is_there(
    tmp_path: Path, lake: Lake, train: Callable[..., Outcome]
) -> None:
    config = small_run(lake, tmp_path / "text", steps=6, checkpoints={"kind": "every", "every": 100})
    requests: list[Request] = []
    answered_before: list[bool] = []

    def look() -> None:
        if requests:
            answered_before.append(read_answer(lake, config.key, requests[0].id) is not None)

    wish = lambda: requests.append(ask(lake, config.key, "save_now", "ann"))  # noqa: E731
    assert train(lake, config, {"train.step.2": wish, "checkpoint.before_manifest": look}) == "finished"
    assert answered_before[0] is False
    answer = read_answer(lake, config.key, requests[0].id)
    assert answer is not None and (answer.outcome, answer.step) == ("done", 3)
    assert 3 in committed_steps(lake, config.key)


def test_a_stop_while_the_run_is_starting_is_heard(tmp_path: Path, lake: Lake, train: Callable[..., Outcome]) -> None:
    config = small_run(lake, tmp_path / "text")
    wish = lambda: ask(lake, config.key, "stop", "ann", save=True)  # noqa: E731
    assert train(lake, config, {"train.before_first_checkpoint": wish}) == "stopped"
    assert committed_steps(lake, config.key) == [0]


def test_a_skip_that_leaves_too_little_is_refused(tmp_path: Path, lake: Lake, train: Callable[..., Outcome]) -> None:
    """An event stands for good, so that it would end every later launch too."""
    config = small_run(lake, tmp_path / "text")
    values = {"cause": "a slip of the keys", "first": 50, "stop": 100_000}
    requests: list[Request] = []
    wish = lambda: requests.append(ask(lake, config.key, "skip_data", "ann", **values))  # noqa: E731
    assert train(lake, config, {"train.step.6": wish}) == "finished"
    answer = read_answer(lake, config.key, requests[0].id)
    assert answer is not None and answer.outcome == "refused"
    assert "the 24 steps of the run would end at sequence" in answer.reason
    assert read_events(lake, config.key) == []


def test_a_change_is_an_event_and_is_replayed(tmp_path: Path, train: Callable[..., Outcome]) -> None:
    """Asked for in mid-run, and then the run is lost back to before it; the unbroken run is given the same event."""
    changed, killed = lakes(tmp_path, "changed", "killed")
    config = small_run(killed, tmp_path / "text", "opt", shape={"dropout": 0.1})
    small_run(changed, tmp_path / "text again", "opt", shape={"dropout": 0.1})

    def change_and_stop() -> None:
        ask(killed, config.key, "change", "ann", cause="the loss rises", learning_rate_factor=0.25, clip=0.5)
        ask(killed, config.key, "stop", "ann", save=False)

    assert train(killed, config, {"train.step.6": change_and_stop}) == "stopped"
    assert committed_steps(killed, config.key)[-1] == 4
    for number, moment in enumerate((Moment("train.update.6"), Moment("train.step.14"))):
        assert launch(killed, config, LAYOUT, tmp_path / f"killed {number}", moment) != 0
    finish(killed, config, LAYOUT, tmp_path / "last")

    [event] = read_events(killed, config.key)
    assert isinstance(event, Change) and event.step == 7
    for entry in killed.list(f"runs/{config.key}/events"):
        changed.write(entry.path, killed.read(entry.path))
    train(changed, config)
    assert same_end(changed, killed, config)
    scheduled = config.training.schedule.at
    for record in losses(killed, config):
        factor = 0.25 if record.step > event.step else 1.0
        assert record.learning_rate == scheduled(record.step - 1) * factor
    assert [one["step"] for one in events(killed, config, "course")] == [event.step]


def test_a_spike_without_a_policy_is_kept(tmp_path: Path, lake: Lake, train: Callable[..., Outcome]) -> None:
    config = noisy_run(lake, tmp_path / "rows", None)
    train(lake, config)
    noisy = [record for record in losses(lake, config) if record.step in (15, 16)]
    assert all(record.loss is not None and record.loss > 5 and not record.skipped for record in noisy)
    assert losses(lake, config)[13].loss < 4  # type: ignore[operator]


def test_a_spike_is_skipped(tmp_path: Path, lake: Lake, train: Callable[..., Outcome]) -> None:
    config = noisy_run(lake, tmp_path / "rows", {**CALM, "skip": True, "patience": 8})
    train(lake, config)
    trace = losses(lake, config)
    assert [record.step for record in trace if record.skipped] == [15, 16]
    assert all("standard deviations" in record.cause for record in trace if record.skipped)
    assert [(event["step"], event["cause"]) for event in events(lake, config, "skip")] == [
        (record.step - 1, record.cause) for record in trace if record.skipped
    ]
    assert read_checkpoint(lake, config.key, 24).trainer["updates"] == 22


def test_a_spike_lowers_the_rate(tmp_path: Path, lake: Lake, train: Callable[..., Outcome]) -> None:
    config = noisy_run(lake, tmp_path / "rows", {**CALM, "skip": True, "patience": 2, "lower": 0.5})
    train(lake, config)
    trace = losses(lake, config)
    assert [(event["event"], event["step"]) for event in events(lake, config, "skip", "lower")] == [
        ("skip", 14),
        ("lower", 15),
    ]
    scheduled = config.training.schedule.at
    assert [record.learning_rate for record in trace[16:]] == [scheduled(step - 2) * 0.5 for step in range(16, 24)]
    assert [record.learning_rate for record in trace[:14]] == [scheduled(step) for step in range(14)]


# With a checkpoint after every step, several are kept while the spike lasts.
@pytest.mark.parametrize(("every", "to"), [(4, 12), (1, 14)])
def test_a_spike_turns_the_run_back(
    tmp_path: Path, lake: Lake, train: Callable[..., Outcome], every: int, to: int
) -> None:
    config = noisy_run(lake, tmp_path / "rows", ROLLBACK, every)
    train(lake, config)
    [event] = read_events(lake, config.key)
    assert event == Rollback(to, event.cause, 15, to * BATCH, 16 * BATCH, 0.5)
    [told] = events(lake, config, "rollback")
    assert (told["step"], told["to"], told["cause"]) == (15, to, event.cause) and "for 2 steps" in event.cause
    trace = losses(lake, config)
    assert [record.first_sequence for record in trace] == [
        step * BATCH if step < to else (step + 16 - to) * BATCH for step in range(24)
    ]
    assert max(record.loss for record in trace[to:] if record.loss) < 5
    assert [record.learning_rate for record in trace[to:]] == [
        config.training.schedule.at(step) * 0.5 for step in range(to, 24)
    ]


@pytest.mark.parametrize(
    "points",
    [
        # From the event on, the next launch finds itself on the new course.
        ("train.rollback", "train.rollback.decided", "train.step.13"),
        ("train.rollback.given_up", "train.update.17"),
    ],
)
def test_a_rollback_that_is_broken_off_ends_the_same(
    tmp_path: Path, train: Callable[..., Outcome], points: tuple[str, ...]
) -> None:
    unbroken, killed = lakes(tmp_path, "unbroken", "killed")
    config = noisy_run(unbroken, tmp_path / "rows", ROLLBACK)
    noisy_run(killed, tmp_path / "rows again", ROLLBACK)
    train(unbroken, config)
    for point in points:
        assert launch(killed, config, LAYOUT, tmp_path / point, Moment(point)) != 0
    finish(killed, config, LAYOUT, tmp_path / "last")
    assert same_end(unbroken, killed, config)
    assert len(read_events(killed, config.key)) == 1


def test_what_is_kept_out_of_turn_is_nothing_to_go_back_to(tmp_path: Path, train: Callable[..., Outcome]) -> None:
    unbroken, told = lakes(tmp_path, "unbroken", "told")
    config = noisy_run(unbroken, tmp_path / "rows", ROLLBACK)
    noisy_run(told, tmp_path / "rows again", ROLLBACK)
    train(unbroken, config)
    assert train(told, config, {"train.update.13": lambda: signal.raise_signal(signal.SIGTERM)}) == "terminated"
    assert committed_steps(told, config.key)[-1] == 14
    train(told, config)
    assert same_end(unbroken, told, config)


def test_a_spike_that_is_met_again_turns_the_run_further_back(
    tmp_path: Path, lake: Lake, train: Callable[..., Outcome]
) -> None:
    """Two checkpoints back each time: what it may need is kept whole."""
    policy = {**ROLLBACK, "rollback": 2, "lower": 1.0, "limit": 3}
    config = noisy_run(lake, tmp_path / "rows", policy, every=2, noise=range(16 * BATCH, 24 * BATCH))
    train(lake, config)
    turns = [event for event in read_events(lake, config.key) if isinstance(event, Rollback)]
    assert len(turns) >= 2 and [turn.step for turn in turns] == sorted((turn.step for turn in turns), reverse=True)
    assert committed_steps(lake, config.key)[-1] == 24


def test_a_rollback_that_leaves_too_little_data_says_so(
    tmp_path: Path, lake: Lake, train: Callable[..., Outcome]
) -> None:
    config = noisy_run(lake, tmp_path / "rows", ROLLBACK, rows=24 * BATCH)
    with pytest.raises(Diverged, match=r"but then the 24 steps of the run would end at sequence 224 of 192"):
        train(lake, config)
    assert read_events(lake, config.key) == []


def test_a_policy_that_is_at_its_end_fails_the_run(tmp_path: Path, lake: Lake, train: Callable[..., Outcome]) -> None:
    config = noisy_run(lake, tmp_path / "rows", {**CALM, "skip": False, "patience": 2})
    with pytest.raises(Diverged, match=r"step 16: .* for 2 steps"):
        train(lake, config)
    assert events(lake, config, "error")[-1]["error"] == "Diverged"


def test_a_manifest_of_rubbish_is_passed_over(tmp_path: Path, train: Callable[..., Outcome]) -> None:
    """Also where the course has events, so that every checkpoint is asked whether it lies on it."""
    unbroken, broken = lakes(tmp_path, "unbroken", "broken")
    config = noisy_run(unbroken, tmp_path / "rows", ROLLBACK)
    noisy_run(broken, tmp_path / "rows again", ROLLBACK)
    train(unbroken, config)
    launch(broken, config, LAYOUT, tmp_path / "first", Moment("train.after_update.21"))
    newest = committed_steps(broken, config.key)[-1]
    broken.write(f"{checkpoint_folder(config.key, newest)}/manifest.json", b"{}")
    train(broken, config)
    assert same_end(unbroken, broken, config)
    assert [event["step"] for event in events(broken, config, "checkpoint_refused")] == [newest]


def test_a_run_without_a_good_checkpoint_does_not_begin_anew_by_itself(
    tmp_path: Path, lake: Lake, train: Callable[..., Outcome]
) -> None:
    config = small_run(lake, tmp_path / "text")
    launch(lake, config, LAYOUT, tmp_path / "first", Moment("train.step.17"))
    steps = committed_steps(lake, config.key)
    for step in steps:
        lake.write(f"{checkpoint_folder(config.key, step)}/manifest.json", b"{}")
    with pytest.raises(Corrupt, match=f"none of its checkpoints {re.escape(str(steps))}"):
        train(lake, config)
    assert [event["step"] for event in events(lake, config, "checkpoint_refused")] == steps[::-1]


@pytest.mark.parametrize(
    ("checkpoints", "steps", "spikes", "full"),
    [
        ({"kind": "every", "every": 4}, 24, None, 1),
        ({"kind": "every", "every": 4}, 24, {**ROLLBACK, "rollback": 0}, 1),
        ({"kind": "every", "every": 4}, 24, {**ROLLBACK, "rollback": 2, "limit": 4}, 2 + 3 + 1 + 1),
        ({"kind": "every", "every": 4}, 24, {**ROLLBACK, "patience": 16}, 1 + 4 + 1),
        ({"kind": "pythia", "every": 1000}, 143000, {**ROLLBACK, "patience": 16}, 1 + 4 + 1),
    ],
)
def test_as_many_checkpoints_stay_whole_as_a_rollback_may_need(
    lake: Lake, tmp_path: Path, checkpoints: dict[str, Any], steps: int, spikes: dict[str, Any] | None, full: int
) -> None:
    """What is kept while the spike lasts, one out of turn, as many as it goes back, and as many as it goes further back
    each time that the spike is met again at once.
    """
    config = small_run(lake, tmp_path / "text", steps=steps, checkpoints=checkpoints, spikes=spikes)
    assert whole_checkpoints(config.training) == full
