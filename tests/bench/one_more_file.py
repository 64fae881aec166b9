"""What one more file costs: 20 files of 1,000 documents are built, then a file more, in the same lake.

    python -m tests.bench.one_more_file

The documents are those of `tests.bench.scale`. Seconds are those of the units that each of the two builds ran.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

from infra.engine.pool import LocalPool
from infra.store.lake import Lake
from infra.store.manifest import marker_from_json
from tests.bench.records import RECORDER, write_record
from tests.bench.report import machine, versions
from tests.bench.scale import corpus_of, write_lines

FILES, PER_FILE = 20, 1_000


def main() -> None:
    """Build twice, print and record the seconds of every stage."""
    with tempfile.TemporaryDirectory(prefix="millrace-one-more-") as name, LocalPool(2) as pool:
        folder = Path(name)
        (folder / "in").mkdir()
        write_lines(folder / "in", (FILES + 1) * PER_FILE, PER_FILE)
        last = max((folder / "in").iterdir())
        last.rename(folder / last.name)
        lake = Lake.open(str(folder / "lake"))
        corpus_of(folder / "in", lake, pool)
        whole = seconds(lake)
        (folder / last.name).rename(last)
        corpus_of(folder / "in", lake, pool)
        more = seconds(lake)
    more = {stage: value - whole[stage] for stage, value in more.items()}
    for stage, first in sorted(whole.items()):
        print(f"{stage:16} {first:8.2f} s, then {more[stage]:8.2f} s")
    share = sum(more.values()) / sum(whole.values())
    print(f"one more file of {1 / FILES:.0%} costs {share:.1%}")
    about = "a build of 20 files, then one with a file more, in the same lake"
    RECORDER.start(name="one_more_file", about=about, machine=machine(), versions=versions(["pyarrow", "numba"]))
    RECORDER.set(files=FILES, documents=PER_FILE, whole=whole, more=more, share=share)
    write_record(RECORDER.finish("python -m tests.bench.one_more_file"))


def seconds(lake: Lake) -> dict[str, float]:
    """Seconds of all units in the lake by stage."""
    found = defaultdict[str, float](float)
    for entry in lake.list("markers"):
        marker = marker_from_json(lake.read_json(entry.path), entry.path)
        found[entry.path.split("/")[1]] += marker.seconds
    return dict(found)


if __name__ == "__main__":
    main()
