"""The account of a launch: lines that no kill shows twice, accounts of killed launches, and what a run cost."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from infra.store.errors import StoreUnavailable
from infra.store.lake import Lake
from model import train
from model.accounting import launch as launching
from model.accounting.account import SILENT, Account, attempts, read_accounts, write_account
from model.accounting.clock import Split
from model.accounting.energy import Energy, LastingMeter
from model.accounting.launch import Accounting, flops_of, open_accounting
from model.accounting.memory import Memory, memory_held
from model.accounting.metrics import MetricsRecord, ModelFlops, metrics_log, read_metrics
from model.accounting.rank_info import RankInfo, rank_info_of_process
from model.accounting.summary import consumption, run_cost
from model.architectures.registry import model_config
from model.layout import Layout
from model.observers.observer import Observers
from model.observers.records import StepRecord
from model.observers.tensorboard import EventFiles, masked_crc
from model.presets import preset
from tests.model.support.small import small_run

FLOPS = ModelFlops(1000.0, "full attention, 6 N + 12 L d S", 1e9)
RECORD = MetricsRecord(
    1, 1, 100.0, 0.5, 512.0, 5.12e5, 0.5, "convention", Memory(1, 2, "resident"), Split(1, 2, 3, 4, 5), 7.5, "measured"
)
NOW = 1100.0  # when ACCOUNT was written
SECONDS = 60  # far above what a thread takes to be heard of
ACCOUNT = Account(
    id="aaaa",
    launch="aaaa",
    machine=0,
    state="running",
    started=1000.0,
    updated=1100.0,
    seconds=100.0,
    device="cuda",
    device_name="NVIDIA A100-SXM4-80GB",
    devices=2,
    rated_watts=400.0,
    first_step=0,
    step=10,
    taken=10,
    energy=(Energy(3.6e6, "measured", "NVML"),),
    notes=(),
)


def span(first: int, last: int) -> MetricsRecord:
    return replace(RECORD, first_step=first, step=last)


class Meter:
    """Ten joules more at every reading."""

    def __init__(self) -> None:
        self.joules = 0.0

    def read(self) -> Energy:
        self.joules += 10
        return Energy(self.joules, "measured", "a counter")


def test_metrics_survive_to_the_bit_and_no_step_is_in_two(lake: Lake) -> None:
    metrics = metrics_log(lake, "run")
    metrics.begin(0)
    records = [replace(span(1, 3), seconds=0.1 + 0.2), span(4, 4), span(5, 8)]
    metrics.add(records[0])
    metrics.add(records[1])
    metrics.flush()
    metrics.commit(4)
    assert read_metrics(lake, "run") == records[:2], "the tail repeats what the checkpoint kept, and is not read twice"
    metrics.add(records[2])
    metrics.flush()
    assert read_metrics(lake, "run") == records


def test_a_resumed_run_shows_no_step_that_was_lost(lake: Lake) -> None:
    killed = metrics_log(lake, "run")
    killed.begin(0)
    for step in (4, 8):
        killed.add(span(step - 3, step))
        killed.commit(step)
    killed.add(span(9, 10))
    killed.flush()
    resumed = metrics_log(lake, "run")
    resumed.begin(4)
    assert read_metrics(lake, "run") == [span(1, 4)]
    resumed.add(span(5, 6))
    resumed.flush()
    assert read_metrics(lake, "run") == [span(1, 4), span(5, 6)]


def test_utilisation_is_never_without_its_convention() -> None:
    assert FLOPS.describe(4.5e8) == "MFU 45.0% (full attention, 6 N + 12 L d S)"
    assert replace(FLOPS, peak=None).describe(4.5e8) == "MFU unknown (full attention, 6 N + 12 L d S)"
    with pytest.raises(ValueError, match="convention is empty"):
        ModelFlops(1.0, "", None)


def test_masked_checksums_are_tensorflows() -> None:
    # RFC 3720, appendix B.4: 32 bytes of zeros, of ones, and 0 to 31; unmasked as `crc32c.h` describes.
    for data, expected in ((bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)):
        turned = (masked_crc(data) - 0xA282EAD8) & 0xFFFFFFFF
        assert ((turned >> 17) | (turned << 15)) & 0xFFFFFFFF == expected


def scalars(lake: Lake, purge: bool = True) -> dict[str, list[tuple[int, float, float]]]:
    """Tag → (step, time, value), as TensorBoard's own reader has it."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    folder = lake.local_path("runs/run/tensorboard")
    read = accumulator(str(folder), size_guidance={"scalars": 0}, purge_orphaned_data=purge).Reload()
    return {tag: [(one.step, one.wall_time, one.value) for one in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_tensorboard_reads_every_value(lake: Lake) -> None:
    events = EventFiles(lake, "run", interval=0.0)
    events.begin(0)
    values = {}
    for step in range(1, 301):
        values[step] = (1e9 + step / 7, {"loss": 10 / step, "norm": -1e-40 * step, "rate": 1e300 if step == 2 else 3.0})
        events.on_scalars(step, *values[step])
        if step in (1, 128, 256):
            events.commit(step)
        elif step % 50 == 0:
            events.flush()
    events.flush()
    read = scalars(lake)
    with np.errstate(over="ignore"):
        for tag in ("loss", "norm", "rate"):
            expected = [(step, time, float(np.float32(one[tag]))) for step, (time, one) in values.items()]
            assert read[tag] == expected
    assert set(read) == {"loss", "norm", "rate"}


@pytest.mark.parametrize("purge", [True, False])
def test_tensorboard_shows_no_step_twice_after_a_resume(lake: Lake, purge: bool) -> None:
    killed = EventFiles(lake, "run", interval=0.0)
    killed.begin(0)
    for step in range(1, 13):
        killed.on_scalars(step, 1000.0 + step, {"loss": float(step)})
        if step in (4, 8):
            killed.commit(step)
    killed.flush()
    # The newest checkpoint is corrupt: the run goes on from the one before it.
    resumed = EventFiles(lake, "run", interval=0.0)
    resumed.begin(4)
    for step in range(5, 11):
        resumed.on_scalars(step, 2000.0 + step, {"loss": -float(step)})
    resumed.flush()
    expected = [(step, 1000.0 + step, float(step)) for step in range(1, 5)]
    expected += [(step, 2000.0 + step, -float(step)) for step in range(5, 11)]
    assert scalars(lake, purge)["loss"] == expected


def test_tensorboard_follows_a_running_run(lake: Lake) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    events = EventFiles(lake, "run", interval=0.0)
    events.begin(0)
    events.on_scalars(1, 1.0, {"loss": 1.0})
    events.flush()
    read = accumulator(str(lake.local_path("runs/run/tensorboard")))
    for step in range(2, 9):
        assert [one.step for one in read.Reload().Scalars("loss")] == list(range(1, step))
        events.on_scalars(step, float(step), {"loss": float(step)})
        events.commit(step) if step == 4 else events.flush()


def test_memory_is_the_kernels_and_the_peak_stays(tmp_path: Path) -> None:
    before = memory_held("cpu")
    held = bytearray(b"x") * (64 << 20)
    during = memory_held("cpu")
    assert during.current - before.current >= 60 << 20 and during.of == "resident"
    del held
    after = memory_held("cpu")
    # The kernel gathers its count from several places, and may be some pages late.
    assert after.peak >= during.current - (1 << 20) > after.current
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t  123 kB\nVmHWM:\t  456 kB\n")
    assert memory_held("cpu", tmp_path / "status") == Memory(123 * 1024, 456 * 1024, "resident")
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t  123 kB\n")
    with pytest.raises(ValueError, match="no line VmHWM"):
        memory_held("cpu", tmp_path / "status")


def test_seats_are_torchruns() -> None:
    assert rank_info_of_process({}) == RankInfo(0, 0, 0, 1)
    torchrun = {"RANK": "5", "GROUP_RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}
    assert rank_info_of_process(torchrun) == RankInfo(rank=5, machine=1, local_rank=1, local_ranks=4)


def step(number: int, loss: float = 1.0) -> StepRecord:
    return StepRecord(number, loss, 0.5, 1e-3, 512 * number, "0" * 64, 0, 0.1)


def accounting(
    lake: Lake, launch: str, info: RankInfo | None = None, window: float = 0.0
) -> tuple[Accounting, Observers]:
    """The account of a launch whose engine is made, and TensorBoard beside it on rank 0."""
    info = info or RankInfo()
    one = Accounting(lake, "run", info, "cpu", 512, FLOPS, meters=[Meter()], window=window)
    others = [] if info.rank else [EventFiles(lake, "run", interval=0.0)]
    one.join(launch, others)
    return one, Observers([one, *others])


def test_a_launch_from_begin_to_end(lake: Lake) -> None:
    one, observers = accounting(lake, "aaaa")
    with one, one.watching():
        observers.begin(0)
        for number in range(1, 5):
            with one.clock.measure("compute"):
                pass
            observers.on_step_end(step(number, 1 / number))
            if number == 3:
                observers.commit(3)
        observers.close("finished")
    records = read_metrics(lake, "run")
    assert [(record.first_step, record.step) for record in records] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert one.latest == records[-1]
    for record in records:
        assert record.tokens_per_second == pytest.approx(512 / record.seconds)
        assert record.mfu == pytest.approx(512 * 1000 / record.seconds / 1e9)
        assert record.split.total == pytest.approx(record.seconds, abs=0.05) and record.split.compute > 0
        assert record.joules is not None and record.joules >= 10 and record.energy == "measured"
    tags = scalars(lake)
    assert [value for *_, value in tags["train/loss"]] == [float(np.float32(1 / number)) for number in range(1, 5)]
    assert [value for *_, value in tags["speed/tokens_per_second"]] == [
        float(np.float32(record.tokens_per_second)) for record in records
    ]
    [account] = read_accounts(lake, "run")
    assert (account.state, account.first_step, account.step, account.taken) == ("finished", 0, 4, 4)
    assert account.devices == 1 and account.energy[0].basis == "measured"


@pytest.mark.parametrize("readings", range(6))
def test_a_meter_that_fails_ends_no_training(lake: Lake, readings: int) -> None:
    """At any of its readings: when the launch begins, at a window's end, in an account, when the launch has failed."""

    class Failing(Meter):
        def read(self) -> Energy:
            if self.joules == 10 * (readings + 1):
                raise OSError("GPU is lost")
            return super().read()

    meters = [LastingMeter(Failing(), 100.0, (OSError,))]
    one = Accounting(lake, "run", RankInfo(), "cpu", 512, FLOPS, meters=meters, window=0.0)
    one.begin(0)
    for number in (1, 2, 3):
        one.on_step_end(step(number))
    one.close("failed")
    [account] = read_accounts(lake, "run")
    fails = readings < 5
    assert (account.state, account.taken) == ("failed", 3)
    assert account.energy[0].basis == ("estimated" if fails else "measured")
    assert [note.partition(";")[0] for note in account.notes] == ["a counter failed (GPU is lost)"] * fails
    joules = [record.joules for record in read_metrics(lake, "run")]
    assert len(joules) == 3 and all(one is not None and one >= 0 for one in joules)


def test_steps_of_a_window_share_its_record(lake: Lake) -> None:
    _, observers = accounting(lake, "aaaa", window=3600.0)
    observers.begin(7)
    for number in range(8, 13):
        observers.on_step_end(step(number))
        if number == 10:
            observers.commit(10)
        observers.flush()
    assert read_metrics(lake, "run")[0].first_step == 8, "the checkpoint keeps what is known before it"
    observers.close("stopped")
    assert [(record.first_step, record.step) for record in read_metrics(lake, "run")] == [(8, 10), (11, 12)]
    assert [number for number, *_ in scalars(lake)["train/loss"]] == [8, 9, 10, 11, 12]


def test_only_the_first_rank_of_a_machine_keeps_an_account(lake: Lake) -> None:
    for info in (RankInfo(0, 0, 0, 2), RankInfo(1, 0, 1, 2), RankInfo(2, 1, 0, 2), RankInfo(3, 1, 1, 2)):
        _, observers = accounting(lake, "aaaa", info)
        observers.begin(0)
        observers.on_step_end(step(1))
        observers.close("finished")
    assert [(one.launch, one.machine) for one in read_accounts(lake, "run")] == [("aaaa", 0), ("aaaa", 1)]
    assert len(read_metrics(lake, "run")) == 1 and len(scalars(lake)["train/loss"]) == 1
    accounts = read_accounts(lake, "run")
    [made] = attempts(accounts, 1, NOW)
    joules = [account.energy[0].joules or 0.0 for account in accounts]
    assert len(joules) == 2 and made.energy == Energy(sum(joules), "measured", "2 × a counter")
    assert made.devices == 4 and made.device_seconds == sum(2 * account.seconds for account in accounts)


class Watched(Meter):
    """Tells when it has been read some more times, which the thread that keeps the account does before each writing."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Condition()

    def read(self) -> Energy:
        with self.asked:
            self.asked.notify_all()
            return super().read()

    def wait(self, more: int) -> None:
        with self.asked:
            enough = self.joules + 10 * more
            assert self.asked.wait_for(lambda: self.joules >= enough, SECONDS)


def test_a_launch_that_hangs_is_on_record_to_within_seconds(lake: Lake) -> None:
    meter = Watched()
    with Accounting(lake, "run", RankInfo(), "cpu", 512, FLOPS, meters=[meter], interval=0.0) as one:
        [opened] = read_accounts(lake, "run")
        assert (opened.state, opened.first_step, opened.launch) == ("starting", None, opened.id)
        meter.wait(2)  # the second reading comes after the first writing
        [starting] = read_accounts(lake, "run")
        assert starting.seconds > opened.seconds and starting.energy[0].joules > opened.energy[0].joules  # type: ignore[operator]
        one.join("aaaa")
        one.begin(0)
        one.on_step_end(step(1))
        # Here the main thread hangs in the second step, and is killed.
        meter.wait(2)
        [hanging] = read_accounts(lake, "run")
        assert (hanging.state, hanging.launch, hanging.step, hanging.taken) == ("running", "aaaa", 1, 1)
        meter.wait(2)
        [later] = read_accounts(lake, "run")
        assert later.seconds > hanging.seconds
        [attempt] = attempts([later], 0, later.updated + SILENT + 1)
        assert (attempt.state, attempt.lost, attempt.seconds) == ("killed", 1, later.seconds)
        one.close("stopped")


def test_a_launch_that_dies_before_its_engine_is_made_is_counted(lake: Lake) -> None:
    with pytest.raises(MemoryError):
        with Accounting(lake, "run", RankInfo(), "cpu", 512, FLOPS, meters=[Meter()]):
            raise MemoryError
    [made] = run_cost(lake, "run").attempts
    assert (made.state, made.first_step, made.taken) == ("failed", None, 0)
    assert made.wasted == made.device_seconds == made.seconds > 0 and made.energy.joules == 20


def test_the_command_opens_the_account_first(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_run(lake, tmp_path / "text")

    def make_engine(*_: object) -> None:
        [account] = read_accounts(lake, config.key)
        assert account.state == "starting"
        raise RuntimeError("NCCL error")

    monkeypatch.setattr(train, "make_engine", make_engine)
    layout = json.dumps(Layout().to_plain())
    arguments = ["--lake", lake.uri, "--run-key", config.key, "--layout", layout, "--cache", str(tmp_path / "cache")]
    monkeypatch.setattr("sys.argv", ["model.train", *arguments])
    with pytest.raises(RuntimeError, match="NCCL"):
        train.main()
    [account] = read_accounts(lake, config.key)
    assert account.state == "failed" and account.seconds > 0


def test_a_store_that_is_away_ends_no_training(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    meter, write = Watched(), Lake.write

    def away(*_: object) -> None:
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(Lake, "write", away)
    often = {"window": 0.0, "interval": 0.0, "flush_interval": 0.0}
    with Accounting(lake, "run", RankInfo(), "cpu", 512, FLOPS, meters=[meter], **often) as one:
        one.begin(0)
        one.on_step_end(step(1))
        one.flush()
        meter.wait(2)
        assert read_accounts(lake, "run") == [] == read_metrics(lake, "run")
        assert "the account of this launch is not up to date: no answer" in capsys.readouterr().err
        monkeypatch.setattr(Lake, "write", write)
        meter.wait(2)
        [account] = read_accounts(lake, "run")
        assert (account.state, account.taken) == ("running", 1)
        one.on_step_end(step(2))
        one.flush()
        assert [record.step for record in read_metrics(lake, "run")] == [1, 2], "nothing is missing"
        monkeypatch.setattr(Lake, "write", away)
        one.close("finished")
    assert one.latest is not None and one.latest.step == 2


def test_a_killed_launch_is_known_by_the_next_or_by_its_silence() -> None:
    killed = replace(ACCOUNT, id="a", launch="a", state="starting", first_step=None, step=0, taken=0)
    after = replace(ACCOUNT, id="b", launch="b", started=2000.0, updated=2100.0)
    made = attempts([killed, after], 8, 2100.0 + SILENT)
    assert [(one.state, one.kept, one.wasted) for one in made] == [("killed", 0, 200.0), ("running", 10, 0.0)]
    made = attempts([killed, after], 8, 2101.0 + SILENT)
    assert [(one.state, one.kept, one.wasted) for one in made] == [("killed", 0, 200.0), ("killed", 8, 40.0)]
    [alone] = attempts([killed], 0, NOW)
    assert (alone.state, alone.wasted) == ("starting", 0.0)


def test_machines_that_never_met_are_launches_of_their_own(lake: Lake) -> None:
    machines = [
        Accounting(lake, "run", RankInfo(8 * machine, machine, 0, 8), "cpu", 512, FLOPS, meters=[Meter()])
        for machine in (0, 1)
    ]
    for one in machines:
        one.close("failed")
    made = run_cost(lake, "run").attempts
    assert [(one.state, one.devices) for one in made] == [("failed", 8), ("failed", 8)]


def test_steps_that_were_computed_again_are_lost() -> None:
    killed = replace(ACCOUNT, id="a", launch="a", started=1.0, step=10, taken=10)
    failed = replace(ACCOUNT, id="b", launch="b", started=2.0, state="failed", first_step=8, step=13, taken=5)
    nothing = replace(ACCOUNT, id="c", launch="c", started=3.0, state="failed", first_step=None, step=0, taken=0)
    earlier = replace(ACCOUNT, id="d", launch="d", started=4.0, state="finished", first_step=6, step=20, taken=17)
    made = attempts([earlier, killed, nothing, failed], newest_checkpoint=20, now=NOW)
    assert [(one.launch, one.state, one.kept, one.lost) for one in made] == [
        ("a", "killed", 6, 4),
        ("b", "failed", 0, 5),  # its steps 9 to 13 stand on a checkpoint that was passed over
        ("c", "failed", 0, 0),
        ("d", "finished", 14, 3),  # it rolled three steps back itself
    ]
    assert sum(one.kept for one in made) == 20
    assert [one.wasted for one in made] == pytest.approx([80.0, 200.0, 200.0, 200 * 3 / 17])


@pytest.mark.parametrize(
    ("state", "newest", "kept"), [("running", 8, 10), ("failed", 8, 8), ("finished", 10, 10), ("stopped", 10, 10)]
)
def test_of_the_newest_launch_counts_what_a_checkpoint_holds(state: str, newest: int, kept: int) -> None:
    [made] = attempts([replace(ACCOUNT, state=state)], newest, NOW)  # type: ignore[arg-type]
    assert (made.kept, made.lost) == (kept, 10 - kept)


def test_an_account_survives_to_the_bit(lake: Lake) -> None:
    account = replace(ACCOUNT, seconds=0.1 + 0.2, first_step=None, rated_watts=None, notes=("a note",))
    write_account(lake, "run", account)
    assert read_accounts(lake, "run") == [account]


@pytest.mark.parametrize(
    ("model", "gpu_hours", "megawatt_hours", "tonnes"),
    [
        ("llama-7b", 82_432, 36, 14),
        ("llama-13b", 135_168, 59, 23),
        ("llama-33b", 530_432, 233, 90),
        ("llama-65b", 1_022_362, 449, 173),
        ("opt-175b", 809_472, 356, 137),
        ("bloom-175b", 1_082_880, 475, 183),
    ],
)
def test_llamas_table_of_carbon(lake: Lake, model: str, gpu_hours: float, megawatt_hours: float, tonnes: float) -> None:
    """Touvron et al. 2023, table 15, whose megawatt-hours are the data centre's; 1 % off at most (BLOOM's 476.5)."""
    write_account(lake, "run", replace(ACCOUNT, state="finished", seconds=gpu_hours * 3600, devices=1))
    found = run_cost(lake, "run")
    assert found.gpu_hours == gpu_hours
    assert found.rated.kilowatt_hours is not None and found.rated.basis == "estimated"
    assert found.rated.kilowatt_hours * 1.1 / 1000 == pytest.approx(megawatt_hours, abs=1.6)
    assert found.rated.tonnes_co2e == pytest.approx(tonnes, abs=0.5)


def test_the_cost_of_a_run_says_what_it_does_not_know(lake: Lake) -> None:
    assert run_cost(lake, "none").metered.kilowatt_hours is None and run_cost(lake, "none").wasted_share == 0
    unknown = Energy(None, "unknown", "no meter and no rated power for 2 × ARM")
    write_account(lake, "run", ACCOUNT)
    processor = {"device": "cpu", "rated_watts": None, "energy": (unknown,), "notes": ("ask root",), "state": "failed"}
    write_account(lake, "run", replace(ACCOUNT, id="bbbb", launch="bbbb", started=2000.0, **processor))  # type: ignore[arg-type]
    found = run_cost(lake, "run")
    assert (found.gpu_hours, found.cpu_hours) == (200 / 3600, 200 / 3600)
    assert (found.metered.kilowatt_hours, found.metered.basis, found.unmetered) == (1.0, "measured", 1)
    assert found.metered.tonnes_co2e == pytest.approx(1 / 1000 * 1.1 * 0.385)
    assert found.rated.kilowatt_hours == pytest.approx(400 * 200 / 3.6e6), "the formula is about GPUs"
    assert (found.notes, found.wasted_share, found.steps_lost) == (("ask root",), 1.0, 20)
    assert consumption(Energy(None, "unknown", "")).tonnes_co2e is None


def test_what_is_written_is_plain_json(lake: Lake) -> None:
    metrics = metrics_log(lake, "run")
    metrics.add(replace(RECORD, mfu="unknown", joules=None, energy="unknown"))
    metrics.commit(1)
    [line] = lake.read("runs/run/metrics/step-000001.jsonl").splitlines()
    assert json.loads(line)["mfu"] == "unknown" and json.loads(line)["split"]["data"] == 1
    assert read_metrics(lake, "run")[0].joules is None


def test_the_arithmetic_of_a_run_and_what_its_device_could_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: Pythia 1.4B at 2,048, 49.0K tokens/s are 45 % of an H200 in the full-attention convention."""
    config = model_config(preset("pythia-1.4b")["model"])
    monkeypatch.setattr(launching, "device_name", lambda device: "NVIDIA H200")
    flops = flops_of(config, 2048, "bf16", Layout(device="cuda"))
    share = flops.utilisation(49_000 * flops.per_token)
    assert share == pytest.approx(0.45, abs=0.001) and "full attention" in flops.convention
    layout = Layout(engine="deepspeed", data=4, tensor=2, device="cuda")
    assert flops_of(config, 2048, "bf16", layout).peak == 8 * 989e12
    monkeypatch.setattr(launching, "device_name", lambda device: "NVIDIA H200 NVL")
    assert flops_of(config, 2048, "bf16", Layout(device="cuda")).utilisation(1e15) == "unknown"


def test_a_run_on_this_processor_claims_no_utilisation(lake: Lake, tmp_path: Path) -> None:
    config = small_run(lake, tmp_path / "text")
    one = open_accounting(lake, config, Layout())
    one.begin(0)
    one.on_step_end(step(1))
    one.close("finished")
    [record] = read_metrics(lake, config.key)
    assert record.mfu == "unknown" and record.flops_per_second > 0
    [account] = read_accounts(lake, config.key)
    assert (account.device, account.devices, account.rated_watts) == ("cpu", 1, None)
    assert account.energy[0].basis in ("measured", "unknown")
