"""Near-duplicates by text-dedup: its MinHash command's own function, in this process, on a data set in memory.

Its hashes are the faster of its two kinds. Reading the data set is left out, so that both sides begin with texts.
"""

import json
import logging
import shutil
import tempfile

import datasets
from text_dedup import minhash
from text_dedup.utils import INDEX_COLUMN, IOArgs, MetaArgs, MinHashArgs


def prepare(given, folder):
    value = json.loads(given.read_text())
    logging.getLogger("text_dedup").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    numbers = list(range(len(value["texts"])))
    columns = {"text": value["texts"], "number": numbers, INDEX_COLUMN: numbers}
    minhash.load_hf_dataset = lambda io_args, meta_args: (datasets.Dataset.from_dict(columns), None)
    return folder, MinHashArgs(ngram=value["words"], threshold=value["threshold"], num_perm=128, hash_func="xxh3")


def deduplicate(value):
    """The folder of the documents that stay."""
    folder, arguments = value
    output = tempfile.mkdtemp(dir=folder)
    # Without a number of processes, it uses none but this one.
    files = IOArgs(path="", output=output, num_proc=None)
    minhash.main.callback(io_args=files, meta_args=MetaArgs(column="text"), minhash_args=arguments)
    return output


def work(value):
    shutil.rmtree(deduplicate(value))


def outcome(value):
    output = deduplicate(value)
    found = list(datasets.load_from_disk(output)["number"])
    shutil.rmtree(output)
    return found
