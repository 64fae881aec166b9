"""A limit on how often something is done."""

from __future__ import annotations

import time


class Throttle:
    """Says once every `interval` seconds that it is time, counted from when it is made."""

    def __init__(self, interval: float) -> None:
        self._interval, self._last = interval, time.monotonic()

    def due(self) -> bool:
        """Whether `interval` seconds have passed since it last said so."""
        now = time.monotonic()
        if now - self._last < self._interval:
            return False
        self._last = now
        return True
