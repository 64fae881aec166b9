"""How a rank ends: it saves and exits on a signal, or exits with a status that tells permanent errors apart."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LEFT_AFTER_SAVING = 75  # EX_TEMPFAIL of sysexits.h: the state is saved; the same command resumes the run
PERMANENT_ERROR = 78  # EX_CONFIG of sysexits.h: the same command would fail with the same error

# Types of errors that a restart would raise again. Most other errors occur on ranks that have lost a peer.
PERMANENT = (
    *("Diverged", "ScaleExhausted", "Superseded", "ValueError", "IndexError"),
    *("Corrupt", "NotThere", "StoreDenied", "StoreFull", "StoreError"),
)


class Termination:
    """Within `with Termination() as termination:`, SIGTERM and SIGINT only set `termination.requested`.

    Enter it in the main thread, after libraries that install their own handlers. A signal may reach only one rank, or
    each rank at a different time, so the ranks must agree where to stop. Every rank all-reduces its flag in each step,
    also between micro-batches. When any flag is set, all ranks save, and exit with `LEFT_AFTER_SAVING` once the
    checkpoint is committed. A second SIGINT raises KeyboardInterrupt. A second SIGTERM is ignored, because the agent
    sends another to the remaining ranks when the first rank has exited.
    """

    def __init__(self) -> None:
        self.signal = ""

    @property
    def requested(self) -> bool:
        """Whether a signal arrived; its name is in `signal`."""
        return bool(self.signal)

    def __enter__(self) -> Termination:
        self._before = {number: signal.signal(number, self._request) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.requested:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number).name


@contextmanager
def telling_errors_apart() -> Iterator[None]:
    """Around a rank's work: an error in `PERMANENT` ends the process with the exit status `PERMANENT_ERROR`."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ not in PERMANENT:
            raise
        traceback.print_exc()
        sys.exit(PERMANENT_ERROR)
