"""The part of a document's id that a contained file gives."""

from __future__ import annotations

import hashlib

_DIGITS = 12  # 48 bits: two of a million versions of one path are equal with a chance of 1 in 500


def identity(path: str | None, data: bytes) -> str:
    """The path in its archive and the beginning of the content's sha1; the whole of it where there is no path.

    Equal paths in two archives are usual: `README.md`. The name of an archive is no part of ids, as documents do not
    depend on where their input lies.
    """
    digest = hashlib.sha1(data).hexdigest()
    return digest if path is None else f"{path}@{digest[:_DIGITS]}"
