"""The source of Stack Exchange dumps: the posts of a site, `Posts.xml`, plain, compressed or in its 7z archive."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import partial
from typing import BinaryIO

import pydantic

from infra.outcomes import Document, Dropped, Failed, Found, Kept, Outcome, Record, Underway
from infra.stage import StageConfig, StageKind, stage
from tasks.sources.codecs import StoredFault
from tasks.sources.decompressed import decompressed, in_band
from tasks.sources.extraction import storable
from tasks.sources.markup import MarkupLimit
from tasks.sources.post_html import post_text
from tasks.sources.seven_zip import MAGIC, read_members
from tasks.sources.stack_exchange_threads import BrokenPost, Thread, read_threads
from tasks.sources.xml_dump import Dump
from tasks.sources.xml_element import BrokenDump, attributes_of
from tasks.sources.xml_items import BETWEEN_PAUSES, ROWS

# Such as coffee.stackexchange.com.7z and stackoverflow.com-Posts.7z, and folders in archives.
_SITE = re.compile(r"((?:[a-z0-9-]+\.)+(?:com|net|org))(?:-Posts)?(?:\.7z|\.xml(?:\.\w+)?)?", re.IGNORECASE)
_TAGS = re.compile(r"[<>|]+")
# The licences of contributions from a day on: https://stackoverflow.com/help/licensing
_LICENCES = (("2018-05-02", "CC BY-SA 4.0"), ("2011-04-08", "CC BY-SA 3.0"), ("", "CC BY-SA 2.5"))


class UnwantedThread(StrEnum):
    """Why an intact thread, or a file of an archive, is dropped."""

    empty_text = "empty_text"
    short_text = "short_text"
    other_table = "other_table"


class StackExchangeConfig(StageConfig):
    """`source` names the set of dumps and is the prefix of every id, before the site and the question's number.

    `site`, such as ``coffee.stackexchange.com``, is for files whose name does not tell it.
    """

    source: str = pydantic.Field(default="stack_exchange", min_length=1, pattern=r"^[^\s/]+$")
    site: str | None = pydantic.Field(default=None, pattern=r"^[A-Za-z0-9.-]+$")
    min_characters: int = pydantic.Field(default=1, ge=1)
    # A post has at most 30,000 characters.
    max_thread_bytes: int = pydantic.Field(default=16 << 20, ge=1 << 10)


@stage(
    "stack_exchange",
    version=1,
    kind=StageKind.source,
    config=StackExchangeConfig,
    libraries=["backports.zstd", "FastWARC", "lxml", "Resiliparse"],
)
def read_stack_exchange(stream: BinaryIO, name: str, config: StackExchangeConfig) -> Iterator[Found]:
    """Yield every thread, to be read for its outcome, and an outcome for each post and fault that is in none.

    A thread is a question with its answers, these by score from high to low: one document. Bytes count rows. Of an
    archive, the files `Posts.xml` are read, wherever they lie in it.
    """
    if _magic(stream) != MAGIC:
        yield from _posts(decompressed(stream), name, config.site or _site(name), config)
        return
    try:
        read = False
        for member in read_members(stream):
            folder, _, file = member.name.replace("\\", "/").rpartition("/")
            inside = f"{name}: {member.name}"
            if file.lower() == "posts.xml":
                read = True
                site = config.site or _site(folder.rpartition("/")[2]) or _site(name)
                yield from _posts(in_band(member.pieces), inside, site, config)
            else:
                passed = 0
                for piece in member.pieces:
                    passed += len(piece)
                    if passed >= BETWEEN_PAUSES:
                        passed = 0
                        yield Underway()
                yield Dropped(UnwantedThread.other_table, member.size, inside)
        if not read:
            yield Failed(BrokenDump.not_a_dump, 0, f"{name}: the archive has no Posts.xml", 0)
    except StoredFault as fault:
        yield Failed(fault.reason, 0, f"{name}: {fault.detail}", fault.offset)


def _magic(stream: BinaryIO) -> bytes:
    stream.seek(0)
    return stream.read(len(MAGIC))


def _site(name: str) -> str | None:
    found = _SITE.fullmatch(name)
    return found[1].lower() if found else None


def _posts(
    pieces: Iterable[bytes | StoredFault], name: str, site: str | None, config: StackExchangeConfig
) -> Iterator[Found]:
    dump = Dump(name, "posts", ROWS, config.max_thread_bytes)
    for found in read_threads(dump, dump.read(pieces), name, config.max_thread_bytes):
        if isinstance(found, Thread):
            data = b"".join([found.question, *found.answers])
            yield Record(data, found.offset, partial(_outcome, found, len(data), name, dump.encoding, site, config))
        else:
            yield found


def _outcome(
    thread: Thread, size: int, name: str, encoding: str | None, site: str | None, config: StackExchangeConfig
) -> Outcome:
    where = f"{name}, byte {thread.offset}: question {thread.number}"
    question = attributes_of(thread.question, encoding)
    answers = [attributes_of(row, encoding) for row in thread.answers]
    title = " ".join(question.get("Title", "").split())
    try:
        asked = storable(post_text(question.get("Body", "")))
        answered = [text for answer in answers if (text := storable(post_text(answer.get("Body", ""))))]
    except MarkupLimit as limit:
        return Failed(BrokenPost.extractor_error, size, f"{where}: {limit}", thread.offset)
    parts = ["Q: " + "\n\n".join(part for part in (title, asked) if part), *(f"A: {text}" for text in answered)]
    text = "\n\n".join(parts) if title or asked or answered else ""
    if len(text) < config.min_characters:
        return Dropped(UnwantedThread.short_text if text else UnwantedThread.empty_text, size, where)
    metadata: dict[str, str | int | float | None] = {
        "title": storable(title) or None,
        "site": site,
        "question": thread.number,
        "score": int(question.get("Score", "0")),
        "answers": len(answered),
        "empty_answers": len(answers) - len(answered),
        "scores": " ".join(answer.get("Score", "0") for answer in answers),
        "tags": " ".join(_TAGS.split(question.get("Tags", ""))).strip() or None,
        "offset": thread.offset,
    }
    document = Document(
        id="/".join(part for part in (config.source, site, str(thread.number)) if part),
        text=text,
        url=f"https://{site}/questions/{thread.number}" if site else None,
        date=question.get("CreationDate"),
        source=config.source,
        licence=" and ".join(sorted({_licence(post) for post in (question, *answers)})),
        metadata=metadata,
    )
    return Kept(document, size)


def _licence(post: dict[str, str]) -> str:
    date = post.get("CreationDate", "")
    return post.get("ContentLicense") or next(licence for since, licence in _LICENCES if date >= since)
