"""MinHash signatures by Daft: of word 5-grams of normalised text, hashed by its default function."""

import json

import daft
from daft.functions import minhash, normalize

PERMUTATIONS, WIDTH, SEED = 128, 5, 1


def prepare(given, folder):
    daft.set_runner_native(num_threads=1)
    value = json.loads(given.read_text())
    return {"texts": daft.from_pydict({"text": value["texts"]}).collect(), "pairs": value["pairs"]}


def sign(frame):
    text = normalize(daft.col("text"), remove_punct=True, lowercase=True, nfd_unicode=False, white_space=True)
    return frame.select(
        minhash(text, num_hashes=PERMUTATIONS, ngram_size=WIDTH, seed=SEED).alias("signature")
    ).collect()


def work(value):
    sign(value["texts"])


def outcome(value):
    frame = daft.from_pydict({"text": [text for pair in value["pairs"] for text in pair]})
    signed = sign(frame).to_pydict()["signature"]
    return [[list(map(int, left)), list(map(int, right))] for left, right in zip(signed[::2], signed[1::2])]
