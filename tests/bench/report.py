"""What a benchmark prints: the machine, the versions, the input's size, both sides' figures, the ratio."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.measure import Comparison, Memory, Times, Workload
from tests.bench.records import RECORDER, Compared, Input, Row, Side, spread


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure that was published for another tool, on another machine: `rate` a second for each core."""

    who: str
    rate: float
    unit: str


def print_head(name: str, about: str, workload: Workload[Any], distributions: Sequence[str]) -> None:
    """What is measured, where, and on what. Begins the record of this benchmark."""
    given = Input(
        name=workload.name,
        items=workload.items,
        unit=workload.unit,
        bytes=workload.bytes,
        bytes_of=workload.bytes_of,
    )
    RECORDER.start(name=name, about=about, machine=machine(), versions=versions(distributions), input=given)
    print(f"\n{name}: {about}")
    _print_row("machine", machine())
    _print_row("versions", versions(distributions))
    size = f"{workload.items:,} {workload.unit}, {workload.bytes / 1e6:,.1f} MB {workload.bytes_of}"
    _print_row("input", f"{workload.name}: {size}")


def print_comparison(workload: Workload[Any], ours: str, peer: str, found: Comparison) -> None:
    """Both sides' figures and the ratio."""
    RECORDER.add(
        Compared(
            ours=_recorded(ours, found.ours, found.memory[0]),
            peer=_recorded(peer, found.peer, found.memory[1]),
            ratio=spread(found.ratios.seconds, found.ratios.median),
        )
    )
    _print_row("outputs", f"{ours} and {peer} give the same")
    print_side(workload, ours, found.ours, found.memory[0])
    print_side(workload, peer, found.peer, found.memory[1])
    least, most = found.ratios.spread()
    pairs = len(found.ratios.seconds)
    print(
        f"  {'ratio':<9} {found.ratios.median:.2f} times as fast as {peer} ({least:.2f} to {most:.2f}, {pairs} pairs)"
    )


def print_side(workload: Workload[Any], side: str, times: Times, memory: Memory | None = None) -> None:
    """One side's median, spread and rates, and its memory."""
    least, most = times.spread()
    rate = f"{workload.items / times.median:,.0f} {workload.unit}/s, {workload.bytes / times.median / 1e6:,.2f} MB/s"
    held = "" if memory is None else f"; peak {_mib(memory.peak)} MiB, {_mib(memory.loaded)} of them before it began"
    print(f"  {side}: median {times.median:.3f} s ({least:.3f} to {most:.3f}), {rate}{held}")


def row_of(
    work: str, peer: str, floor: float, workload: Workload[Any], found: Comparison, distributions: Sequence[str]
) -> Row:
    """The row of a comparison in this process, whose outputs were equal; it is recorded."""
    row = Row(
        work=work,
        peer=peer,
        unit=f"{workload.unit}/s",
        floor=floor,
        ours=workload.items / found.ours.median,
        theirs=workload.items / found.peer.median,
        ratio=spread(found.ratios.seconds, found.ratios.median),
        outputs_agree=True,
        agreement=f"all equal, {workload.items:,} {workload.unit}",
        versions=versions(distributions),
        machine=machine(),
    )
    RECORDER.row(row)
    return row


def print_row(row: Row) -> None:
    """One line of the comparison with other projects' tools."""
    if row.ratio is None or row.ours is None or row.theirs is None:
        _print_row(row.peer, f"MISSING, {row.work} was not compared: {row.note}")
        return
    verdict = "reached" if row.ratio.median >= row.floor else "MISSED"
    figures = f"{row.ours:,.1f} against {row.theirs:,.1f} {row.unit}"
    pairs = f"{row.ratio.least:.2f} to {row.ratio.most:.2f}, {row.ratio.count} pairs"
    _print_row(row.peer, f"{row.work}: {figures}, {row.ratio.median:.2f} times ({pairs}); {row.floor:g} {verdict}")
    _print_row("outputs", row.agreement)


def print_bar(bar: Bar, rate: float) -> None:
    """Whether a published figure was reached: `rate` is ours, on one core, in the bar's unit a second."""
    verdict = "reached" if rate >= bar.rate else "missed"
    figures = f"{rate:,.1f} against {bar.rate:g} {bar.unit}/s a core"
    print(f"  {'bar':<9} {bar.who}: {verdict}, {figures} ({rate / bar.rate:.1f} times; their machine and input differ)")


def machine() -> str:
    """Cores that this process may use, memory, architecture, and how busy the machine is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return f"{cores} cores, {memory:.0f} GiB, {platform.machine()}, {platform.system()}; load average {load:.1f}"


def versions(distributions: Sequence[str]) -> str:
    """Python's version, and those of installed distributions."""
    found = [f"{name} {importlib.metadata.version(name)}" for name in ("millrace", *distributions)]
    return ", ".join([f"Python {platform.python_version()}", *found])


def _recorded(name: str, times: Times, memory: Memory) -> Side:
    seconds = spread(times.seconds, times.median)
    return Side(name=name, seconds=seconds, loaded_mib=memory.loaded / 2**20, peak_mib=memory.peak / 2**20)


def _print_row(label: str, text: str) -> None:
    print(f"  {label:<9} {text}")


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f}"
