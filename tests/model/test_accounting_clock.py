"""The clock of a step: parts that add up, nested blocks, and collectives of PyTorch and DeepSpeed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import torch
from torch import distributed

from model.accounting.clock import EXCHANGE, Split, StepClock, watch_collectives
from model.parallel.collectives import all_reduced


def readings(*values: float) -> Callable[[], float]:
    left = iter(values)
    return lambda: next(left)


def ticks() -> Callable[[], float]:
    """A clock that is one second later each time it is read."""
    numbers = itertools.count()
    return lambda: float(next(numbers))


@pytest.fixture(scope="module")
def alone() -> Iterator[None]:
    """A gloo group of this process alone."""
    distributed.init_process_group(
        "gloo", store=distributed.HashStore(), rank=0, world_size=1, timeout=timedelta(seconds=60)
    )
    yield
    distributed.destroy_process_group()


def test_parts_add_up_and_a_block_inside_takes_its_time_away() -> None:
    clock = StepClock(readings(0, 1, 4, 6, 10, 15, 16, 20))
    with clock.measure("data"):  # 1 … 4
        pass
    with clock.measure("compute"):  # 6 …
        with clock.measure("communication"):  # 10 … 15
            pass
    # … 16
    assert clock.take() == Split(data=3, compute=5, communication=5, saving=0, other=7)


def test_taking_begins_anew_even_inside_a_block() -> None:
    clock = StepClock(readings(0, 1, 3, 7, 8))
    with clock.measure("saving"):
        first = clock.take()
    assert first == Split(0, 0, 0, saving=2, other=1)
    assert clock.take() == Split(0, 0, 0, saving=4, other=1)
    assert first.total == 3


def test_an_error_leaves_the_clock_right() -> None:
    clock = StepClock(ticks())
    with pytest.raises(RuntimeError):
        with clock.measure("compute"), clock.measure("communication"):
            raise RuntimeError
    clock.take()
    assert clock.take() == Split(0, 0, 0, 0, other=1)


class Event:
    """A CUDA event that the device reaches when the test says so."""

    def __init__(self, at: float, reached: bool = True) -> None:
        self.at, self.reached = at, reached

    def query(self) -> bool:
        return self.reached

    def elapsed_time(self, end: Event) -> float:
        return (end.at - self.at) * 1000


def test_communication_on_the_device_is_taken_out_of_compute() -> None:
    clock = StepClock(readings(0, 0, 10, 10, 10, 20, 20))
    late = Event(9, reached=False)
    with clock.measure("compute"):
        clock.add_device_span(Event(1), Event(3))
        clock.add_device_span(Event(5), late)
    assert clock.take() == Split(0, compute=8, communication=2, saving=0, other=0)
    late.reached = True
    with clock.measure("compute"):
        pass
    assert clock.take() == Split(0, compute=6, communication=4, saving=0, other=0)


def exchanges(x: torch.Tensor) -> dict[str, Callable[[], Any]]:
    return {
        "all_reduce": lambda: distributed.all_reduce(x),
        "all_reduce awaited": lambda: distributed.all_reduce(x, async_op=True).wait(),
        "all_gather": lambda: distributed.all_gather([torch.empty_like(x)], x),
        "all_gather_into_tensor": lambda: distributed.all_gather_into_tensor(torch.empty_like(x), x),
        "reduce_scatter_tensor": lambda: distributed.reduce_scatter_tensor(torch.empty_like(x), x),
        "broadcast": lambda: distributed.broadcast(x, 0),
        "reduce": lambda: distributed.reduce(x, 0),
        "gather": lambda: distributed.gather(x, [torch.empty_like(x)]),
        "scatter": lambda: distributed.scatter(x, [torch.ones_like(x)]),
        "all_to_all_single": lambda: distributed.all_to_all_single(torch.empty_like(x), x),
        "objects": lambda: distributed.all_gather_object([None], {"a": 1}),
        "barrier": lambda: distributed.barrier(),
        "ours": lambda: all_reduced(x, None),
    }


@pytest.mark.parametrize("name", exchanges(torch.ones(2)))
def test_every_exchange_is_communication(alone: None, name: str) -> None:
    clock = StepClock(ticks())
    exchange = exchanges(torch.ones(2))[name]
    with clock.measure("compute"):
        exchange()
    assert clock.take().communication == 0, "outside of the watch nothing is touched"
    with watch_collectives(clock, "cpu"), clock.measure("compute"):
        exchange()
    assert clock.take().communication > 0
    with clock.measure("compute"):
        exchange()
    assert clock.take().communication == 0, "and the watch leaves nothing behind"


def test_deepspeeds_collectives_are_seen_too(alone: None) -> None:
    deepspeed = pytest.importorskip("deepspeed")
    # What DeepSpeed would compile for half a minute, as in `model.engine.deepspeed`.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    clock, x = StepClock(ticks()), torch.ones(2)
    with watch_collectives(clock, "cpu"):
        for exchange in (
            lambda: deepspeed.comm.all_reduce(x),
            lambda: deepspeed.comm.allgather_fn(torch.empty(2), x),
            lambda: deepspeed.comm.reduce_scatter_fn(torch.empty(2), x),
            lambda: deepspeed.comm.broadcast(x, 0),
        ):
            exchange()
            assert clock.take().communication > 0


def test_results_are_untouched(alone: None) -> None:
    x = torch.arange(4.0)
    with watch_collectives(StepClock(), "cpu"):
        distributed.all_reduce(x)
        assert distributed.all_reduce(x, async_op=True).wait()
    assert torch.equal(x, torch.arange(4.0))


def test_what_exchanges_is_known_by_its_name() -> None:
    from torch._C._distributed_c10d import ProcessGroup

    watched = {name for name in vars(ProcessGroup) if EXCHANGE.fullmatch(name)}
    assert {
        "allreduce",
        "_allgather_base",
        "broadcast",
        "send",
        "recv",
        "alltoall_base",
        "monitored_barrier",
    } <= watched
    assert not watched & {"size", "rank", "name", "group_desc", "_get_backend", "_set_sequence_number_for_group"}


class Device:
    """A made-up GPU: `time` is when its default stream will have done all that was queued so far."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time, self.stream = 0.0, "default"
        self.recorded = 0
        device = self

        class Recorded(Event):
            def __init__(self, enable_timing: bool = False) -> None:
                super().__init__(-1)

            def record(self) -> None:
                device.recorded += 1
                self.at = device.time

            def wait(self, stream: object = None) -> None:
                device.time = max(device.time, self.at)

            def synchronize(self) -> None:
                device.time = max(device.time, self.at)

        self.event = Recorded
        monkeypatch.setattr(torch.cuda, "Event", Recorded)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: self.stream)
        monkeypatch.setattr(torch.cuda, "default_stream", lambda: "default")
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)

    def reached_at(self, time: float) -> Any:
        """An event that another stream reaches then."""
        event = self.event()
        event.at = time
        return event


