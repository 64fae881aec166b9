"""One line of a PushShift dump: a comment or a submission, with what is needed of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tasks.sources.fields import Number

# Numbers in base 36, below 2^63.
_ID = re.compile("[0-9a-z]{1,12}")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_LINK, _COMMENT = "t3_", "t1_"
_DELETED, _REMOVED = frozenset({"[deleted]"}), frozenset({"[removed]", "[removed by reddit]", "[ removed by reddit ]"})
TO_SUBMISSION = -1
_LATEST = 1 << 40  # seconds: beyond every date


class BrokenPost(StrEnum):
    """The fault of a line that is JSON."""

    not_reddit = "not_reddit"
    bad_id = "bad_id"
    bad_thread = "bad_thread"
    bad_parent = "bad_parent"
    no_text = "no_text"
    # Of a thread.
    parents_in_circle = "parents_in_circle"
    too_large = "too_large"


class UnwantedPost(StrEnum):
    """Why an intact comment or submission is in no document."""

    deleted = "deleted"
    removed = "removed"
    empty_text = "empty_text"
    other_branch = "other_branch"
    few_comments = "few_comments"
    duplicate_post = "duplicate_post"


class PostFault(Exception):
    """A line is no comment and no submission."""

    def __init__(self, reason: BrokenPost, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Post:
    """A comment, or a submission, whose `parent` is None.

    Ids are numbers. `parent` is -1 where the parent is the submission. `missing` says why there is no text. `created`
    is in seconds since 1970, None if it cannot be read.
    """

    number: int
    thread: int
    parent: int | None
    text: str = field(repr=False)
    missing: UnwantedPost | None
    created: int | None
    score: int | None
    subreddit: str | None
    title: str | None = field(default=None, repr=False)

    def encoded(self) -> bytes:
        """The post as it is put aside."""
        values = [getattr(self, name) for name in self.__slots__]
        return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def decoded(data: bytes) -> Post:
    """The post that was put aside."""
    return Post(*json.loads(data))


def read_post(values: Any) -> Post:
    """The post of a parsed line. Raises PostFault."""
    if not isinstance(values, dict) or not ("link_id" in values or "title" in values):
        raise PostFault(BrokenPost.not_reddit, "neither a comment (link_id) nor a submission (title)")
    number = _number(values.get("id"), "")
    if number is None:
        raise PostFault(BrokenPost.bad_id, "the id is no number in base 36")
    is_comment = "link_id" in values
    thread = _number(values["link_id"], _LINK) if is_comment else number
    if thread is None:
        raise PostFault(BrokenPost.bad_thread, f"link_id is no id with {_LINK}")
    body = values.get("body" if is_comment else "selftext")
    if body is None and not is_comment:
        body = ""
    if not isinstance(body, str) or isinstance(body, Number):
        raise PostFault(BrokenPost.no_text, "the text is no string")
    title = values.get("title") if not is_comment else None
    missing = _missing(body)
    if not is_comment and missing is UnwantedPost.empty_text and isinstance(title, str) and title.strip():
        missing = None  # a link with a title
    return Post(
        number,
        thread,
        _parent(values.get("parent_id")) if is_comment else None,
        "" if missing else _unescaped(body),
        missing,
        _integer(values.get("created_utc"), 0, _LATEST),
        _integer(values.get("score"), -_LATEST, _LATEST),
        values["subreddit"] if isinstance(values.get("subreddit"), str) else None,
        _unescaped(title) if isinstance(title, str) else None,
    )


def base36(number: int) -> str:
    """The id of Reddit for a number."""
    digits = ""
    while number or not digits:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits


def _number(value: Any, prefix: str) -> int | None:
    if not isinstance(value, str) or not value.startswith(prefix):
        return None
    text = value.removeprefix(prefix)
    return int(text, 36) if _ID.fullmatch(text) else None


def _parent(value: Any) -> int:
    if (comment := _number(value, _COMMENT)) is not None:
        return comment
    if _number(value, _LINK) is not None:
        return TO_SUBMISSION
    raise PostFault(BrokenPost.bad_parent, f"parent_id is no id with {_COMMENT} or {_LINK}")


def _missing(body: str) -> UnwantedPost | None:
    text = body.strip()
    if text.lower() in _DELETED:
        return UnwantedPost.deleted
    if text.lower() in _REMOVED:
        return UnwantedPost.removed
    return None if text else UnwantedPost.empty_text


def _unescaped(text: str) -> str:
    """Reddit escapes these three characters in its texts, and no others."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _integer(value: Any, least: int, most: int) -> int | None:
    """Older dumps have numbers as strings."""
    try:
        number = int(float(value)) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None
    return number if number is not None and least <= number <= most else None
