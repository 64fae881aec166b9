"""The launcher against toy process trees: nothing may be left, however the launch ends."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.launcher import CommandNotFound, GuardLost, Stalled, Watch, carriers, launch

ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}

# A tree like torchrun's: an agent whose ranks stand in sessions of their own, one of them forked twice. Each line is
# written in one piece, for the three share a pipe.
TREE = """
    import os, signal, subprocess, sys, time
    STUBBORN = {stubborn}
    if STUBBORN:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleeper = [sys.executable, "-c", "import os, signal, time\\nif %r: signal.signal(signal.SIGTERM, signal.SIG_IGN)\\n"
               "os.write(1, b'rank' + bytes([10]))\\ntime.sleep(600)" % STUBBORN]
    rank = subprocess.Popen(sleeper, start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv(sleeper[0], sleeper)
        os._exit(0)
    os.wait()
    os.write(1, ("agent " + os.environ["MILLRACE_LAUNCH"] + chr(10)).encode())
    {then}
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code)]


def tree(*, stubborn: bool = False, then: str = "time.sleep(600)") -> list[str]:
    return python(TREE.format(stubborn=stubborn, then=then))


class Collector:
    """Keeps the lines, and calls `then` once the agent and both ranks have spoken."""

    def __init__(self, then: Callable[[], None] | None = None) -> None:
        self.lines: list[str] = []
        self.then = then

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        if self.then is not None and len(self.lines) == 3:
            then, self.then = self.then, None
            assert len(carriers(self.marker)) == 4  # guard, agent, two ranks
            then()

    @property
    def marker(self) -> str:
        return next(line.split()[1] for line in self.lines if line.startswith("agent"))


def interrupt() -> None:
    raise KeyboardInterrupt


def test_exit_code_and_lines(tmp_path: Path) -> None:
    lines: list[str] = []
    code = python("import sys; print('one'); print('zwei ä', file=sys.stderr); sys.stdout.write('last'); sys.exit(7)")
    assert launch(code, environment=ENVIRONMENT, folder=tmp_path, on_line=lines.append) == 7
    assert sorted(lines) == ["last", "one", "zwei ä"]


def test_runs_in_the_folder_with_exactly_the_environment(tmp_path: Path) -> None:
    lines: list[str] = []
    code = python("import os; print(os.getcwd()); print(sorted(n for n in os.environ if n not in ('LC_CTYPE', 'PWD')))")
    assert launch(code, environment=ENVIRONMENT, folder=tmp_path, on_line=lines.append) == 0
    assert lines == [str(tmp_path.resolve()), "['MILLRACE_LAUNCH', 'PATH', 'PYTHONUNBUFFERED']"]


def test_much_output_arrives_whole_and_in_order(tmp_path: Path) -> None:
    lines: list[str] = []
    code = python("for i in range(50_000): print(i)\nprint('x' * 200_000)")
    assert launch(code, environment={"PATH": ENVIRONMENT["PATH"]}, folder=tmp_path, on_line=lines.append) == 0
    assert lines[:50_000] == [str(i) for i in range(50_000)]
    assert sum(map(len, lines[50_000:])) == 200_000


def test_a_signal_is_a_negative_exit_code(tmp_path: Path) -> None:
    code = python("import os; os.kill(os.getpid(), 9)")
    assert launch(code, environment=ENVIRONMENT, folder=tmp_path, on_line=print) == -signal.SIGKILL


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandNotFound, match="no-such-program"):
        launch(["no-such-program"], environment=ENVIRONMENT, folder=tmp_path, on_line=print)


def test_processes_that_outlive_their_command_are_ended(tmp_path: Path) -> None:
    seen = Collector()
    assert launch(tree(then="sys.exit(3)"), environment=ENVIRONMENT, folder=tmp_path, on_line=seen, grace=5) == 3
    assert carriers(seen.marker) == []


def test_keyboard_interrupt_ends_the_tree(tmp_path: Path) -> None:
    seen = Collector(interrupt)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        launch(tree(), environment=ENVIRONMENT, folder=tmp_path, on_line=seen, grace=20)
    assert carriers(seen.marker) == []
    assert time.monotonic() - started < 15  # SIGTERM was enough: the grace was not waited for


