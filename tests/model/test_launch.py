"""Layouts, the command, and a rank's death with its parent."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from model.launch import Layout, launch_command
from model.trainer import share

ROOT = Path(__file__).resolve().parents[2]


def test_every_sequence_of_a_step_is_read_once_whatever_the_layout() -> None:
    """Micro-steps are consecutive, and a rank takes one stretch of each (GPT-NeoX, `samplers.py`)."""
    sequences = range(24, 48)
    for ranks, micro_batch in ((1, 24), (1, 2), (2, 3), (4, 2), (4, 6)):
        accumulation = Layout("deepspeed", ranks, micro_batch).accumulation(24)
        shares = [share(sequences, rank, ranks, micro_batch) for rank in range(ranks)]
        assert {len(one) for one in shares} == {accumulation}
        assert [index for step in range(accumulation) for one in shares for index in one[step]] == list(sequences)


@pytest.mark.parametrize(
    ("engine", "ranks", "micro_batch", "message"),
    [("native", 2, 1, "one process"), ("deepspeed", 0, 1, "at least 1"), ("jax", 1, 1, "must be 'native'")],
)
def test_bad_layouts_are_refused(engine: str, ranks: int, micro_batch: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Layout(engine, ranks, micro_batch)  # type: ignore[arg-type]


def test_uneven_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        Layout("deepspeed", 2, 3).accumulation(8)


def test_command_is_understood_by_torchrun() -> None:
    command = launch_command("lake", "key", Layout("deepspeed", 2, 1), Path("cache"))
    # torchrun reads its own options first, and takes abbreviations; ours must not look like one.
    from torch.distributed.run import parse_args

    parsed = parse_args(command[command.index("torch.distributed.run") + 1 :])
    assert (parsed.nproc_per_node, parsed.training_script) == ("2", "model.train")
    assert parsed.training_script_args[:4] == ["--lake", "lake", "--run-key", "key"]


def test_a_rank_dies_with_its_launcher() -> None:
    rank = (
        "import signal; from model.launch import die_with_parent; die_with_parent(); "
        "print('ready', flush=True); signal.pause()"
    )
    parent = (
        "import subprocess, sys; rank = subprocess.Popen([sys.executable, '-c', sys.argv[1]]); "
        "print(rank.pid, flush=True); rank.wait()"
    )
    launcher = subprocess.Popen([sys.executable, "-c", parent, rank], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    first, second = launcher.stdout.readline().split(), launcher.stdout.readline().split()
    pid = int(first[0] if second == ["ready"] else second[0])
    descriptor = os.pidfd_open(pid)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    assert select.select([descriptor], [], [], 10)[0], "the rank is still there ten seconds after its launcher"
    os.close(descriptor)


def test_model_stands_without_deepspeed_prefect_and_arrow() -> None:
    program = (
        "import sys, model.train, model.scoring; "
        "found = {'deepspeed', 'prefect', 'pyarrow', 'pydantic', 'ray'} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
