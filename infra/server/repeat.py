"""Repeats an action in a thread while a block runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread


@contextmanager
def repeated(action: Callable[[], None], seconds: float) -> Iterator[None]:
    """Within the context, call `action` every `seconds`, first after that time. An exception of it ends the thread."""
    ended = Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            action()

    thread = Thread(target=repeat, name=f"repeated {seconds:g} s", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=5)  # a daemon: it may be waiting for a server