def test_a_tree_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    seen = Collector(interrupt)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        launch(tree(stubborn=True), environment=ENVIRONMENT, folder=tmp_path, on_line=seen, grace=1)
    assert carriers(seen.marker) == []
    assert 1 <= time.monotonic() - started < 15


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, also where tests run in processes that ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_command_may_finish_its_work_on_sigterm(tmp_path: Path) -> None:
    code = python("""
        import pathlib, signal, sys, time
        def save(*_):
            time.sleep(0.5)
            pathlib.Path("saved").write_text("whole")
            print("saved")
            sys.exit(0)
        signal.signal(signal.SIGTERM, save)
        print("ready")
        time.sleep(600)
    """)
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        if line == "ready":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        launch(code, environment=ENVIRONMENT, folder=tmp_path, on_line=on_line)
    assert (tmp_path / "saved").read_text() == "whole"


def test_no_first_progress_and_no_further_progress(tmp_path: Path) -> None:
    seen = Collector()
    watch = Watch(lambda: None, startup_seconds=1.5, steady_seconds=600)
    with pytest.raises(Stalled, match="no first sign of progress"):
        launch(tree(stubborn=True), environment=ENVIRONMENT, folder=tmp_path, on_line=seen, watch=watch, grace=0.5)
    assert carriers(seen.marker) == []

    steps = iter([1, 2, 3])
    watch = Watch(lambda: next(steps, 3), startup_seconds=600, steady_seconds=1.5)
    hung = python("import time; time.sleep(600)")
    with pytest.raises(Stalled, match="no progress after 3"):
        launch(hung, environment=ENVIRONMENT, folder=tmp_path, on_line=print, watch=watch)


def test_progress_keeps_a_silent_command_alive(tmp_path: Path) -> None:
    watch = Watch(time.monotonic, startup_seconds=1, steady_seconds=1)
    code = python("import time; time.sleep(2.5)")
    assert launch(code, environment=ENVIRONMENT, folder=tmp_path, on_line=print, watch=watch) == 0


def test_an_error_of_the_callback_ends_the_tree_and_is_raised(tmp_path: Path) -> None:
    def broken() -> None:
        raise OSError("disk full")

    seen = Collector(broken)
    with pytest.raises(OSError, match="disk full"):
        launch(tree(), environment=ENVIRONMENT, folder=tmp_path, on_line=seen)
    assert carriers(seen.marker) == []


def test_a_killed_guard_leaves_nothing(tmp_path: Path) -> None:
    seen: Collector

    def kill_guard() -> None:
        (guard,) = [pid for pid in carriers(seen.marker) if b"guard.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(guard, signal.SIGKILL)

    seen = Collector(kill_guard)
    with pytest.raises(GuardLost):
        launch(tree(stubborn=True), environment=ENVIRONMENT, folder=tmp_path, on_line=seen)
    assert carriers(seen.marker) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("in_thread", [False, True])
def test_the_launchers_death_ends_the_tree(tmp_path: Path, number: signal.Signals, in_thread: bool) -> None:
    flow_code = f"""
        import threading
        from infra.launcher import launch
        def run():
            launch({tree()!r}, environment={ENVIRONMENT!r}, folder={str(tmp_path)!r},
                   on_line=lambda line: print(line, flush=True), grace=3)
        if {in_thread}:
            threading.Thread(target=run).start()
        else:
            run()
    """
    root = str(Path(__file__).parents[2])
    flow = subprocess.Popen(
        python(flow_code),
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with flow:
        try:
            check_that_its_death_ends_the_tree(flow, number)
        finally:
            flow.kill()


def check_that_its_death_ends_the_tree(flow: "subprocess.Popen[str]", number: signal.Signals) -> None:
    assert flow.stdout is not None
    lines = [flow.stdout.readline() for _ in range(3)]
    marker = next(line.split()[1] for line in lines if line.startswith("agent"))
    assert len(carriers(marker)) == 4
    os.killpg(flow.pid, number)  # as Prefect's runner does: the whole group of the flow
    flow.wait(10)
    deadline = time.monotonic() + 10
    while carriers(marker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert carriers(marker) == []


def test_grace_stays_under_prefects_own_kill(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="30 s"):
        launch(["true"], environment=ENVIRONMENT, folder=tmp_path, on_line=print, grace=30)
