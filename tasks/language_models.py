"""Fits the models for perplexity: per language a SentencePiece model, a KenLM model and percentiles.

After cc_net (the Makefile of facebookresearch/cc_net at commit bda555bd): documents normalised to one line each, a
SentencePiece unigram model with character coverage 0.9995, KenLM of order 5 with modified Kneser-Ney smoothing and
fallback discounts. The same documents in the same order produce the same files on one machine.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pydantic
import sentencepiece

from infra.kenlm_tools import KenlmTools, kenlm_tools
from infra.stage import FIT_PARTITIONS, PARTIAL, StageConfig, StageKind, stage
from tasks.perplexity import DECIMALS, FITTED_CUTOFFS, MODEL_SUFFIX, TOKENIZER_SUFFIX, LanguageScorer
from tasks.text.normalise import normalise_for_scoring

# Does not affect the result: beyond this, lmplz sorts on disk and builds the same model.
_SORT_MEMORY = "512M"
# SentencePiece skips longer sentences, so documents are split at spaces below it. Its own default is 4192 bytes.
_SENTENCE_CHARACTERS = 4096
_ROWS = pa.schema([("partition", pa.int32()), ("row", pa.int32()), ("language", pa.string()), ("line", pa.string())])
_LANGUAGE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class LanguageModelsConfig(StageConfig):
    """The parameters of the fitted models. Defaults are cc_net's where it has them.

    `vocabulary_size` is a soft limit: small texts yield fewer pieces, and the limit is at least twice the number of
    distinct characters. Every `held_back_every`-th document of a language is withheld from the models and serves to
    compute the percentiles. Documents with a language score below `minimum_score` are ignored. Languages with fewer
    than `minimum_documents` remaining documents get no model; of more than `maximum_documents`, the first are used.
    """

    vocabulary_size: int = pydantic.Field(default=65_536, ge=64)
    character_coverage: float = pydantic.Field(default=0.9995, gt=0.9, le=1)
    order: int = pydantic.Field(default=5, ge=2, le=6)
    minimum_score: float = pydantic.Field(default=0.5, ge=0, le=1)
    minimum_documents: int = pydantic.Field(default=1000, ge=2)
    maximum_documents: int = pydantic.Field(default=1_000_000, ge=2)
    held_back_every: int = pydantic.Field(default=10, ge=2)

    @pydantic.model_validator(mode="after")
    def _some_are_held_back(self) -> LanguageModelsConfig:
        if not self.held_back_every <= self.minimum_documents <= self.maximum_documents:
            raise ValueError(
                f"held_back_every {self.held_back_every}, minimum_documents {self.minimum_documents} and "
                f"maximum_documents {self.maximum_documents} must ascend, so that each language holds back a document"
            )
        return self


def split_languages(documents: pa.Table, config: LanguageModelsConfig) -> pa.Table:
    """The normalised documents that models are fitted to, by language. `documents` are as for `fit_language_models`."""
    columns = (documents.column(name).to_pylist() for name in ("text", "language.label", "language.score"))
    partitions: list[int] = []
    rows: list[int] = []
    languages: list[str] = []
    lines: list[str] = []
    for row, (text, language, score) in enumerate(zip(*columns, strict=True)):
        if language is None or score < config.minimum_score:
            continue
        if not _LANGUAGE.fullmatch(language):
            raise ValueError(f"the language label {language!r} cannot name a file: check the language model")
        partitions.append(zlib.crc32(language.encode()) % FIT_PARTITIONS)
        rows.append(row)
        languages.append(language)
        lines.append(normalise_for_scoring(text))
    return pa.table([partitions, rows, languages, lines], schema=_ROWS)


def fit_languages(tables: Iterable[pa.Table], config: LanguageModelsConfig, folder: Path) -> dict[str, Path]:
    """Fit the models of some languages; `tables` have the rows of `split_languages`. Returns the files by name.

    A partial file for each language has its entry of the cut-offs, or the number of documents where they are too few.
    """
    work = folder / "work"
    work.mkdir()
    files: dict[str, Path] = {}
    for name, corpus in sorted(_collect(tables, config, work).items()):
        about: dict[str, object] = {"documents": corpus.documents}
        if corpus.documents >= config.minimum_documents:
            tools = kenlm_tools()
            tokenizer, model = folder / f"{name}{TOKENIZER_SUFFIX}", folder / f"{name}{MODEL_SUFFIX}"
            _fit_tokenizer(corpus, config, tokenizer)
            _fit_model(corpus, config, tokenizer, model, tools)
            about = _measure(corpus, LanguageScorer(tokenizer, model))
            files |= {tokenizer.name: tokenizer, model.name: model}
        files[f"{name}{PARTIAL}"] = folder / f"{name}{PARTIAL}"
        files[f"{name}{PARTIAL}"].write_text(json.dumps(about, sort_keys=True), encoding="utf-8")
    shutil.rmtree(work)
    return files


def join_cutoffs(partial: Mapping[str, Path], config: LanguageModelsConfig, folder: Path) -> dict[str, Path]:
    """The cut-offs of all languages from the partial files of `fit_languages`."""
    found = {name.removesuffix(PARTIAL): json.loads(path.read_text("utf-8")) for name, path in partial.items()}
    table = {
        "languages": {name: about for name, about in found.items() if "percentiles" in about},
        "without_model": {name: about["documents"] for name, about in found.items() if "percentiles" not in about},
        "parameters": config.model_dump(mode="json"),
    }
    path = folder / FITTED_CUTOFFS
    path.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return {FITTED_CUTOFFS: path}


@stage(
    "language_models",
    version=1,
    kind=StageKind.fit,
    config=LanguageModelsConfig,
    libraries=["kenlm", "sentencepiece"],
    columns=["text", "language.label", "language.score"],
    groups={"map": split_languages, "group": fit_languages, "join": join_cutoffs},
)
def fit_language_models(documents: Iterator[pa.Table], config: LanguageModelsConfig, folder: Path) -> dict[str, Path]:
    """Fit the models of every language with enough documents. Return the files by name, all of them in `folder`.

    `documents` are tables with ``text``, ``language.label`` and ``language.score``. The files are ``en.sp.model`` and
    ``en.arpa.bin`` per language, and ``cutoffs.json`` for all: the percentiles 0 to 99 of the withheld documents'
    perplexity, the counts behind them, and the languages without a model. Raises KenlmToolsMissing if lmplz cannot be
    built, and RuntimeError that names the language if a trainer fails.
    """
    files = fit_languages((split_languages(table, config) for table in documents), config, folder)
    partial = {name: path for name, path in files.items() if name.endswith(PARTIAL)}
    files |= join_cutoffs(partial, config, folder)
    for name in partial:
        files.pop(name).unlink()
    return files


@dataclass
class _Corpus:
    """The normalised documents of one language on disk, one per line."""

    language: str
    fitted: Path
    held_back: Path
    documents: int = 0
    characters: set[str] = field(default_factory=set)

    def add(self, normalised: str, held_back_every: int) -> None:
        self.documents += 1
        held_back = self.documents % held_back_every == 0
        with (self.held_back if held_back else self.fitted).open("a", encoding="utf-8") as file:
            file.write(normalised + "\n")
        if not held_back:
            self.characters.update(normalised)


def _collect(tables: Iterable[pa.Table], config: LanguageModelsConfig, work: Path) -> dict[str, _Corpus]:
    corpora: dict[str, _Corpus] = {}
    for table in tables:
        for language, line in zip(table["language"].to_pylist(), table["line"].to_pylist(), strict=True):
            corpus = corpora.get(language)
            if corpus is None:
                corpus = _Corpus(language, work / f"{language}.fitted.txt", work / f"{language}.held_back.txt")
                corpora[language] = corpus
            if line and corpus.documents < config.maximum_documents:
                corpus.add(line, config.held_back_every)
    return corpora


def _fit_tokenizer(corpus: _Corpus, config: LanguageModelsConfig, tokenizer: Path) -> None:
    # An iterator and a writer instead of files, because SentencePiece stores file paths in its model.
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_sentences(corpus.fitted),
            model_writer=model,
            model_type="unigram",
            vocab_size=max(config.vocabulary_size, 2 * len(corpus.characters)),
            hard_vocab_limit=False,
            character_coverage=config.character_coverage,
            max_sentence_length=4 * _SENTENCE_CHARACTERS,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise RuntimeError(
            f"SentencePiece could not be fitted to {corpus.documents} documents in {corpus.language}: {error}"
        ) from error
    tokenizer.write_bytes(model.getvalue())


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.rstrip("\n")


def _sentences(path: Path) -> Iterator[str]:
    for line in _lines(path):
        start = 0
        while len(line) - start > _SENTENCE_CHARACTERS:
            space = line.rfind(" ", start + 1, start + _SENTENCE_CHARACTERS)
            end = space if space > 0 else start + _SENTENCE_CHARACTERS
            yield line[start:end]
            start = end
        yield line[start:]


def _fit_model(corpus: _Corpus, config: LanguageModelsConfig, tokenizer: Path, model: Path, tools: KenlmTools) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
    pieces, arpa = corpus.fitted.with_suffix(".pieces"), corpus.fitted.with_suffix(".arpa")
    with pieces.open("w", encoding="utf-8", newline="\n") as file:
        for line in _lines(corpus.fitted):
            file.write(" ".join(processor.encode(line, out_type=str)) + "\n")
    temporary = corpus.fitted.parent / "sort-"
    # --skip_symbols ignores a literal <s> in a document, which would abort the fit otherwise.
    _run(
        [str(tools.lmplz), "--order", str(config.order), "--discount_fallback", "--skip_symbols"]
        + ["--memory", _SORT_MEMORY, "--vocab_estimate", str(processor.get_piece_size())]
        + ["--temp_prefix", str(temporary), "--text", str(pieces), "--arpa", str(arpa)],
        corpus.language,
    )
    _run([str(tools.build_binary), "-T", str(temporary), "probing", str(arpa), str(model)], corpus.language)
    pieces.unlink()
    arpa.unlink()


def _run(command: list[str], language: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-4:])
        raise RuntimeError(f"{Path(command[0]).name} ended with {done.returncode} for the language {language}:\n{last}")


def _measure(corpus: _Corpus, scorer: LanguageScorer) -> dict[str, object]:
    scored = [scorer.perplexity(line) for line in _lines(corpus.held_back)]
    perplexities = [perplexity for perplexity in scored if perplexity is not None]
    if not perplexities:
        raise RuntimeError(f"no held-back document in {corpus.language} has a perplexity: raise minimum_documents")
    percentiles = np.percentile(perplexities, np.arange(100)).round(DECIMALS)
    return {"documents": corpus.documents, "held_back": len(scored), "percentiles": percentiles.tolist()}
