"""Accuracy of language identification on labelled texts, per language and encoding, beside whatlang's."""

from __future__ import annotations

import gzip
import json
import re
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from tasks.language import LanguageConfig, identify_language, load_language_model
from tasks.model_files import model_files
from tasks.second_language import SecondLanguageConfig, identify_again
from tasks.sources.charset import decode_page
from tests.bench.inputs import CRAWL
from tests.bench.language_names import BY_ISO_3, BY_NAME
from tests.bench.peers import tools
from tests.bench.peers.process import running
from tests.bench.records import RECORDER
from tests.bench.report import machine, versions

FOLDER = CRAWL.parent / "language-id"
MODEL = "lid.176.ftz"
Labels = list[str | None]
# Text, its language, and what it counts under: an encoding, or the set.
Sample = tuple[str, str, str]
SURE = 0.5


def run() -> None:
    """Identify all texts with the three, and record the shares of right labels."""
    sets = {"lingua75": sentences(), "udhr2": declarations(), "bigbench1000": verses(), "udhr": encoded()}
    RECORDER.start(
        name="languages",
        about="share of texts whose label is the right one",
        machine=machine(),
        versions=f"{versions(['fasttext', 'pycld2'])}, {tools.WHATLANG.requirements[0]}",
    )
    found = {name: labels([text for text, _, _ in samples]) for name, samples in sets.items()}
    know = {name: {label for by in found.values() for label in by[name]} for name in found["lingua75"]}
    accuracy = {name: by_language(sets[name], found[name], know) for name in ("lingua75", "udhr2", "bigbench1000")}
    RECORDER.set(
        systems=list(know),
        languages=accuracy["lingua75"],
        means={name: means(table) for name, table in accuracy.items()},
        encodings=by_encoding(sets["udhr"], found["udhr"], know),
        unknown=unknown_languages(),
    )
    for name, table in accuracy.items():
        print(name, means(table))


def labels(texts: Sequence[str]) -> dict[str, Labels]:
    """The label of each text by each system, under the names of lid.176."""
    files = {name: Path(path) for name, path in model_files(identify_language, f"bundled:{MODEL}").local.items()}
    first = identify_language(_batch(texts), LanguageConfig(), load_language_model(LanguageConfig(), files))
    batch = _batch(texts).append_column("language.label", first["label"])
    second = identify_again(batch, SecondLanguageConfig())
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder, "texts.json")
        given.write_text(json.dumps(list(texts)))
        with running(tools.WHATLANG, "whatlang_labels", given) as peer:
            others = [BY_ISO_3.get(code, code) for code in peer.outcome()]
    return {"lid.176": first["label"].to_pylist(), "CLD2": second["label"].to_pylist(), "whatlang": others}


def by_language(
    samples: Sequence[Sample], found: dict[str, Labels], know: dict[str, set[str | None]]
) -> dict[str, dict[str, float | None]]:
    """Language → system → share of right labels; None for a language that the system never names."""
    right: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for name, own in found.items():
        for (_, language, _), label in zip(samples, own, strict=True):
            right[language][name].append(label == language)
    return {
        language: {
            name: round(sum(values) / len(values), 4) if language in know[name] else None
            for name, values in sorted(systems.items())
        }
        for language, systems in sorted(right.items())
    }


def means(table: dict[str, dict[str, float | None]]) -> dict[str, dict[str, float | int]]:
    """System → mean over the languages that it knows, their number, and the mean over those that all know."""
    common = [row for row in table.values() if None not in row.values()]
    told = {}
    for name in next(iter(table.values())):
        known = [value for row in table.values() if (value := row[name]) is not None]
        shared = [float(row[name] or 0) for row in common]
        told[name] = {
            "known": len(known),
            "mean": round(sum(known) / len(known), 4),
            "common": len(common),
            "common_mean": round(sum(shared) / len(shared), 4),
        }
    return told


