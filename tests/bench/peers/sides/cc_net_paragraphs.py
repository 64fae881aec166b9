"""Duplicate paragraphs by cc_net's own modules: all hashes of a group of documents collected, then lines removed."""

import json

from cc_net.dedup import DuplicatesRemover, HashesCollector


def prepare(given, folder):
    return json.loads(given.read_text())["texts"]


def removed(texts):
    collector = HashesCollector("text")
    for text in texts:
        collector.do({"text": text})
    remover = DuplicatesRemover("text", [])
    remover.duplicates = collector.hashes
    return [remover.do({"text": text}) for text in texts]


def work(value):
    removed(value)


def outcome(value):
    return [None if document is None else document["text"] for document in removed(value)]
