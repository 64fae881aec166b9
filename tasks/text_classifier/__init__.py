"""Fits a linear classifier of two kinds of pages, as LLaMA's of pages that Wikipedia cites against random ones.

After section 2.1 of Touvron et al. 2023, which gives no details, and RedPajama's reproduction (branch rp_v1 of
togethercomputer/RedPajama-Data, ``data_prep/cc/classifier``): fastText, supervised, with its default options, on one
line a page. Other than there, the classes do not differ in length, and no site is both trained on and measured with.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from infra.stage import StageKind, stage
from tasks.fasttext_model import load_supervised
from tasks.fasttext_training import train
from tasks.model_files import FIT_REPORT
from tasks.text.fasttext_line import LABEL
from tasks.text_classifier.candidates import columns_of, find_candidates
from tasks.text_classifier.choice import HELD_OUT, TRAINED, Line, Spool, choose
from tasks.text_classifier.config import MODEL, NEGATIVE, POSITIVE, TextClassifierConfig
from tasks.text_classifier.measuring import measure


def fit_chosen(tables: Iterable[pa.Table], config: TextClassifierConfig, folder: Path) -> dict[str, Path]:
    """Choose from the rows of `find_candidates`, train, and measure. Raises ValueError where a class is too small."""
    counts = {POSITIVE: Counter[str](), NEGATIVE: Counter[str]()}
    lines, model, report = folder / "lines.txt", folder / MODEL, folder / FIT_REPORT
    with Spool(folder / "spool") as spool:
        for batch in (batch for table in tables for batch in table.to_batches(max_chunksize=256)):
            for row in batch.to_pylist():
                if row["label"] is None:
                    for label, found in json.loads(row["text"]).items():
                        counts[label].update(found)
                else:
                    spool.add(row["label"], row["rank"], row["site"], row["words"], row["text"])
        chosen, more = choose(spool.candidates, config)
        about: dict[str, Any] = {label: {**dict(sorted(counts[label].items())), **more[label]} for label in counts}
        _refuse_few(about, config)
        with lines.open("w", encoding="utf-8", newline="\n") as file:
            for line in chosen[TRAINED]:
                file.write(f"{LABEL}{line.label} {spool.text(line)}\n")
        with lines.open("rb") as stored:
            about["training_file_sha256"] = hashlib.file_digest(stored, "sha256").hexdigest()
        train(lines, config.options(), model)
        lines.unlink()
        found = _scores(model, spool, chosen[HELD_OUT])
    held_out = chosen[HELD_OUT]
    about["held_out_without_known_word"] = found.count(None)
    scores = [0.0 if score is None else score for score in found]  # a threshold keeps neither
    about |= measure(
        scores,
        [line.label == POSITIVE for line in held_out],
        [line.words for line in held_out],
        [line.length for line in held_out],
    )
    about["parameters"] = config.model_dump(mode="json")
    report.write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return {MODEL: model, FIT_REPORT: report}


def no_more_files(partial: Mapping[str, Path], config: TextClassifierConfig, folder: Path) -> dict[str, Path]:
    """The only partition has made all files."""
    return {}


@stage(
    "text_classifier",
    version=1,
    kind=StageKind.fit,
    config=TextClassifierConfig,
    libraries=["fasttext", "scipy", "publicsuffixlist"],
    columns=columns_of,
    groups={"map": find_candidates, "group": fit_chosen, "join": no_more_files},
)
def fit_text_classifier(documents: Iterator[pa.Table], config: TextClassifierConfig, folder: Path) -> dict[str, Path]:
    """Fit the classifier. The files are ``model.bin``, of fastText, and ``report.json``: counts and held-out accuracy.

    The same documents give the same model on one machine, in any order.
    """
    return fit_chosen((find_candidates(table, config) for table in documents), config, folder)


def _refuse_few(about: Mapping[str, Mapping[str, int]], config: TextClassifierConfig) -> None:
    """Raises ValueError, which says where the documents of each class went, if too few are left."""
    if about[POSITIVE][TRAINED] >= config.minimum_documents and about[POSITIVE][HELD_OUT]:
        return
    told = "; ".join(f"{label}: {', '.join(f'{n:,} {what}' for what, n in about[label].items())}" for label in about)
    raise ValueError(
        f"a text classifier needs {config.minimum_documents} documents of each class, and sites to hold out. There are "
        f"{told}. Give more input, or set minimum_documents, negative_rate or most_per_site; for a class from few "
        "sites, by_site: false"
    )


def _scores(path: Path, spool: Spool, lines: Sequence[Line]) -> list[float | None]:
    """The probability that a line is positive; None for one without a word that the model knows."""
    model, _ = load_supervised({MODEL: path}, "a classifier", MODEL)
    wanted = LABEL + POSITIVE
    found = (model.predict(spool.text(line) + "\n", -1, 0.0, "strict") for line in lines)
    return [next((p for p, label in predictions if label == wanted), None) for predictions in found]
