"""A rate limit."""

from __future__ import annotations

import time


class Throttle:
    """`due` is true at most once every `interval` seconds, counted from creation."""

    def __init__(self, interval: float) -> None:
        self._interval, self._last = interval, time.monotonic()

    def due(self) -> bool:
        """Whether `interval` seconds have passed since it was last true."""
        now = time.monotonic()
        if now - self._last < self._interval:
            return False
        self._last = now
        return True
