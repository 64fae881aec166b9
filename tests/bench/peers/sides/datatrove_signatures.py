"""MinHash signatures by datatrove: its signature step's own methods, 16 buckets of 8 hashes of 32 bits."""

import json

from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
from datatrove.utils.hashing import HashConfig


def prepare(given, folder):
    config = MinhashConfig(n_grams=5, num_buckets=16, hashes_per_bucket=8, hash_config=HashConfig(precision=32))
    return MinhashDedupSignature(str(folder / "signatures"), config), json.loads(given.read_text())


def sign(step, texts):
    signed = []
    for text in texts:
        shingles = step.get_shingles(text)
        signed.append([value for bucket in step.get_signature(shingles) for value in bucket] if shingles.size else [])
    return signed


def work(value):
    step, given = value
    sign(step, given["texts"])


def outcome(value):
    step, given = value
    signed = sign(step, [text for pair in given["pairs"] for text in pair])
    return [[left, right] for left, right in zip(signed[::2], signed[1::2])]
