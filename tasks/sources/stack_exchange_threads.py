"""Brings the questions and answers of a Stack Exchange site together, which lie far apart in its dump.

A row is put aside under its question until the file is read: the memory is that of the largest thread.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from operator import itemgetter

from infra.outcomes import Dropped, Failed, Underway
from tasks.sources.spill import Packer, spill
from tasks.sources.xml_dump import Dump
from tasks.sources.xml_element import BrokenDump, XmlFault, attributes_of
from tasks.sources.xml_items import Item

# https://meta.stackexchange.com/questions/2677, PostTypeId
_QUESTION, _ANSWER = "1", "2"
_NUMBER = re.compile("[0-9]{1,18}")
_SCORE = re.compile("-?[0-9]{1,18}")
# Before the rank of every answer, which is its score with the other sign.
_FIRST = -(1 << 62)
_TABLE = "CREATE TABLE row (thread INTEGER, rank INTEGER, number INTEGER, offset INTEGER, size INTEGER, data BLOB)"
_INDEX = "CREATE INDEX by_thread ON row (thread, rank, number)"
_IN_ORDER = (
    "SELECT thread, rank, number, offset, size, data FROM row INDEXED BY by_thread ORDER BY thread, rank, number, rowid"
)


class UnwantedPost(StrEnum):
    """Why an intact post is dropped."""

    other_post = "other_post"
    deleted = "deleted"
    no_question = "no_question"
    duplicate_post = "duplicate_post"


class BrokenPost(StrEnum):
    """The fault of a post, or of a thread."""

    bad_id = "bad_id"
    bad_type = "bad_type"
    bad_parent = "bad_parent"
    bad_score = "bad_score"
    extractor_error = "extractor_error"


@dataclass(frozen=True, slots=True)
class Thread:
    """The rows of a question and of its answers, these by score from high to low, and by number among equals."""

    number: int
    offset: int
    question: bytes = field(repr=False)
    answers: list[bytes] = field(repr=False)


def read_threads(
    dump: Dump, found: Iterator[Item | Failed | Underway], name: str, longest: int
) -> Iterator[Thread | Dropped | Failed | Underway]:
    """The threads of a dump by the number of their question, after an outcome for every row that is in none.

    A thread of more than `longest` bytes is one failure. Raises OSError.
    """
    packer = Packer()
    with spill("posts-", _TABLE, _INDEX) as rows:
        for item in found:
            outcome = _put_aside(rows, packer, item, name, dump.encoding) if isinstance(item, Item) else item
            if outcome is not None:
                yield outcome
        for thread, group in groupby(rows.execute(_IN_ORDER), itemgetter(0)):
            yield from _joined(thread, group, name, longest)


def _put_aside(
    rows: sqlite3.Connection, packer: Packer, item: Item, name: str, encoding: str | None
) -> Dropped | Failed | None:
    where = f"{name}, byte {item.offset}"
    data = item.data or b""
    try:
        post = attributes_of(data, encoding)
    except XmlFault as fault:
        return Failed(fault.reason, item.size, f"{where}: {fault}", item.offset + fault.position)
    number, kind, score = post.get("Id", ""), post.get("PostTypeId", ""), post.get("Score", "0")
    where = f"{where}: post {number[:20]}"
    reason = _fault(number, kind, post.get("ParentId", ""), score)
    if reason is not None:
        return Failed(reason, item.size, where, item.offset)
    if kind not in (_QUESTION, _ANSWER):
        return Dropped(UnwantedPost.other_post, item.size, f"{where} of type {kind}")
    if "DeletionDate" in post:
        return Dropped(UnwantedPost.deleted, item.size, where)
    thread, rank = (int(number), _FIRST) if kind == _QUESTION else (int(post["ParentId"]), -int(score))
    values = (thread, rank, int(number), item.offset, item.size, packer.pack(data))
    rows.execute("INSERT INTO row VALUES (?, ?, ?, ?, ?, ?)", values)
    return None


def _fault(number: str, kind: str, parent: str, score: str) -> BrokenPost | None:
    if not _NUMBER.fullmatch(number):
        return BrokenPost.bad_id
    if not _NUMBER.fullmatch(kind):
        return BrokenPost.bad_type
    if kind == _ANSWER and not _NUMBER.fullmatch(parent):
        return BrokenPost.bad_parent
    return None if _SCORE.fullmatch(score) else BrokenPost.bad_score


def _joined(
    number: int, rows: Iterator[tuple[int, int, int, int, int, bytes]], name: str, longest: int
) -> Iterator[Thread | Dropped | Failed]:
    question: tuple[int, bytes] | None = None
    answers: list[bytes] = []
    seen: set[int] = set()
    size = 0
    for _, rank, post, offset, length, data in rows:
        where = f"{name}, byte {offset}: post {post}"
        if rank != _FIRST and question is None:
            yield Dropped(UnwantedPost.no_question, length, f"{where}, an answer to {number}, which is not there")
        elif post in seen:
            yield Dropped(UnwantedPost.duplicate_post, length, where)
        else:
            size += length
            if size <= longest:
                seen.add(post)
            content = Packer.unpack(data) if size <= longest else b""
            if question is None:
                question = offset, content
            elif size <= longest:
                answers.append(content)
    if question is None:
        return
    if size > longest:
        detail = f"{name}, byte {question[0]}: the thread of question {number} is longer than {longest} bytes"
        yield Failed(BrokenDump.too_large, size, detail, question[0])
    else:
        yield Thread(number, *question, answers)
