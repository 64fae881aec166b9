"""Brings the comments of a thread together, which lie apart in a dump, and finds the longest chain of them.

Comments are put aside under their thread until the file is read. Of a thread, its tree is in memory, and the text of
the chain that stays.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter

from infra.outcomes import Dropped, Failed
from tasks.sources.reddit_lines import TO_SUBMISSION, BrokenPost, Post, UnwantedPost, base36, decoded
from tasks.sources.spill import Packer

# The largest threads of Reddit have some 100,000 comments. The tree takes about a kibibyte of memory for a comment.
_MOST_COMMENTS = 1 << 19
_NEVER = 1 << 41  # the time of a comment whose time is not known: after all others
TABLES = (
    "CREATE TABLE post (thread INTEGER, number INTEGER, parent INTEGER, missing TEXT, created INTEGER, "
    "characters INTEGER, offset INTEGER, size INTEGER, data BLOB)",
    "CREATE INDEX by_thread ON post (thread, parent IS NOT NULL, number)",
)
_IN_ORDER = (
    "SELECT thread, rowid, number, parent, missing, created, characters, offset, size FROM post INDEXED BY by_thread "
    "ORDER BY thread, parent IS NOT NULL, number, rowid"
)


@dataclass(frozen=True, slots=True)
class Chain:
    """The posts of a thread that become a document: its submission, if the file has it, and comments, each to the last.

    `is_whole`: the first comment is one to the submission. `without_text` counts deleted comments between the others.
    """

    thread: int
    posts: list[Post]
    size: int
    offset: int
    is_whole: bool
    without_text: int


@dataclass(slots=True)
class _Row:
    rowid: int
    number: int
    parent: int | None
    missing: str | None
    created: int
    characters: int
    offset: int
    size: int
    turns: int = -1  # comments with text from the root of the chain to this one; -1: not known
    so_far: int = 0  # and their characters


def put_aside(posts: sqlite3.Connection, packer: Packer, post: Post, offset: int, size: int) -> None:
    """Add a post that stands at `offset` of the file, in a line of `size` bytes. Raises sqlite3.Error."""
    created = _NEVER if post.created is None else post.created
    tree = (post.thread, post.number, post.parent, post.missing, created, len(post.text), offset, size)
    posts.execute("INSERT INTO post VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*tree, packer.pack(post.encoded())))


def read_chains(
    posts: sqlite3.Connection, name: str, min_comments: int, longest: int
) -> Iterator[Chain | Dropped | Failed]:
    """The longest chain of each thread, by the thread's id, and an outcome for each post that is in none.

    The longest chain has the most comments with text; among equals, the most characters, and then the comment that was
    written first as its end. A chain of fewer than `min_comments` is dropped, and one of more than `longest` bytes, or
    a thread of too many comments, fails.
    """
    for thread, group in groupby(posts.execute(_IN_ORDER), itemgetter(0)):
        rows = (_Row(*row[1:]) for row in group)
        held = list(islice(rows, _MOST_COMMENTS))
        rest = sum(row.size for row in rows)
        if rest:
            size = rest + sum(row.size for row in held)
            detail = f"{name}: thread {base36(thread)} has more than {_MOST_COMMENTS} comments"
            yield Failed(BrokenPost.too_large, size, detail, held[0].offset)
        else:
            yield from _Thread(posts, thread, held, name).outcomes(min_comments, longest)


class _Thread:
    def __init__(self, posts: sqlite3.Connection, number: int, rows: list[_Row], name: str) -> None:
        self._posts, self._number, self._rows, self._name = posts, number, rows, name
        self._submission: _Row | None = None
        self._comments: dict[int, _Row] = {}
        self._again: list[_Row] = []
        for row in rows:
            if row.parent is None and self._submission is None:
                self._submission = row
            elif row.parent is None or row.number in self._comments:
                self._again.append(row)
            else:
                self._comments[row.number] = row

    def outcomes(self, min_comments: int, longest: int) -> Iterator[Chain | Dropped | Failed]:
        for row in self._again:
            yield self._dropped(row, UnwantedPost.duplicate_post)
        self._count_turns()
        path = self._longest()
        chain = [row for row in path if row.missing is None]
        few = len(chain) < min_comments
        submission = self._submission
        if submission is not None and submission.missing is not None:
            yield self._dropped(submission, submission.missing)
            submission = None
        first = [] if submission is None else [submission]
        for row in self._comments.values():
            if row.missing is not None:
                yield self._dropped(row, row.missing)
            elif row.turns < 0:
                yield Failed(BrokenPost.parents_in_circle, row.size, self._where(row), row.offset)
            elif few:
                yield self._dropped(row, UnwantedPost.few_comments)
        if few:
            yield from (self._dropped(row, UnwantedPost.few_comments) for row in first)
            return
        inside = {row.number for row in chain}
        for row in self._comments.values():
            if row.missing is None and row.turns >= 0 and row.number not in inside:
                yield self._dropped(row, UnwantedPost.other_branch)
        rows = [*first, *chain]
        if rows:
            yield self._chain(rows, path, longest)

    def _count_turns(self) -> None:
        """From the roots on: each comment once, and none in a circle."""
        children: dict[int | None, list[_Row]] = defaultdict(list)
        for row in self._comments.values():
            known = row.parent in self._comments
            children[row.parent if known else None].append(row)
        reached = children.pop(None, [])
        for row in reached:  # grows
            parent = self._comments.get(_parent_of(row))
            before = (0, 0) if parent is None else (parent.turns, parent.so_far)
            row.turns = before[0] + (row.missing is None)
            row.so_far = before[1] + row.characters
            reached.extend(children.pop(row.number, ()))

    def _longest(self) -> list[_Row]:
        ends = (row for row in self._comments.values() if row.turns > 0 and row.missing is None)
        end = max(ends, key=lambda row: (row.turns, row.so_far, -row.created, -row.number), default=None)
        path = []
        while end is not None:
            path.append(end)
            end = self._comments.get(_parent_of(end))
        return path[::-1]

    def _chain(self, rows: list[_Row], path: list[_Row], longest: int) -> Chain | Failed:
        size = sum(row.size for row in rows)
        if size > longest:
            detail = f"{self._where(rows[0])}: the chain is longer than {longest} bytes"
            return Failed(BrokenPost.too_large, size, detail, rows[0].offset)
        posts = [self._text(row) for row in rows]
        is_whole = not path or path[0].parent == TO_SUBMISSION
        gaps = sum(row.missing is not None for row in path)
        return Chain(self._number, posts, size, rows[0].offset, is_whole, gaps)

    def _text(self, row: _Row) -> Post:
        [(data,)] = self._posts.execute("SELECT data FROM post WHERE rowid = ?", (row.rowid,))
        return decoded(Packer.unpack(data))

    def _dropped(self, row: _Row, reason: str) -> Dropped:
        return Dropped(reason, row.size, self._where(row))

    def _where(self, row: _Row) -> str:
        kind = "submission" if row.parent is None else f"comment {base36(row.number)}"
        return f"{self._name}, byte {row.offset}: {kind} of thread {base36(self._number)}"


def _parent_of(row: _Row) -> int:
    return TO_SUBMISSION if row.parent is None else row.parent
