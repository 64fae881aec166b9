"""WARC to packed tokens by datatrove's own steps, one after another in this process, as one worker of it runs them.

Text goes through one file of JSON Lines, as signatures must be complete before anything is removed; that file is not
compressed, and signatures are made in the same pass. Its extractor's second process, which only guards against pages
that take too long, is left out, and so is shuffling: their cost would count against it. The language model and the
tokenizer are local files.
"""

import json
import os
import shutil
import tempfile

from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter, LanguageFilter
from datatrove.pipeline.readers import JsonlReader, WarcReader
from datatrove.pipeline.tokens import DocumentTokenizer, DocumentTokenizerMerger
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig
from fasttext.FastText import _FastText


def prepare(given, folder):
    value = json.loads(given.read_text())
    paths = folder / "paths"
    paths.write_text("".join(f"{os.path.basename(path)}\n" for path in value["archives"]))
    value |= {"place": os.path.dirname(value["archives"][0]), "paths": str(paths), "folder": str(folder)}
    value["model"] = _FastText(value["language_model"])
    return value


def extracted(documents, counts):
    extractor = Trafilatura(favour_precision=True, timeout=60)
    for document in documents:
        try:
            document.text = extractor.extract(document.text)
        except Exception:  # noqa: BLE001 - as its own extractor does
            continue
        if document.text:
            counts["texts"] += 1
            yield document


def counted(documents, counts, name):
    for document in documents:
        counts[name].append(document.id)
        yield document


def line(value):
    folder = tempfile.mkdtemp(dir=value["folder"])
    names = ("texts", "signatures", "buckets", "remove", "tokens", "merged")
    places = {name: f"{folder}/{name}" for name in names}
    counts = {"texts": 0, "passed": [], "unique": []}
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8, hash_config=HashConfig(precision=32))

    languages = LanguageFilter(language_threshold=value["least_language_score"])
    languages.model._model = value["model"]
    documents = extracted(WarcReader(value["place"], paths_file=value["paths"]).run(), counts)
    for one in (languages, GopherRepetitionFilter(), GopherQualityFilter(min_stop_words=None)):
        documents = one.run(documents)
    documents = JsonlWriter(places["texts"], compression=None).run(counted(documents, counts, "passed"))
    MinhashDedupSignature(places["signatures"], config).run(documents)

    buckets = MinhashDedupBuckets(places["signatures"], places["buckets"], config=config)
    for bucket in range(config.num_buckets):
        buckets.run(None, bucket, config.num_buckets)
    MinhashDedupCluster(places["buckets"], places["remove"], config=config).run(None, 0, 1)

    unique = MinhashDedupFilter(places["remove"]).run(JsonlReader(places["texts"]).run(), 0, 1)
    DocumentTokenizer(
        places["tokens"],
        value["tokenizer"],
        save_filename="crawl",
        eos_token="<|endoftext|>",
        shuffle_documents=False,
    ).run(counted(unique, counts, "unique"))
    merger = DocumentTokenizerMerger(places["tokens"], places["merged"], "crawl", shuffle=False, progress=False)
    merger.run()
    shutil.rmtree(folder)
    return counts, merger.stats["tokens"].total


def work(value):
    line(value)


def outcome(value):
    counts, tokens = line(value)
    ids = [id.strip("<>").removeprefix("urn:uuid:").lower() for id in counts["unique"]]
    return [counts["texts"], len(counts["passed"]), len(ids), tokens, ids]
