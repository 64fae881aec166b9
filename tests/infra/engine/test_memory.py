"""The limit of a worker's memory: what is stated, what a machine has, and who has too much."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra.engine import memory
from infra.engine.memory import WORKER_MEMORY, MemoryLimit, WrongLimit, machine_bytes, memory_limit, private_bytes

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "size"),
    [("4G", 4 * GIB), ("1.5GiB", 3 * GIB // 2), ("512M", GIB // 2), ("2 GB", 2 * GIB), (str(GIB), GIB)],
)
def test_a_stated_limit(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    monkeypatch.setenv(WORKER_MEMORY, text)
    assert memory_limit(3) == MemoryLimit(size, stated=True)


@pytest.mark.parametrize("text", ["much", "4", "-1G", "1M", "1e9", "G"])
def test_a_wrong_limit_is_refused_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(WORKER_MEMORY, text)
    with pytest.raises(WrongLimit, match="write the memory of a worker as 4G or 512M, at least 64M"):
        memory_limit(3)


def test_without_one_the_workers_share_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WORKER_MEMORY, raising=False)
    found = memory_limit(4)
    assert not found.stated and 0.7 * machine_bytes() < 4 * found.place_bytes < machine_bytes()


def test_a_container_has_what_its_groups_allow(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    groups.write_text("4:cpu,memory:/box/inner\n0::/slice/unit\n3:cpuset:/\n")
    for name, text in {
        "memory/box/inner/memory.limit_in_bytes": "9223372036854771712",
        "memory/box/memory.limit_in_bytes": "300",
        "slice/memory.max": "200",
        "slice/unit/memory.max": "max",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert sorted(memory._group_limits(groups, tmp_path)) == [200, 300, 9223372036854771712]
    assert memory._group_limits(tmp_path / "none", tmp_path) == []


def test_a_stated_limit_holds_for_each_worker() -> None:
    limit = MemoryLimit(10, stated=True)
    assert limit.over({"a": (10, 1), "b": (20, 2)}, places=4) is None
    assert limit.over({"a": (11, 1), "b": (35, 2), "c": (1, 1)}, places=4) == "b"
    assert limit.over({}, places=4) is None


def test_a_share_holds_only_when_the_machine_is_full() -> None:
    limit = MemoryLimit(10, stated=False)
    assert limit.over({"a": (30, 1), "b": (9, 1)}, places=4) is None
    assert limit.over({"a": (32, 1), "b": (9, 1)}, places=4) == "a"


def test_mapped_files_do_not_count_and_programs_of_a_worker_do(tmp_path: Path) -> None:
    size = 64 << 20
    (tmp_path / "mapped").write_bytes(b"x" * size)
    program = (
        "import mmap, subprocess, sys\n"
        "file = open(sys.argv[1], 'rb')\n"
        "mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)\n"
        "sum(mapped[::4096])\n"
        "print(flush=True)\n"
        "sys.stdin.readline()\n"
        f"child = 'import sys; held = bytes([1]) * {size}; print(flush=True); sys.stdin.readline()'\n"
        "subprocess.run([sys.executable, '-c', child])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "mapped"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        before = private_bytes(process.pid)
        assert 0 < before < size // 2
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        assert private_bytes(process.pid) > before + size
        process.communicate("\n")
    assert private_bytes(process.pid) == 0
