"""The whole line: our side's counts, and what is said of both sides."""

from __future__ import annotations

import html
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from tests.bench.line import agreement, build
from tests.bench.measure import DifferentOutputs
from tests.bench.tokenizing import TOKENIZER
from tests.tasks.sources.samples import COMPRESSIONS, page, warc_record


@pytest.mark.skipif(not TOKENIZER.is_file(), reason="the tokenizer lies beside the project")
def test_our_side_counts_what_a_build_does(tmp_path: Path) -> None:
    words = html.escape(" ".join(topics["objects"].split()[:400]))
    bodies = [f"<p>{words}</p>", f"<p>{words} again</p>", "<p>Too few words to be kept here.</p>"]
    archive = tmp_path / "pages.warc.gz"
    compress = COMPRESSIONS["gzip"]
    archive.write_bytes(b"".join(compress(warc_record(page(body), number=n)) for n, body in enumerate(bodies, 1)))
    spent: Counter[str] = Counter()
    texts, within, unique, tokens, ids = build([archive], tmp_path, spent)
    assert (texts, within, unique) == (3, 2, 1), "one is too short, and one is a near-copy"
    assert {"read_web_archive", "near_duplicates", "encode", "write_tokens"} <= spent.keys()
    assert tokens > 100 and len(ids) == 1 and "/" not in ids[0]


def test_far_fewer_documents_are_no_same_work() -> None:
    ours, theirs = [9, 8, 7, 700, ["a", "b"]], [8, 7, 6, 650, ["b", "c"]]
    told = agreement(10, ours, theirs)
    assert "9 with a text (the peer 8)" in told and "700 tokens (the peer 650); 1 documents are in both" in told
    with pytest.raises(DifferentOutputs, match="ours keep far fewer"):
        agreement(10, [9, 8, 4, 400, ["a"]], theirs)
