from __future__ import annotations

import io
from pathlib import Path

from infra.outcomes import Document, Dropped, Failed, Kept, Outcome, read_all
from tasks.sources.wet import WetConfig, read_wet
from tests.tasks.sources.samples import stored, warc_record

CONFIG = WetConfig(source="dump")


def outcomes(data: bytes, config: WetConfig = CONFIG) -> list[Outcome]:
    return list(read_all(read_wet(io.BytesIO(data), "made.wet", config)))


def file_outcomes(path: Path) -> list[Outcome]:
    with path.open("rb") as stream:
        return list(read_all(read_wet(stream, path.name, CONFIG)))


def documents(found: list[Outcome]) -> list[Document]:
    return [item.document for item in found if isinstance(item, Kept)]


def test_the_text_is_the_body_as_stored(shared_data: Path) -> None:
    for name in ("whirlwind.warc.wet", "whirlwind.warc.wet.gz"):
        info, kept = file_outcomes(shared_data / "archives" / name)
        assert isinstance(info, Dropped) and info.reason == "warcinfo"
        assert isinstance(kept, Kept)
        raw = (shared_data / "archives" / "whirlwind.warc.wet").read_bytes()
        body = raw[raw.index(b"WARC-Type: conversion") :].split(b"\r\n\r\n", 1)[1]
        assert kept.document.text == body.decode().strip()
        assert kept.document.id.startswith("dump/")
        assert kept.document.metadata["languages"] is not None


def test_the_sample_of_cc_net_without_true_lengths(shared_data: Path) -> None:
    found = documents(file_outcomes(shared_data / "archives" / "ccnet-sample.wet.txt"))
    assert [document.url for document in found] == [
        "http://sample_english.com",
        "http://sample_chinese.zh",
        "http://sample_russian.ru",
    ]
    assert [document.text.split("\n")[0] for document in found] == [
        "Famous Mark Twain Quotes",
        "馬克·吐溫名言",
        "Цитаты знаменитого Марка Твена",
    ]
    assert [document.text.split(" ")[-1] for document in found] == ["isn't.", "真理不是。", "нет."]
    assert [len(document.text.split("\n")) for document in found] == [6, 5, 5]


def test_reasons_and_places() -> None:
    text = b"A title\nA line of the page.\r\nAnother \0 line.\n"
    records = [
        warc_record(text, kind="conversion", number=1),
        warc_record(b" \r\n ", kind="conversion", number=2),
        warc_record(b"\x89\xff\xfe\x80" * 50, kind="conversion", number=3),
        warc_record(text, kind="metadata", number=4),
        warc_record(text, kind="conversion", number=5, Content_Length="none"),
        warc_record(b"tiny", kind="conversion", number=6),
    ]
    data, offsets = stored(records, "gzip")
    kept, empty, undecodable, metadata, header, tiny = outcomes(data, WetConfig(source="dump", min_characters=10))
    assert isinstance(kept, Kept) and kept.document.text == "A title\nA line of the page.\nAnother  line."
    assert isinstance(empty, Dropped) and empty.reason == "empty_text"
    assert isinstance(undecodable, Failed) and (undecodable.reason, undecodable.offset) == ("undecodable", offsets[2])
    assert isinstance(metadata, Dropped) and metadata.reason == "metadata"
    assert isinstance(header, Failed) and (header.reason, header.offset) == ("bad_header", offsets[4])
    assert isinstance(tiny, Dropped) and tiny.reason == "short_text"


def test_a_wet_file_that_went_through_a_text_tool_keeps_its_texts() -> None:
    """Bare line ends make true lengths false; a cut file is still told from one that only lost its returns."""
    texts = [f"Title {number}\r\n" + "A line of the page.\r\n" * 30 for number in range(3)]
    crlf = b"".join(warc_record(text.encode(), kind="conversion", number=n) for n, text in enumerate(texts))
    lf = crlf.replace(b"\r\n", b"\n")
    assert [document.text for document in documents(outcomes(lf))] == [
        document.text for document in documents(outcomes(crlf))
    ]
    found = outcomes(lf[:-200])
    assert len(documents(found)) == 2
    assert isinstance(found[2], Failed) and found[2].reason == "truncated"
