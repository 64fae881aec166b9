"""The measuring itself: statistics by hand, refusals, memory; and that the sides of each benchmark agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.demo.crawl import LIBRARY_FILE
from tests.bench import __main__, archives, heuristics, inputs, language, measure, signatures
from tests.bench.measure import (
    DifferentOutputs,
    Memory,
    Side,
    Times,
    Workload,
    alternate,
    compare,
    memory_of,
    ratios,
    refuse_differences,
)
from tests.bench.records import RECORDER
from tests.bench.report import Bar, print_bar, print_comparison, print_head

TEXTS = [
    "The mill stands by the river, and the mill stands by the river; the miller's wheel turns and turns…\n\n- so it is",
    "Die Mühle steht am Fluss, und ihr Rad dreht sich seit dreihundert Jahren ohne eine einzige Pause.\n# Kurz\nKurz",
    "日本語の文章です。水車は川のそばに立っています。",
    "too short",
    " \n",
]
CALLS: list[str] = []


def double(values: list[int]) -> list[int]:
    CALLS.append("double")
    return [2 * value for value in values]


def add(values: list[int]) -> list[int]:
    CALLS.append("add")
    return [value + value for value in values]


def square(values: list[int]) -> list[int]:
    CALLS.append("square")
    return [value * value for value in values]


def fill_memory(size: int) -> int:
    return len(bytearray(b"x") * size)


def workload(values: list[int]) -> Workload[list[int]]:
    return Workload(values, "numbers", len(values), "numbers", 8 * len(values), "of them")


def clock_of(*readings: float) -> Callable[[], float]:
    left: Iterator[float] = iter(readings)
    return lambda: next(left)


def test_pairs_alternate_and_times_are_the_clocks() -> None:
    order: list[str] = []
    ours, peer = alternate(
        [lambda: order.append("ours"), lambda: order.append("peer")],
        3,
        clock_of(0, 1, 10, 14, 20, 22, 30, 31, 40, 43, 50, 59),
    )
    assert order == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert ours == Times((1, 1, 3)) and peer == Times((4, 2, 9))
    assert ours.median == 1 and ours.spread() == (1, 3)
    assert ratios(ours, peer) == Times((4, 2, 3))


def test_the_ratio_is_of_pairs_and_not_of_medians() -> None:
    assert ratios(Times((1.0, 10.0, 100.0)), Times((5.0, 20.0, 100.0))).median == 2.0
    assert Times((1.0, 2.0, 4.0, 9.0)).median == 3.0
    with pytest.raises(ValueError):
        ratios(Times((1.0,)), Times((1.0, 2.0)))


def test_different_outputs_are_refused_before_anything_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "alternate", lambda *_: pytest.fail("it was timed"))
    with pytest.raises(DifferentOutputs, match="output 2 differs: ours gives 6, theirs gives 9"):
        compare(workload([0, 2, 3]), Side("ours", double, double), Side("theirs", square, square))


@pytest.mark.parametrize(
    "left, right, message",
    [
        ([1, 2], [1, 2, 3], "a gives 2 outputs, b gives 3"),
        ([1, 2, 3], [1, 2], "a gives 3 outputs, b gives 2"),
        ([], [], "nothing for this input"),
        ([0.1 + 0.2], [0.3], "output 0 differs"),
    ],
)
def test_refusals_name_the_place(left: list[Any], right: list[Any], message: str) -> None:
    with pytest.raises(DifferentOutputs, match=message):
        refuse_differences("a", left, "b", right)


def test_a_comparison_from_end_to_end(capsys: pytest.CaptureFixture[str]) -> None:
    CALLS.clear()
    given = workload(list(range(100_000)))
    ours, peer = Side("doubling", double, double), Side("adding", add, add)
    found = compare(given, ours, peer, rounds=2)
    # One call for the outcome and one for each round; those for the memory are in processes of their own.
    assert sorted(CALLS) == ["add"] * 3 + ["double"] * 3
    assert len(found.ours.seconds) == len(found.ratios.seconds) == 2
    print_head("sums", "a test", given, ["numpy"])
    print_comparison(given, ours.name, peer.name, found)
    print_bar(Bar("somebody", 1e-3, "MB"), given.bytes / found.ours.median / 1e6)
    print_bar(Bar("somebody better", 1e9, "MB"), given.bytes / found.ours.median / 1e6)
    record = RECORDER.finish("python -m tests.bench sums")
    assert record.name == "sums" and record.input is not None and record.input.items == 100_000
    [compared] = record.compared
    assert (compared.ours.name, compared.peer.name, compared.ratio.count) == ("doubling", "adding", 2)
    assert compared.ours.seconds.median == found.ours.median and compared.ratio.median == found.ratios.median
    printed = capsys.readouterr().out
    for expected in ("cores", "Python 3.11", "numpy ", "100,000 numbers, 0.8 MB of them", "times as fast as adding"):
        assert expected in printed
    assert "somebody: reached" in printed and "somebody better: missed" in printed


def test_memory_is_that_of_one_run_in_a_new_process() -> None:
    megabytes = 1 << 20
    large: Memory = memory_of(fill_memory, 200 * megabytes)
    # What the imports took for a moment and gave back is reused.
    assert 190 * megabytes <= large.peak - large.loaded < 300 * megabytes
    # What this process or an earlier one holds does not count.
    held = bytearray(b"x") * (600 * megabytes)
    small = memory_of(fill_memory, megabytes)
    assert small.peak < 500 * megabytes < len(held)


def test_the_sides_of_the_text_benchmarks_agree() -> None:
    refuse_differences("ours", signatures.our_signatures(TEXTS), "peer", signatures.datasketch_signatures(TEXTS))
    refuse_differences("ours", heuristics.our_fractions(TEXTS), "peer", heuristics.count_plainly(TEXTS))
    refuse_differences("ours", language.our_languages(TEXTS), "peer", language.identify_one_by_one(TEXTS))
    assert any(sum(row) > 0 for row in heuristics.count_plainly(TEXTS))


def test_archives_are_read_alike_from_the_demo_crawl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(inputs, "CRAWL", tmp_path / "absent")
    paths = inputs.whole_crawl()
    assert [path.name for path in paths] == [LIBRARY_FILE]
    ours = archives.our_records(paths)
    refuse_differences("ours", ours, "warcio", archives.warcio_records(paths))
    refuse_differences("ours", ours, "FastWARC", archives.fastwarc_records(paths))
    assert len(ours) > 100 and archives.read(paths) == archives.read_with_fastwarc(paths)


def test_benchmarks_are_listed_chosen_and_fail_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def agrees() -> None:
        RECORDER.start(name="good", about="a test", machine="this one", versions="none")
        ran.append("good")

    def differs() -> None:
        raise DifferentOutputs("output 7 differs")

    ran: list[str] = []
    runs = {"good": agrees, "bad": differs}
    monkeypatch.setattr(__main__, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(__main__, "BENCHMARKS", {name: name for name in runs})
    monkeypatch.setattr(__main__, "load", lambda name: SimpleNamespace(run=runs[name]))
    assert __main__.main(["good"]) == 0 and ran == ["good"]
    assert [file.name for file in (tmp_path / "results").iterdir()] == ["good.json"]
    assert __main__.main(["--record", str(tmp_path / "kept")]) == 1 and ran == ["good", "good"]
    assert [file.name for file in (tmp_path / "kept").iterdir()] == ["good.json"]
    assert "output 7 differs" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        __main__.main(["fast"])
    assert "there is no benchmark fast: choose from good, bad" in capsys.readouterr().err
    monkeypatch.undo()
    assert __main__.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(__main__.BENCHMARKS)
