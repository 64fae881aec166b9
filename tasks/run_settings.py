"""The error of a training request."""

from __future__ import annotations


class WrongSetting(ValueError):
    """A value of a training request that no run can have."""
