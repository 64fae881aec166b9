"""Near-duplicates by datatrove: the four steps of its MinHash deduplication, one after another in this process."""

import json
import shutil
import tempfile

from datatrove.data import Document
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.utils.hashing import HashConfig


def prepare(given, folder):
    return json.loads(given.read_text())["texts"], folder


def kept(value):
    texts, place = value
    folder = tempfile.mkdtemp(dir=place)
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8, hash_config=HashConfig(precision=32))
    places = {name: f"{folder}/{name}" for name in ("signatures", "buckets", "remove")}
    documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
    MinhashDedupSignature(places["signatures"], config).run(iter(documents))
    buckets = MinhashDedupBuckets(places["signatures"], places["buckets"], config=config)
    for bucket in range(config.num_buckets):
        buckets.run(None, bucket, config.num_buckets)
    MinhashDedupCluster(places["buckets"], places["remove"], config=config).run(None, 0, 1)
    found = [int(document.id) for document in MinhashDedupFilter(places["remove"]).run(iter(documents), 0, 1)]
    shutil.rmtree(folder)
    return found


def work(value):
    kept(value)


def outcome(value):
    return kept(value)