def test_on_a_device_the_host_is_not_timed(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch)
    all_reduce = distributed.ProcessGroup.allreduce

    def lasting(*arguments: Any, **named: Any) -> Any:
        device.time += 2
        return all_reduce(*arguments, **named)

    monkeypatch.setattr(distributed.ProcessGroup, "allreduce", lasting)
    clock = StepClock(readings(0, 0, 50, 50))
    with watch_collectives(clock, "cuda"), clock.measure("compute"):
        device.time += 10
        distributed.all_reduce(torch.ones(2))
        device.time += 10
    # A pair around the start, and one around the wait.
    assert device.recorded == 4
    assert clock.take() == Split(0, compute=48, communication=2, saving=0, other=0)


def test_what_a_side_stream_exchanges_is_hidden_until_the_default_stream_waits_for_it(
    alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As DeepSpeed overlaps: its exchanges, and the waits for them, are on a stream of their own."""
    device = Device(monkeypatch)
    clock = StepClock(readings(0, 0, 50, 50, 50, 90, 90))
    with watch_collectives(clock, "cuda"):
        with clock.measure("compute"):
            device.stream = "side"
            distributed.all_reduce(torch.ones(2), async_op=True).wait()
            device.reached_at(30).wait("side")
            assert device.recorded == 0
            device.stream, device.time = "default", 20
            device.reached_at(15).wait()
        assert clock.take() == Split(0, compute=50, communication=0, saving=0, other=0)
        device.time = 30
        with clock.measure("compute"):
            device.reached_at(37).wait()
            device.reached_at(38).synchronize()
        assert clock.take() == Split(0, compute=32, communication=8, saving=0, other=0)
    recorded = device.recorded
    device.reached_at(99).wait()
    torch.cuda.synchronize()
    assert device.recorded == recorded, "the watch leaves nothing behind"


def test_a_streams_waits_are_its_events() -> None:
    """Why no method of streams but `synchronize` is wrapped."""
    awaited: list[object] = []

    class Awaited:
        def wait(self, stream: object) -> None:
            awaited.append(stream)

    class Stream:
        wait_event = torch.cuda.Stream.wait_event

        def record_event(self) -> Awaited:
            return Awaited()

    default, side = Stream(), Stream()
    torch.cuda.Stream.wait_stream(default, side)  # type: ignore[arg-type]
    assert awaited == [default]
