"""Perplexity: the stage `perplexity` with small models of twelve languages, against cc_net's own modules."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pyarrow as pa

from tasks.perplexity import (
    MODEL_SUFFIX,
    PerplexityConfig,
    PerplexityModels,
    load_perplexity_models,
    score_perplexity,
)
from tests.bench.inputs import CRAWL, page_texts
from tests.bench.language import our_languages
from tests.bench.peers.process import Contest, contest, equal
from tests.bench.peers.tools import cc_net
from tests.bench.report import print_head

MODELS = CRAWL.parent / "ccnet" / "lm"
CONFIG = PerplexityConfig()


def run() -> None:
    """Compare, time and print; without the models, which lie beside the project, there is nothing to compare."""
    texts = page_texts()
    about = "normalised, cut into pieces and scored by KenLM, one thread, models loaded before"
    print_head("perplexity", about, texts, ["sentencepiece", "kenlm"])
    if not MODELS.is_dir():
        print(f"  MISSING, no models are in {MODELS}")
        return
    languages = [label for label, _ in our_languages(texts.value)]
    fitted = sorted(file.name.removesuffix(MODEL_SUFFIX) for file in MODELS.glob(f"*{MODEL_SUFFIX}"))
    models = load_perplexity_models(CONFIG, {file.name: file for file in MODELS.iterdir()})
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        given = Path(folder) / "texts.json"
        value = {"texts": texts.value, "languages": languages, "models": str(MODELS.resolve()), "fitted": fitted}
        given.write_text(json.dumps(value))
        one = Contest(
            "perplexity",
            cc_net(),
            "cc_net",
            "cc_net_perplexity",
            2.0,
            lambda: scored(texts.value, languages, models),
            lambda: scored(texts.value, languages, models).to_pylist(),
            equal,
            (("sentencepiece", "kenlm"), ["sentencepiece", "kenlm"]),
        )
        contest(one, texts, given)


def scored(texts: list[str], languages: list[str | None], models: PerplexityModels) -> pa.ChunkedArray:
    """The stage's kernel on one batch."""
    batch = pa.table({"text": pa.array(texts, pa.string()), "language.label": pa.array(languages, pa.string())})
    return score_perplexity(batch, CONFIG, models)["perplexity"]
