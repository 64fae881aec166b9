"""SentencePiece models: their ids are those of the library `sentencepiece`; others see them as `tokenizers` files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, decoders, models, normalizers

SPACE = "▁"
_UNIGRAM, _BPE = 1, 2  # TrainerSpec.ModelType of sentencepiece_model.proto
_UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 2, 3, 4, 5  # SentencePiece.Type
_KINDS = {_UNIGRAM: "unigram", _BPE: "BPE", 3: "word", 4: "char"}


def open_model(path: Path) -> Any:
    """The `SentencePieceProcessor` of a model file. Raises ValueError if it is none."""
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path} is not a SentencePiece model ({error}): fetch it again") from error


def encoder_of(path: Path) -> Callable[[list[str]], list[list[int]]]:
    """What gives the ids of texts, without those of control pieces: `sentencepiece` itself, in one thread."""
    processor = open_model(path)
    return lambda texts: [processor.encode(text) for text in texts]


def as_tokenizer(path: Path) -> Any:
    """The model as a `tokenizers.Tokenizer`, with the same tokens and ids.

    It decodes as the model does, and encodes alike where the model has no normalisation of its own, as LLaMA's. Where
    it has one, such as NFKC, `tokenizers` normalises some sequences of combining characters in another way.

    Raises ValueError for a file that is no BPE or unigram model.
    """
    open_model(path)
    model: Any = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    model.ParseFromString(path.read_bytes())
    pieces = [(piece.piece, piece.score) for piece in model.pieces]
    kinds = [piece.type for piece in model.pieces]
    kind, fallback = model.trainer_spec.model_type, model.trainer_spec.byte_fallback
    found: Any
    if kind == _UNIGRAM:
        found = models.Unigram(pieces, kinds.index(_UNKNOWN), fallback)
    elif kind == _BPE:
        names = {piece: number for number, (piece, _) in enumerate(pieces)}
        found = models.BPE(names, _merges(pieces, kinds), unk_token=pieces[kinds.index(_UNKNOWN)][0], fuse_unk=True)
        found.byte_fallback = fallback
    else:
        raise ValueError(f"{path} is a {_KINDS.get(kind, kind)} model of SentencePiece: use unigram or BPE")
    tokenizer = tokenizers.Tokenizer(found)
    tokenizer.normalizer = _normalizer(model.normalizer_spec)
    strip = [decoders.Strip(" ", 1, 0)] if model.normalizer_spec.add_dummy_prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    tokenizer.add_special_tokens([piece for (piece, _), kind in zip(pieces, kinds) if kind in (_UNKNOWN, _CONTROL)])
    own = [piece for (piece, _), kind in zip(pieces, kinds) if kind == _USER_DEFINED]
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in own])
    return tokenizer


def keeps_text(normalizer: Any) -> bool:
    """Whether a normaliser, as in a tokenizer file, only puts U+2581 in place of spaces, and perhaps in front."""
    steps = normalizer.get("normalizers") or [normalizer] if isinstance(normalizer, dict) else []
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    return bool(steps) and all(step in (spaces, {"type": "Prepend", "prepend": SPACE}) for step in steps)


def _merges(pieces: list[tuple[str, float]], kinds: list[int]) -> list[tuple[str, str]]:
    """Every pair of pieces that makes a piece, the best first: SentencePiece merges by the score of the result."""
    scores = {piece: score for (piece, score), kind in zip(pieces, kinds) if kind not in (_UNKNOWN, _CONTROL, _UNUSED)}
    found = []
    for piece, score in scores.items():
        cuts = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        made = [(scores[left], left, right) for left, right in cuts if left in scores and right in scores]
        found += [(-score, -of_left, left, right) for of_left, left, right in made]
    return [(left, right) for _, _, left, right in sorted(found)]


def _normalizer(spec: Any) -> Any:
    steps: list[Any] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if spec.add_dummy_prefix:
        steps.append(normalizers.Prepend(SPACE))
    return normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
