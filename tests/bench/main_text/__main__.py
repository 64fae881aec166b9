"""`python -m tests.bench.main_text`: fit on all pages, and measure on sites that were not learned from."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tasks.html.choice import FOREST_FILE, text_of
from tasks.html.forest import write_forests
from tasks.sources.charset import decode_page
from tasks.sources.extraction import Extractor, extract_page
from tests.bench.gold import Quality, gold_pages, quality
from tests.bench.main_text.fit import FOLDS, LIGHTGBM, ROUNDS, fit, unseen, with_context
from tests.bench.main_text.pages import LabelledPage, labelled_pages
from tests.bench.records import RECORDER, write_record
from tests.bench.report import machine


def main() -> None:
    """Write the forests and the record of their quality."""
    pages = list(labelled_pages())
    print(f"{len(pages)} pages, {sum(len(page.labels) for page in pages)} blocks", flush=True)
    RECORDER.start(
        name="main_text",
        about="quality of the main text by our trees, on sites that they did not learn from, and on all",
        machine=machine(),
        versions=f"{LIGHTGBM.requirements[0]}, numpy {importlib.metadata.version('numpy')}",
    )
    alone = [page.features.numbers for page in pages]
    first = unseen(pages, alone, ROUNDS[0])
    context = with_context(pages, first)
    second = unseen(pages, context, ROUNDS[1])
    print("on sites not seen:", others := measured(pages, second), flush=True)
    forests = [fit(pages, alone, ROUNDS[0]), fit(pages, context, ROUNDS[1])]
    write_forests(FOREST_FILE, forests)
    known = with_context(pages, [forests[0].probabilities(page.features.numbers, page.features.bits) for page in pages])
    final = [forests[1].probabilities(own, page.features.bits) for own, page in zip(known, pages, strict=True)]
    print("on all:", own := measured(pages, final), flush=True)
    RECORDER.set(
        pages=len(pages),
        sites=len({page.site for page in pages}),
        folds=FOLDS,
        sets=[name.split("/")[0] for name in sorted(own.f1)],
        unseen=_figures(others),
        seen=_figures(own),
        trafilatura=_figures(by_trafilatura()),
        forest=hashlib.sha256(FOREST_FILE.read_bytes()).hexdigest(),
    )
    write_record(RECORDER.finish("python -m tests.bench.main_text"))


def measured(pages: Sequence[LabelledPage], probabilities: Sequence[npt.NDArray[np.float64]]) -> Quality:
    """The quality of the texts that these probabilities give."""
    texts = {page.id: text_of(page.page, own) for page, own in zip(pages, probabilities, strict=True)}
    gold = gold_pages()
    return quality(gold, [texts.get(page.id, "") for page in gold])


def by_trafilatura() -> Quality:
    """The quality of trafilatura's texts of the same pages."""
    gold = gold_pages()
    pages = [decode_page(page.body, page.content_type).text for page in gold]
    return quality(gold, [extract_page(page, Extractor.trafilatura).text for page in pages])


def _figures(found: Quality) -> dict[str, object]:
    return {"f1": [value for _, value in sorted(found.f1.items())], "segments": found.segments}


if __name__ == "__main__":
    main()
