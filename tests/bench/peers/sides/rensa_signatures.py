"""MinHash signatures by rensa: of word 5-grams of lower-cased text, over the full set."""

import json
import re

from rensa import RMinHash

PERMUTATIONS, WIDTH, SEED = 128, 5, 1


def prepare(given, folder):
    return json.loads(given.read_text())


def shingles(text):
    words = re.findall(r"\w+", text.lower())
    return [" ".join(words[start : start + WIDTH]) for start in range(max(len(words) - WIDTH + 1, 1))]


def sign(texts):
    return RMinHash.digests_from_token_sets([shingles(text) for text in texts], PERMUTATIONS, SEED)


def work(value):
    sign(value["texts"])


def outcome(value):
    signed = sign([text for pair in value["pairs"] for text in pair])
    return [[list(map(int, left)), list(map(int, right))] for left, right in zip(signed[::2], signed[1::2])]
