"""How a rank ends: at a signal, which is a request to save and leave, or in an error that its status tells apart."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LEFT_AFTER_SAVING = 75  # EX_TEMPFAIL of sysexits.h: the state is saved; the same command goes on
PERMANENT_ERROR = 78  # EX_CONFIG of sysexits.h: the same command would end in the same error

# Errors of a rank, by type, that the next start would meet again. Of the rest, most are a rank's that has lost a peer.
PERMANENT = (
    *("Diverged", "ScaleExhausted", "Superseded", "ValueError", "IndexError"),
    *("Corrupt", "NotThere", "StoreDenied", "StoreFull", "StoreError"),
)


class Termination:
    """Within `with Termination() as termination:`, a signal only sets `termination.requested`.

    To be entered in the main thread, after libraries that install handlers of their own. The request reaches one rank,
    or each at another moment, so all must agree on where they leave: every rank gathers its flag in each step, between
    micro-batches too, and leaves when any is set, with exit code `LEFT_AFTER_SAVING` once the checkpoint is committed
    for all. A second SIGINT raises KeyboardInterrupt; a second SIGTERM says nothing new, as the agent sends
    another to the ranks that are still there when the first has left.
    """

    def __init__(self) -> None:
        self.signal = ""

    @property
    def requested(self) -> bool:
        """Whether a signal came; its name is in `signal`."""
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
    """Around a rank's work: one of the `PERMANENT` errors ends the process with the status `PERMANENT_ERROR`."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ not in PERMANENT:
            raise
        traceback.print_exc()
        sys.exit(PERMANENT_ERROR)
