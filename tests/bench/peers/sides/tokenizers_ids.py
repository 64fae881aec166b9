"""Token ids by Hugging Face tokenizers: one batch, special tokens as text, with a tokenizer whose cache is empty."""

import json
import os

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import Tokenizer


def prepare(given, folder):
    value = json.loads(given.read_text())
    fresh = [Tokenizer.from_file(value["tokenizer"]) for _ in range(value["fresh"])]
    for tokenizer in fresh:
        tokenizer.encode_special_tokens = True
    return value["texts"], fresh


def ids(value):
    texts, fresh = value
    return [one.ids for one in fresh.pop().encode_batch_fast(texts, add_special_tokens=False)]


def work(value):
    ids(value)


def outcome(value):
    return ids(value)
