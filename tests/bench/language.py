"""Language identification: the stage's one call to fastText for a batch, against a call for each document."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import fasttext
import pyarrow as pa

from tasks.fasttext_model import FasttextModel
from tasks.language import LanguageConfig, identify_language, load_language_model
from tasks.model_files import model_files
from tests.bench.inputs import page_texts
from tests.bench.measure import Side, compare
from tests.bench.report import Bar, print_bar, print_comparison, print_head, print_row, row_of

CONFIG = LanguageConfig()
MODEL = "lid.176.ftz"
CURATOR = Bar("NeMo Curator's fastText", 500, "documents")
Found = tuple[str | None, float | None]


def run() -> None:
    """Compare, time and print."""
    texts = page_texts()
    ours = Side("millrace", identify, our_languages)
    peer = Side("a predict for each document", identify_one_by_one, identify_one_by_one)
    about = f"the most likely label of {MODEL}, one thread, model loaded before"
    print_head("language", about, texts, ["fasttext", "pyarrow"])
    found = compare(texts, ours, peer)
    print_comparison(texts, ours.name, peer.name, found)
    print_row(row_of("language identification", "fastText's predict", 0.95, texts, found, ["fasttext"]))
    print_bar(CURATOR, texts.items / found.ours.median)


def identify(texts: list[str]) -> pa.Table:
    """The stage's kernel on one batch."""
    return identify_language(pa.table({"text": pa.array(texts, pa.string())}), CONFIG, _our_model())


def our_languages(texts: list[str]) -> list[Found]:
    """Label and rounded score of every text."""
    found = identify(texts)
    return list(zip(found["label"].to_pylist(), found["score"].to_pylist(), strict=True))


def identify_one_by_one(texts: list[str]) -> list[Found]:
    """The same from fastText itself, asked for each text alone, as tools do that filter document by document."""
    model = _fasttext()
    found: list[Found] = []
    for text in texts:
        if not text.strip():
            found.append((None, None))
            continue
        [(probability, label)] = model.predict(text.replace("\n", CONFIG.line_feed) + "\n", 1, 0.0, "strict")
        found.append((label.removeprefix("__label__"), min(1.0, round(probability, CONFIG.decimals))))
    return found


@functools.cache
def _our_model() -> FasttextModel:
    return load_language_model(CONFIG, _files())


@functools.cache
def _fasttext() -> Any:
    [path] = _files().values()
    # The outer class's predict fails with numpy 2; this is what it calls.
    return fasttext.load_model(str(path)).f


def _files() -> dict[str, Path]:
    return {name: Path(path) for name, path in model_files(identify_language, f"bundled:{MODEL}").local.items()}
