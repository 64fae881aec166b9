"""Tokenizer files as they are published beside the weights of OPT and LLaMA."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import sentencepiece

# The files beside OPT's weights: GPT-2's merges, with fairseq's four special tokens in front of the vocabulary.
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
MAP = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}


def opt_folder(folder: Path, shared_data: Path, **changes: Any) -> Path:
    vocabulary = json.loads((shared_data / "tokenizers" / "gpt2-vocab.json").read_text())
    words = [*SPECIAL, *(word for word in vocabulary if word != "<|endoftext|>")]
    (folder / "vocab.json").write_text(json.dumps({word: id for id, word in enumerate(words)}))
    shutil.copyfile(shared_data / "tokenizers" / "gpt2-merges.txt", folder / "merges.txt")
    (folder / "special_tokens_map.json").write_text(json.dumps(MAP))
    config = {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "add_prefix_space": False, **MAP, **changes}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps({"model_type": "opt"}))
    return folder


def small_llama_model() -> bytes:
    """A SentencePiece BPE of LLaMA's kind: bytes for unknown characters, digits apart, no normalisation."""
    model = io.BytesIO()
    lines = [
        f"The mill by the river grinds {number} sacks of corn, and the miller sells flour." for number in range(99)
    ]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        **{"vocab_size": 330, "model_type": "bpe", "byte_fallback": True, "split_digits": True},
        **{"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "minloglevel": 2},
    )
    return model.getvalue()
