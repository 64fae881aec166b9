"""Requests to a run: told once, answered once, in order, through kills, restarts and a store that is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.store.errors import NotThere, StoreUnavailable
from infra.store.lake import Entry, Lake
from model.run.events import Change, Course, SkipData, read_events
from model.supervision.control import INTERVAL, Control, Request, ask, read_answer
from model.supervision.progress import OUTAGE_INTERVAL

RUN = "run"


class Clock:
    """Time that passes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(str(tmp_path / "lake"))


def launch(lake: Lake, name: str = "one") -> tuple[Control, Clock]:
    clock = Clock()
    return Control(lake, RUN, name, clock), clock


def pending(lake: Lake) -> list[str]:
    return [entry.path for entry in lake.list(f"runs/{RUN}/control/requests")]


def test_requests_are_told_once_in_order_and_answered(lake: Lake) -> None:
    control, clock = launch(lake)
    assert control.poll(0) == []
    asked = [ask(lake, RUN, "save_now", "ann"), ask(lake, RUN, "stop", "bob", save=True)]
    clock.now += INTERVAL
    assert control.poll(3) == asked and asked[1].save
    clock.now += INTERVAL
    assert control.poll(4) == []
    assert read_answer(lake, RUN, asked[0].id) is None
    control.answer(asked[0].id, 4, "done")
    answer = read_answer(lake, RUN, asked[0].id)
    assert answer is not None and (answer.outcome, answer.step, answer.launch) == ("done", 4, "one") and answer.time
    # The first answer stands.
    control.answer(asked[0].id, 9, "refused")
    assert read_answer(lake, RUN, asked[0].id) == answer
    assert len(pending(lake)) == 1


def test_the_store_is_asked_at_most_once_in_an_interval(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    control, clock = launch(lake)
    listed: list[str] = []
    found = Lake.list

    def listing(self: Lake, prefix: str) -> Iterator[Entry]:
        listed.append(prefix)
        return found(self, prefix)

    monkeypatch.setattr(Lake, "list", listing)
    for _ in range(1000):
        control.poll(0)
        clock.now += INTERVAL / 100
    assert 9 <= len(listed) <= 10


def test_a_store_that_is_away_is_asked_again(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    control, clock = launch(lake)
    asked = [ask(lake, RUN, "save_now", "ann"), ask(lake, RUN, "save_now", "bob")]
    read = Lake.read_json

    def unavailable(self: Lake, path: str) -> Any:
        if path == f"runs/{RUN}/control/requests/{asked[1].id}.json":
            raise StoreUnavailable("away")
        return read(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "read_json", unavailable)
        assert control.poll(0) == asked[:1]
    clock.now += INTERVAL
    assert control.poll(1) == [], "each try may keep a step waiting"
    clock.now += OUTAGE_INTERVAL - INTERVAL
    assert control.poll(1) == asked[1:]


def test_a_stop_older_than_the_launch_has_expired(lake: Lake) -> None:
    stop, save = ask(lake, RUN, "stop", "ann", save=True), ask(lake, RUN, "save_now", "ann")
    control, clock = launch(lake, "two")
    later = ask(lake, RUN, "stop", "ann")
    assert control.poll(7) == [save, later]
    answer = read_answer(lake, RUN, stop.id)
    assert answer is not None and (answer.outcome, answer.step, answer.launch) == ("expired", 7, "two")
    assert len(pending(lake)) == 2


def test_a_kill_between_answer_and_deletion_repeats_nothing(lake: Lake) -> None:
    request = ask(lake, RUN, "save_now", "ann")
    path = pending(lake)[0]
    kept = lake.read(path)
    control, _ = launch(lake)
    assert control.poll(5) == [request]
    control.answer(request.id, 5, "done")
    lake.write(path, kept)
    again, _ = launch(lake, "two")
    assert again.poll(6) == [] and pending(lake) == []
    answer = read_answer(lake, RUN, request.id)
    assert answer is not None and answer.launch == "one"


def test_a_change_becomes_an_event_and_then_an_answer(lake: Lake) -> None:
    control, _ = launch(lake)
    request = ask(lake, RUN, "change", "ann", cause="loss rises", learning_rate_factor=0.5, clip=0.3)
    assert control.poll(41) == [request]
    course = control.accept(request, Course(4), 50)
    assert course.events == (Change(50, "loss rises", "ann", None, 0.5, 0.3, request.id),)
    assert Course(4, read_events(lake, RUN)).events == course.events
    answer = read_answer(lake, RUN, request.id)
    assert answer is not None and (answer.outcome, answer.step) == ("done", 50)


def test_a_kill_between_event_and_answer_records_it_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    control, _ = launch(lake)
    request = ask(lake, RUN, "change", "ann", cause="loss rises", clip=0.3)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Control, "answer", _killed)
        control.accept(request, Course(4), 50)
    course = Course(4, read_events(lake, RUN))
    assert [event.step for event in course.events] == [50]
    control, _ = launch(lake, "two")
    assert control.poll(48) == [request]
    assert control.accept(request, course, 53).events == course.events == Course(4, read_events(lake, RUN)).events
    assert read_answer(lake, RUN, request.id) is not None


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


def test_data_is_left_out_when_it_has_not_been_read(lake: Lake) -> None:
    control, _ = launch(lake)
    late = ask(lake, RUN, "skip_data", "ann", cause="bad crawl", first=100, stop=200)
    course = control.accept(late, Course(4), 50)
    assert course.events == ()
    answer = read_answer(lake, RUN, late.id)
    assert answer is not None and answer.outcome == "refused" and "up to 200 were read" in answer.reason
    timely = ask(lake, RUN, "skip_data", "ann", cause="bad crawl", first=100, stop=201)
    assert control.accept(timely, course, 50).events == (SkipData(50, "bad crawl", "ann", 100, 201, timely.id),)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("wish", {}, "request.kind is 'wish'"),
        ("change", {"clip": 0.3}, "cause is empty"),
        ("change", {"cause": "c"}, "give learning_rate"),
        ("change", {"cause": "c", "clip": -1.0}, "clip is -1.0"),
        ("change", {"cause": "c", "colour": 1}, "no field 'colour'"),
        ("skip_data", {"cause": "c", "first": 5}, "first or stop is missing"),
        ("skip_data", {"cause": "c", "first": 5, "stop": 5}, "sequences 5 to 5"),
    ],
)
def test_what_cannot_be_is_told_to_who_asks(lake: Lake, kind: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask(lake, RUN, kind, "ann", **values)
    assert pending(lake) == []


@pytest.mark.parametrize("data", [b"{", b"{}", b'{"id":"other","kind":"stop","who":"x","time":"y"}'])
def test_an_object_that_is_no_request_is_refused_and_harms_nobody(lake: Lake, data: bytes) -> None:
    control, _ = launch(lake)
    lake.write(f"runs/{RUN}/control/requests/20260101.json", data)
    good = ask(lake, RUN, "save_now", "ann")
    assert control.poll(3) == [good]
    answer = read_answer(lake, RUN, "20260101")
    assert answer is not None and answer.outcome == "refused" and "20260101.json" in answer.reason


def test_a_request_taken_back_is_not_told(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    control, _ = launch(lake)
    request: Request = ask(lake, RUN, "stop", "ann")
    read = Lake.read_json

    def gone(self: Lake, path: str) -> Any:
        if path.endswith(f"requests/{request.id}.json"):
            raise NotThere(path)
        return read(self, path)

    monkeypatch.setattr(Lake, "read_json", gone)
    assert control.poll(0) == []
