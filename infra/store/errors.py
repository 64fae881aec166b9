"""Errors of the object store, one class for each way a caller can react."""

from __future__ import annotations


class StoreError(Exception):
    """Base of every error of the lake."""


class NotThere(StoreError):
    """The store answered, and the object does not exist."""


class StoreUnavailable(StoreError):
    """The store did not answer, or asked for a later retry. Retrying may succeed."""


class StoreDenied(StoreError):
    """The store refused: credentials or permissions are wrong. Retrying does not help."""


class StoreFull(StoreError):
    """No space is left for the object. Retrying does not help."""


class Corrupt(StoreError):
    """The bytes that the store returned differ from those that were written."""
