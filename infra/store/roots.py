"""Where runs of deployments may read and write: under the roots in `MILLRACE_ROOTS`, set by `millrace up`.

Whoever may start a run chooses its paths, in a form or a request, and the run has the rights of the worker. Commands
that a user starts have the user's own rights and, without the variable, no roots.
"""

from __future__ import annotations

import os
from pathlib import Path

from infra.store.errors import StoreDenied

ROOTS = "MILLRACE_ROOTS"  # separated by commas, since a colon is part of s3://


class OutsideRoots(StoreDenied):
    """The path is under none of the roots."""


def require_inside(place: str | Path, what: str) -> None:
    """Raise OutsideRoots, naming `what` it is, unless the variable is unset or the place is under one of its roots.

    Links are followed before the comparison.
    """
    roots = given_roots()
    if roots is None or any(_is_under(str(place), root) for root in roots):
        return
    raise OutsideRoots(
        f"{what} {place} is outside the folders and buckets that runs of this worker may use "
        f"({','.join(roots) or 'none'}). Name another, or start the worker with more: millrace up --root FOLDER"
    )


def given_roots() -> list[str] | None:
    """The roots in the variable; None where it is unset, and everything is allowed."""
    given = os.environ.get(ROOTS)
    return None if given is None else [root for root in given.split(",") if root]


def _is_under(place: str, root: str) -> bool:
    if place.startswith("s3://") or root.startswith("s3://"):
        inside = (place.rstrip("/") + "/").startswith(root.rstrip("/") + "/")
        return inside and ".." not in place.split("/")
    path = Path(place.removeprefix("file://")).expanduser().resolve()
    return path.is_relative_to(Path(root).expanduser().resolve())
