"""The source of PushShift's Reddit dumps: comments (RC_*) and submissions (RS_*), a line of JSON each.

As for OPT (Zhang et al. 2022, section 2.3), "the longest chain of comments in each thread" is a document, and the other
comments are discarded.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

import pydantic

from infra.outcomes import Document, Dropped, Failed, Found, Kept, Outcome, Record, Underway
from infra.stage import StageConfig, StageKind, stage
from tasks.sources.decompressed import decompressed
from tasks.sources.extraction import storable
from tasks.sources.json_line import BrokenLine, LineFault, parse_line
from tasks.sources.lines import Line, read_lines
from tasks.sources.reddit_lines import Post, PostFault, UnwantedPost, base36, read_post
from tasks.sources.reddit_threads import TABLES, Chain, put_aside, read_chains
from tasks.sources.spill import Packer, spill
from tasks.sources.xml_items import BETWEEN_PAUSES

# A comment has at most 10,000 characters, and a submission 40,000; lines have some 100 more fields, few of them long.
_MOST_LEVELS, _MOST_VALUES = 100, 1 << 16


class RedditConfig(StageConfig):
    """`source` names the set of dumps and is the prefix of every id, before those of the thread and the last comment.

    `min_comments` is the least number of comments in a chain; with 0, a submission without comments is a document.
    """

    source: str = pydantic.Field(default="reddit", min_length=1, pattern=r"^[^\s/]+$")
    min_comments: int = pydantic.Field(default=1, ge=0)
    min_characters: int = pydantic.Field(default=1, ge=1)
    max_line_bytes: int = pydantic.Field(default=4 << 20, ge=1 << 10)
    max_chain_bytes: int = pydantic.Field(default=16 << 20, ge=1 << 10)


@stage("reddit", version=1, kind=StageKind.source, config=RedditConfig, libraries=["backports.zstd", "FastWARC"])
def read_reddit(stream: BinaryIO, name: str, config: RedditConfig) -> Iterator[Found]:
    """Yield the longest chain of each thread, to be read for its outcome, and an outcome for each other line.

    Threads are those of this file: of one that goes on in another file, each file gives a chain. Bytes count lines.
    """
    packer = Packer()
    with spill("reddit-", *TABLES) as posts:
        offset = since = 0
        for line in read_lines(decompressed(stream), config.max_line_bytes):
            found = _read(line, offset, name)
            if isinstance(found, Post):
                put_aside(posts, packer, found, offset, line.size)
            elif found is not None:
                yield found
            offset += line.size
            since += line.size
            if since >= BETWEEN_PAUSES:
                since = 0
                yield Underway()
        for item in read_chains(posts, name, config.min_comments, config.max_chain_bytes):
            if isinstance(item, Chain):
                data = b"".join(post.encoded() for post in item.posts)
                yield Record(data, item.offset, partial(_outcome, item, name, config))
            else:
                yield item


def _read(line: Line, offset: int, name: str) -> Post | Failed | None:
    where = f"{name}, byte {offset}"
    if line.fault is not None:
        return Failed(line.fault.reason, line.size, f"{name}: {line.fault.detail}", line.fault.offset)
    if line.content is None:
        return Failed(BrokenLine.line_too_long, line.size, f"{where}: the line is too long", offset)
    if not line.content.strip():
        return None
    try:
        return read_post(parse_line(line.content, _MOST_LEVELS, _MOST_VALUES))
    except (LineFault, PostFault) as fault:
        return Failed(fault.reason, line.size, f"{where}: {fault}", offset)


def _outcome(chain: Chain, name: str, config: RedditConfig) -> Outcome:
    thread = base36(chain.thread)
    texts = [text for post in chain.posts if (text := storable("\n\n".join((post.title or "", post.text))))]
    text = "\n\n".join(texts)
    where = f"{name}, byte {chain.offset}: thread {thread}"
    if len(text) < config.min_characters:
        return Dropped("short_text" if text else UnwantedPost.empty_text, chain.size, where)
    comments = [post for post in chain.posts if post.parent is not None]
    first = chain.posts[0]
    last = [base36(comments[-1].number)] if comments else []
    metadata: dict[str, str | int | float | None] = {
        "thread": thread,
        "title": storable(first.title or "") or None,
        "subreddit": storable(first.subreddit or "") or None,
        "comments": len(comments),
        "scores": " ".join("?" if post.score is None else str(post.score) for post in chain.posts),
        # Whether the first comment is one to the submission, or the file lacks what it answers.
        "is_whole": chain.is_whole,
        "without_text": chain.without_text,
        "offset": chain.offset,
    }
    document = Document(
        id="/".join((config.source, thread, *last)),
        text=text,
        url=f"https://www.reddit.com/comments/{thread}/",
        date=_date(first.created),
        source=config.source,
        licence=None,
        metadata=metadata,
    )
    return Kept(document, chain.size)


def _date(created: int | None) -> str | None:
    try:
        return (
            None if created is None else f"{datetime.datetime.fromtimestamp(created, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
        )
    except (ValueError, OverflowError, OSError):
        return None
