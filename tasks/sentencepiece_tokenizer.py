"""Fits a SentencePiece BPE as LLaMA's: digits are split, and unknown characters become bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pydantic
import sentencepiece

from infra.stage import StageConfig, StageKind, stage
from tasks.tokenizer import SENTENCEPIECE_FILE, first_documents

END_OF_SENTENCE = "</s>"
# The trainer skips longer lines; a document is at most 16 MiB long.
_LONGEST_LINE = 1 << 25


class SentencePieceConfig(StageConfig):
    """The size of the vocabulary, with 3 control pieces and 256 bytes, and the documents that it is fitted on."""

    vocabulary_size: int = pydantic.Field(32_000, ge=320)
    most_documents: int = pydantic.Field(100_000, ge=1)


@stage(
    "sentencepiece_tokenizer",
    version=1,
    kind=StageKind.fit,
    config=SentencePieceConfig,
    libraries=["sentencepiece"],
    columns=["text"],
    first=lambda config: config.most_documents,
)
def fit_sentencepiece(documents: Iterator[pa.Table], config: SentencePieceConfig, folder: Path) -> dict[str, Path]:
    """Fit the model on the lines of the first `most_documents` documents; the others are ignored.

    The options are those in the trainer specification of LLaMA's published tokenizer.model: BPE, coverage of 0.99995 of
    the characters, split digits, bytes for the rest, pieces of spaces alone, no normalisation, a space in front. One
    thread, so that the model depends on the documents alone. Raises ValueError if they are too few for the vocabulary.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(first_documents(documents, config.most_documents)),
            model_writer=model,
            model_type="bpe",
            vocab_size=config.vocabulary_size,
            character_coverage=0.99995,
            split_digits=True,
            byte_fallback=True,
            allow_whitespace_only_pieces=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            max_sentence_length=_LONGEST_LINE,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(
            f"no tokenizer of {config.vocabulary_size} pieces can be fitted on these documents: "
            f"{str(error).rsplit('] ')[-1]} Set tokenizer.vocabulary_size to what they allow"
        ) from error
    path = folder / SENTENCEPIECE_FILE
    path.write_bytes(model.getvalue())
    return {SENTENCEPIECE_FILE: path}


def _lines(documents: Iterator[pa.Table]) -> Iterator[str]:
    """Lines of text, without what separates sentences for the trainer."""
    for table in documents:
        for text in table["text"].to_pylist():
            yield from (line for line in text.replace("\0", "").split("\n") if line.strip())
