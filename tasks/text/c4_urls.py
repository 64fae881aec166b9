"""URLs as C4 normalises them: ``normalize_url`` of ``c4_utils.py`` in tensorflow/datasets."""

from __future__ import annotations

import re

_SCHEME = re.compile(r"https?://(www\.)?")
_TRACKING = re.compile(r"\?(utm_|ref|feed).*")


def normalised_url(url: str) -> str:
    """The URL without schemes, wherever they stand, without a query that begins as one of tracking or a feed, and
    without slashes at its end. Case stays.
    """
    return _TRACKING.sub("", _SCHEME.sub("", url)).rstrip("/")
