"""Perplexity by cc_net's own modules: SentencePiece on normalised text, then KenLM, as its mine.py calls them."""

import json
from pathlib import Path

from cc_net.perplexity import DocLM, MultiSentencePiece


def prepare(given, folder):
    value = json.loads(given.read_text())
    models = Path(value["models"])
    tokenizers = {language: models / f"{language}.sp.model" for language in value["fitted"]}
    scorers = {language: models / f"{language}.arpa.bin" for language in value["fitted"]}
    pieces = MultiSentencePiece(tokenizers, field="text", output_field="tokenized", normalize=True)
    scores = DocLM(scorers, field="tokenized", output_field="perplexity", normalize=False)
    pieces._prepare()
    scores._prepare()
    return pieces, scores, list(zip(value["texts"], value["languages"]))


def scored(value):
    pieces, scores, documents = value
    return [
        scores.do(pieces.do({"text": text, "language": language})).get("perplexity") for text, language in documents
    ]


def work(value):
    scored(value)


def outcome(value):
    return scored(value)
