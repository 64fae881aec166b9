"""Extraction by trafilatura: its `extract` with fast=True on each page's bytes, as many tools call it."""

import base64
import json

from trafilatura import extract
from trafilatura.meta import reset_caches


def prepare(given, folder):
    value = json.loads(given.read_text())
    return {name: [base64.b64decode(page) for page in pages] for name, pages in value.items()}


def extracted(pages):
    texts = [extract(page, fast=True, include_comments=False) or "" for page in pages]
    reset_caches()
    return texts


def work(value):
    extracted(value["pages"])


def outcome(value):
    return extracted(value["gold"])