def by_encoding(
    samples: Sequence[Sample], found: dict[str, Labels], know: dict[str, set[str | None]]
) -> dict[str, dict[str, float | int | None]]:
    """Encoding → number of texts, and share of right labels by system, of the texts in languages that it knows."""
    table: dict[str, dict[str, float | int | None]] = {}
    for encoding in sorted({encoding for _, _, encoding in samples}):
        places = [place for place, sample in enumerate(samples) if sample[2] == encoding]
        table[encoding] = {"texts": len(places)}
        for name, own in found.items():
            right = [own[place] == samples[place][1] for place in places if samples[place][1] in know[name]]
            table[encoding][name] = round(sum(right) / len(right), 4) if right else None
    return table


def sentences() -> list[Sample]:
    """lingua's sentences in 75 languages."""
    found = []
    with tarfile.open(FOLDER / "lingua75" / "lingua75.tar.xz") as archive:
        for member in archive:
            language, _, name = member.name.partition("/")
            stream = archive.extractfile(member) if name == "sentences.txt" else None
            if stream is not None:
                lines = [line for line in stream.read().decode().split("\n") if line]
                found += [(line, {"nb": "no"}.get(language, language), "utf-8") for line in lines]
    return found


def declarations() -> list[Sample]:
    """The paragraphs of the Declaration of Human Rights in UTF-8, in languages of which LANGUAGES has the code."""
    found = []
    with tarfile.open(FOLDER / "udhr" / "udhr2-utf8.tar.xz") as archive:
        for member in archive:
            language = BY_ISO_3.get(re.sub(r"_.*", "", Path(member.name).stem))
            stream = archive.extractfile(member) if language is not None and member.isfile() else None
            if stream is not None and language is not None:
                lines = stream.read().decode().split("\n")
                found += [(line, language, "utf-8") for line in lines if len(line.strip()) >= 40]
    return found


def verses() -> list[Sample]:
    """BIG-bench's sentences in languages of which LANGUAGES has the name."""
    return [(text, BY_NAME[name], "utf-8") for text, name in _all_verses() if name in BY_NAME]


def encoded() -> list[Sample]:
    """The declarations in legacy encodings, as a page in them would be decoded: in pieces of ten lines."""
    found = []
    with tarfile.open(FOLDER / "udhr" / "udhr-legacy-encodings.tar.xz") as archive:
        for member in archive:
            name, _, encoding = Path(member.name).name.partition("-")
            language = BY_NAME.get(name.partition("_")[0])
            stream = archive.extractfile(member) if language is not None and member.isfile() else None
            if stream is not None and language is not None:
                lines = decode_page(stream.read(), None).text.splitlines()
                pieces = [" ".join(lines[start : start + 10]) for start in range(0, len(lines), 10)]
                encoding = encoding.removesuffix("-err").rpartition("-")[2]
                found += [(piece, language, encoding) for piece in pieces if len(piece) >= 40]
    return found


def unknown_languages() -> dict[str, float]:
    """Of sentences in languages that lid.176 does not know: the shares that it calls English, and anything, surely."""
    texts = [text for text, name in _all_verses() if name not in BY_NAME]
    files = {name: Path(path) for name, path in model_files(identify_language, f"bundled:{MODEL}").local.items()}
    found = identify_language(_batch(texts), LanguageConfig(), load_language_model(LanguageConfig(), files)).to_pylist()
    sure = [row["label"] for row in found if row["label"] is not None and row["score"] >= SURE]
    return {
        "sentences": len(texts),
        "sure": round(len(sure) / len(texts), 4),
        "sure_english": round(sure.count("en") / len(texts), 4),
    }


def _all_verses() -> list[tuple[str, str]]:
    with gzip.open(FOLDER / "bigbench1000" / "sentences.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [(row["text"], row["language"]) for row in rows]


def _batch(texts: Sequence[str]) -> pa.Table:
    return pa.table({"text": pa.array(texts, pa.string())})
