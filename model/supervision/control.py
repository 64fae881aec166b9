"""What people ask of a run while it trains: save now, stop, change the rate or clip, leave data out.

    runs/<key>/control/requests/<id>.json   asked, and not answered yet
    runs/<key>/control/answers/<id>.json    by which launch, at which step and when, and what became of it

The answer is written before the request is deleted, so a request is answered once, wherever a launch is killed.
"""

from __future__ import annotations

import contextlib
import datetime
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from infra.store.errors import Corrupt, NotThere, StoreUnavailable
from infra.store.lake import Lake
from model.configuration import from_plain, require, to_plain
from model.run.events import Change, Course, Event, SkipData, record

Outcome = Literal["done", "expired", "refused"]
# A step may take milliseconds; the store is asked at most once in this many seconds.
INTERVAL = 1.0


@dataclass(frozen=True)
class Request:
    """Something asked of a run. `time` is in UTC; ids sort by it.

    `save` is of a stop, the rest of a change: what it is to set, and the sequences `first` up to `stop` to leave out.
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
        # A wrong value is told to whoever asks, before any run hears of it.
        if self.kind in ("change", "skip_data"):
            require(self.cause != "", f"{self.kind}: say why in cause; it stands in the run's records for good")
            _event(self, 0)


@dataclass(frozen=True)
class Answer:
    """What became of a request: `done`, `expired` (a stop older than the launch) or `refused`, with the reason."""

    outcome: Outcome
    step: int
    launch: str
    time: str
    reason: str = ""


def ask(lake: Lake, run: str, kind: str, who: str, **values: Any) -> Request:
    """Ask something of a run. Raises ValueError, and asks nothing, when a value cannot be."""
    now = datetime.datetime.now(datetime.UTC)
    identity = f"{now:%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:8]}"
    plain = {"id": identity, "kind": kind, "who": who, "time": now.isoformat(timespec="milliseconds"), **values}
    request = from_plain(Request, plain, "request")
    lake.write_json(f"{_requests(run)}/{identity}.json", to_plain(request))
    return request


def read_answer(lake: Lake, run: str, request: str) -> Answer | None:
    """The answer to a request, None as long as there is none."""
    try:
        return Answer(**lake.read_json(f"{_answers(run)}/{request}.json"))
    except NotThere:
        return None


class Control:
    """The run's ear: rank 0 of a launch asks between steps what is wanted. `clock` is in seconds.

    Of what was asked before the launch, a stop has expired: whoever started the run again wants it to go on.
    """

    def __init__(self, lake: Lake, run: str, launch: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.lake, self.run, self.launch, self._clock = lake, run, launch, clock
        self._older = set(self._pending())
        self._asked = clock() - INTERVAL
        self._told: set[str] = set()

    def poll(self, step: int) -> list[Request]:
        """Requests not told before, in the order in which they were asked; the caller answers each.

        Asks the store at most once in INTERVAL. `step` counts the steps taken, for the answers that it gives itself:
        to stops that have expired, and to objects that are no requests. A store that does not answer is asked again
        next time.
        """
        if self._clock() - self._asked < INTERVAL:
            return []
        self._asked = self._clock()
        requests: list[Request] = []
        # A store that does not answer is no reason to lose a step: what was asked stands in it until it does.
        with contextlib.suppress(StoreUnavailable):
            for identity in self._pending():
                if identity not in self._told:
                    requests += self._new(identity, step)
                    self._told.add(identity)
        return requests

    def answer(self, request: str, step: int, outcome: Outcome, reason: str = "") -> None:
        """Say once what became of a request."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        answer = Answer(outcome, step, self.launch, now, reason)
        if read_answer(self.lake, self.run, request) is None:
            self.lake.write_json(f"{_answers(self.run)}/{request}.json", asdict(answer))
        self.lake.delete(f"{_requests(self.run)}/{request}.json")

    def accept(
        self, request: Request, course: Course, step: int, objection: Callable[[Course], str] = lambda course: ""
    ) -> Course:
        """Record a change as an event from the step after `step` others on, answer it, and give the new course.

        `step` must be one that no launch has passed. A request that a killed launch has recorded is only answered; one
        that can have no effect, or whose course meets an `objection` (a reason; "" for none), is refused, and the
        course stays as it is: an event stands for good.
        """
        if course.has(request.id):
            self.answer(request.id, step, "done", "recorded before")
            return course
        event = _event(request, step)
        if isinstance(event, SkipData) and event.stop <= (reached := course.next_sequence(step)):
            self.answer(request.id, step, "refused", f"sequences up to {reached} have been read at step {step}")
            return course
        if reason := objection(course.following(event)):
            self.answer(request.id, step, "refused", reason)
            return course
        course = record(self.lake, self.run, self.launch, course, event)
        self.answer(request.id, step, "done")
        return course

    def _pending(self) -> list[str]:
        entries = self.lake.list(_requests(self.run))
        return [entry.path.rpartition("/")[2].removesuffix(".json") for entry in entries]

    def _new(self, identity: str, step: int) -> list[Request]:
        """The request of that id, nothing when it needs no more than an answer that can be given here."""
        path = f"{_requests(self.run)}/{identity}.json"
        if read_answer(self.lake, self.run, identity) is not None:
            self.lake.delete(path)
            return []
        try:
            request = from_plain(Request, self.lake.read_json(path), path)
            require(request.id == identity, f"{path}: the id in it is {request.id!r}")
        except NotThere:  # taken back since the listing
            return []
        except (Corrupt, ValueError) as error:
            self.answer(identity, step, "refused", str(error))
            return []
        if request.kind == "stop" and identity in self._older:
            self.answer(identity, step, "expired", "it was asked before this launch began")
            return []
        return [request]


def _event(request: Request, step: int) -> Event:
    if request.kind == "skip_data":
        first, stop = request.first, request.stop
        if first is None or stop is None:
            raise ValueError("skip_data: give the first sequence to leave out and the one to go on with")
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
