"""What can go wrong between us and an object store, told apart so that callers can decide."""

from __future__ import annotations


class StoreError(Exception):
    """Base of every error of the lake."""


class NotThere(StoreError):
    """The store answered, and the object does not exist."""


class StoreUnavailable(StoreError):
    """The store could not be asked, or asked us to come back later: worth another try."""


class StoreDenied(StoreError):
    """The store refused: credentials or permissions are wrong. Another try would not help."""


class StoreFull(StoreError):
    """No room is left where the object should go. Another try would not help."""


class Corrupt(StoreError):
    """What the store returned is not what was written."""
