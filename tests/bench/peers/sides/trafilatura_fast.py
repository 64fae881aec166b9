"""Extraction by trafilatura: its `extract` with fast=True on each page's bytes."""

import json

from trafilatura import extract
from trafilatura.meta import reset_caches


def prepare(given, folder):
    return [page.encode() for page in json.loads(given.read_text())["pages"]]


def extracted(pages):
    texts = [extract(page, fast=True, include_comments=False) or "" for page in pages]
    reset_caches()
    return texts


def work(value):
    extracted(value)


def outcome(value):
    return extracted(value)
