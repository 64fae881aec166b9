"""Heuristic rules by datatrove: its four filters (Gopher's two, C4's and FineWeb's), each asked about each text."""

import json

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)


def prepare(given, folder):
    filters = [GopherQualityFilter(), GopherRepetitionFilter(), C4QualityFilter(), FineWebQualityFilter()]
    return filters, json.loads(given.read_text())["texts"]


def work(value):
    filters, texts = value
    for text in texts:
        for one in filters:
            one.filter(Document(text=text, id=""))


def outcome(value):
    """Whether Gopher's two filters keep each text."""
    filters, texts = value
    return [all(one.filter(Document(text=text, id="")) is True for one in filters[:2]) for text in texts]
