"""Runs a function in a child process with a budget: for what could hang or crash the process that calls it.

`python -m infra.child` is the child. It reads a function with its arguments from standard input and writes the result,
or the exception, to the file that its argument names.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from infra.budget import Budget, cause_of_death, limited_memory, start_clock
from infra.guard import die_with_parent
from infra.scratch import scratch_folder

T = TypeVar("T")
# A child that waits, for example for a pipe that nobody writes, uses no processor time.
_IDLE_FACTOR = 10
_NO_MEMORY = 3


class ChildDied(Exception):
    """The child ended without a result: it crashed, was killed, or exceeded its budget."""


def run_in_child(
    function: Callable[..., T], *arguments: Any, budget: Budget | None, environment: Mapping[str, str] = {}
) -> T:
    """Call a function of a module, with arguments that can be pickled, in a new process. Returns its result.

    `environment` has more variables for the process. With a budget, the child also ends after ten times the seconds of
    it. Without one, the function limits itself. Re-raises the function's own exception. Raises ChildDied, with the
    cause, when the process ends without a result, or lacks memory.
    """
    with scratch_folder("child-") as folder:
        answer = folder / "answer"
        # The child finds the modules that this process finds, and none in the current folder (-P).
        command = [sys.executable, "-P", "-m", "infra.child", str(answer)]
        modules = os.pathsep.join(path or os.getcwd() for path in sys.path)
        variables = {**os.environ, **environment, "PYTHONPATH": modules}
        elapsed = None if budget is None else _IDLE_FACTOR * budget.seconds
        try:
            ended = subprocess.run(
                command,
                input=pickle.dumps((function, arguments, budget)),
                env=variables,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=elapsed,
            )
        except subprocess.TimeoutExpired as error:
            raise ChildDied(f"did not end within {elapsed:g} s") from error
        if ended.returncode != 0:
            said = ended.stderr.decode(errors="replace").strip().splitlines()
            cause = said[-1][:200] if ended.returncode == _NO_MEMORY and said else cause_of_death(ended.returncode)
            raise ChildDied(cause)
        result, failure = pickle.loads(answer.read_bytes())
    if failure is not None:
        raise failure
    return result  # type: ignore[no-any-return]


def _serve(answer: Path) -> None:
    die_with_parent()
    with contextlib.suppress(OSError):  # the kernel's choice when memory runs out: this process first
        Path("/proc/self/oom_score_adj").write_text("1000")
    function, arguments, budget = pickle.load(sys.stdin.buffer)
    failure: Exception | None = None
    result = None
    if budget:
        start_clock(budget)
    with limited_memory(budget) if budget else contextlib.nullcontext():
        try:
            result = function(*arguments)
        except MemoryError:
            print(budget.too_much_memory if budget else "ran out of memory", file=sys.stderr)
            sys.exit(_NO_MEMORY)
        except Exception as raised:  # noqa: BLE001 - it is raised again in the calling process
            failure = raised
    answer.write_bytes(_pickled(result, failure))


def _pickled(result: object, error: Exception | None) -> bytes:
    try:
        return pickle.dumps((result, error))
    except Exception as problem:  # noqa: BLE001 - pickle runs the code of any class
        return pickle.dumps((None, RuntimeError(f"{type(error or result).__name__}: {error or problem}")))


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
