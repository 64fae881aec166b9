"""Requests to a training run: save now, stop, change the learning rate or the clip, skip data.

    runs/<key>/control/requests/<id>.json   a pending request
    runs/<key>/control/answers/<id>.json    its outcome, with the launch, the step and the time

The answer is written before the request is deleted. A launch that is killed in between does not answer twice.
"""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from infra.store.errors import Corrupt, NotThere, StoreUnavailable
from infra.store.lake import Lake
from infra.store.schema import Count, Time, sound_object
from model.configuration import from_plain, require, to_plain
from model.run.events import Change, Course, Event, SkipData, record
from model.supervision.progress import OUTAGE_INTERVAL

Outcome = Literal["done", "expired", "refused"]
# Minimum seconds between two polls of the store: a step may take milliseconds.
INTERVAL = 1.0


@dataclass(frozen=True)
class Request:
    """A request to a run. `time` is in UTC; ids sort by it.

    `save` applies to a stop request; `learning_rate`, `learning_rate_factor` and `clip` to a change. `skip_data` skips
    the sequences [first, stop).
    """

    id: str
    kind: Literal["save_now", "stop", "change", "skip_data"]
    who: str
    time: str
    cause: str = ""
    save: bool = False
    learning_rate: float | None = None
    learning_rate_factor: float | None = None
    clip: float | None = None
    first: int | None = None
    stop: int | None = None

    def __post_init__(self) -> None:
        # Reject wrong values where the request is made, before it reaches a run.
        if self.kind in ("change", "skip_data"):
            require(self.cause != "", f"{self.kind}: cause is empty; give the reason, the run's event log stores it")
            _event(self, 0)


@dataclass(frozen=True)
class Answer:
    """The outcome of a request: `done`, `expired` (a stop older than the launch) or `refused`, with the reason."""

    outcome: Outcome
    step: Count
    launch: str
    time: Time
    reason: str = ""


def ask(lake: Lake, run: str, kind: str, who: str, **values: Any) -> Request:
    """Write a request to a run. Raises ValueError for an invalid value and then writes nothing."""
    now = datetime.datetime.now(datetime.UTC)
    identity = f"{now:%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:8]}"
    plain = {"id": identity, "kind": kind, "who": who, "time": now.isoformat(timespec="milliseconds"), **values}
    request = from_plain(Request, plain, "request")
    lake.write_json(f"{_requests(run)}/{identity}.json", to_plain(request))
    return request


def read_answer(lake: Lake, run: str, request: str) -> Answer | None:
    """The answer to a request, or None while it is pending; a damaged answer is none."""
    return sound_object(lake, f"{_answers(run)}/{request}.json", Answer)


class Control:
    """Polls requests between steps, on rank 0 of a launch. `clock` is in seconds.

    A stop request from before the launch has expired, because the run was started again after it.
    """

    def __init__(self, lake: Lake, run: str, launch: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.lake, self.run, self.launch, self._clock = lake, run, launch, clock
        self._older = set(self._pending(lake))
        self._asked = clock() - INTERVAL
        self._told: set[str] = set()

    def poll(self, step: int) -> list[Request]:
        """New requests, oldest first. The caller must answer each.

        Polls the store at most once in INTERVAL; an unavailable store is polled again after OUTAGE_INTERVAL. `step` is
        the number of steps taken. It is recorded in the answers that this method writes itself: to expired stops and
        to malformed requests.
        """
        if self._clock() - self._asked < INTERVAL:
            return []
        self._asked = self._clock()
        requests: list[Request] = []
        # An unavailable store must not stop training: the requests stay in it until the next poll.
        try:
            for identity in self._pending(self.lake.impatient()):
                if identity not in self._told:
                    requests += self._new(identity, step)
                    self._told.add(identity)
        except StoreUnavailable:
            self._asked = self._clock() + OUTAGE_INTERVAL - INTERVAL
        return requests

    def answer(self, request: str, step: int, outcome: Outcome, reason: str = "") -> None:
        """Write the answer to a request unless it has one, and delete the request."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        answer = Answer(outcome, step, self.launch, now, reason)
        if read_answer(self.lake, self.run, request) is None:
            self.lake.write_json(f"{_answers(self.run)}/{request}.json", asdict(answer))
        self.lake.delete(f"{_requests(self.run)}/{request}.json")

    def accept(
        self, request: Request, course: Course, step: int, objection: Callable[[Course], str] = lambda course: ""
    ) -> Course:
        """Record a change as an event from update `step` (0-based) on, answer the request, and return the new course.

        No launch may have passed `step`. A request whose event a killed launch has already recorded is only answered.
        A request is refused, and the course unchanged, when it would have no effect or when `objection(course)` returns
        a reason ("" for none): a recorded event is permanent.
        """
        if course.has(request.id):
            self.answer(request.id, step, "done", "recorded before")
            return course
        event = _event(request, step)
        if isinstance(event, SkipData) and event.stop <= (reached := course.next_sequence(step)):
            self.answer(
                request.id,
                step,
                "refused",
                f"sequences up to {reached} were read before step {step}; skip later ones",
            )
            return course
        if reason := objection(course.following(event)):
            self.answer(request.id, step, "refused", reason)
            return course
        course = record(self.lake, self.run, self.launch, course, event)
        self.answer(request.id, step, "done")
        return course

    def _pending(self, lake: Lake) -> list[str]:
        entries = lake.list(_requests(self.run))
        return [entry.path.rpartition("/")[2].removesuffix(".json") for entry in entries]

    def _new(self, identity: str, step: int) -> list[Request]:
        """The request with that id; an empty list when it is answered here or already."""
        path, lake = f"{_requests(self.run)}/{identity}.json", self.lake.impatient()
        if read_answer(lake, self.run, identity) is not None:
            self.lake.delete(path)
            return []
        try:
            request = from_plain(Request, lake.read_json(path), path)
            require(request.id == identity, f"{path}: id is {request.id!r}; it must be the file's name; ask again")
        except NotThere:  # deleted since the listing
            return []
        except (Corrupt, ValueError) as error:
            self.answer(identity, step, "refused", str(error))
            return []
        if request.kind == "stop" and identity in self._older:
            self.answer(identity, step, "expired", "the stop was requested before this launch began")
            return []
        return [request]


def _event(request: Request, step: int) -> Event:
    if request.kind == "skip_data":
        first, stop = request.first, request.stop
        if first is None or stop is None:
            raise ValueError("skip_data: first or stop is missing; give both, the range [first, stop) to skip")
        return SkipData(step, request.cause, request.who, first, stop, request.id)
    return Change(
        step,
        request.cause,
        request.who,
        request.learning_rate,
        request.learning_rate_factor,
        request.clip,
        request.id,
    )


def _requests(run: str) -> str:
    return f"runs/{run}/control/requests"


def _answers(run: str) -> str:
    return f"runs/{run}/control/answers"
