"""From WARC files to the texts of their pages: the stage `web_archive`, against datatrove's reader and extractor."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from infra.outcomes import Kept, read_all
from tasks.sources.web_archive import WebArchiveConfig, read_web_archive
from tests.bench.gold import GoldPage, gold_pages, quality
from tests.bench.inputs import kind_of_crawl, two_archives
from tests.bench.measure import DifferentOutputs, Workload
from tests.bench.peers.process import Contest, contest
from tests.bench.peers.tools import DATATROVE
from tests.bench.report import print_head

ROUNDS = 3


def run() -> None:
    """Compare, time and print."""
    archives = two_archives()
    texts = page_texts_of(archives)
    stored = sum(path.stat().st_size for path in archives)
    name = f"{kind_of_crawl()} crawl, {len(archives)} files"
    workload = Workload(archives, name, len(texts), "pages", stored, "of WARC as stored")
    about = "WARC to the main text of every page, one thread"
    print_head("archive_texts", about, workload, ["Resiliparse", "numba", "isal"])
    gold = [page for page in gold_pages() if page.truth["type"] == "segments"]
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        given = Path(folder) / "archives.json"
        given.write_text(json.dumps({"archives": [str(path.resolve()) for path in archives]}))
        one = Contest(
            "WARC to text",
            DATATROVE,
            "datatrove",
            "datatrove_archives",
            4.0,
            lambda: page_texts_of(archives),
            lambda: page_texts_of(archives),
            lambda ours, theirs: qualities(gold, ours, theirs),
            (("datatrove", "trafilatura", "warcio"), ["Resiliparse", "numba", "isal"]),
        )
        contest(one, workload, given, ROUNDS)


def page_texts_of(archives: Sequence[Path]) -> list[tuple[str, str]]:
    """The record's own id and the text of every page that is kept."""
    found = []
    for path in archives:
        with path.open("rb") as stream:
            for outcome in read_all(read_web_archive(stream, path.name, WebArchiveConfig())):
                if isinstance(outcome, Kept):
                    found.append((outcome.document.id.partition("/")[2], outcome.document.text))
    return found


def qualities(gold: Sequence[GoldPage], ours: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]]) -> str:
    """How many segments both sides judge rightly. Raises DifferentOutputs if ours are fewer."""
    own, other = dict(map(tuple, ours)), dict(map(tuple, theirs))
    pages = {page.id: page for page in gold}
    judged = [key for key in own if key in pages]
    sides = [quality([pages[key] for key in judged], [side.get(key, "") for key in judged]) for side in (own, other)]
    told = f"{len(own)} pages, the peer's {len(other)}; segments rightly kept or dropped "
    told += f"{sides[0].segments:.4f}, the peer's {sides[1].segments:.4f} (ours learned from these pages)"
    if sides[0].segments < sides[1].segments:
        raise DifferentOutputs(f"ours are worse: {told}")
    return told
