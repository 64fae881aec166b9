"""Token ids of texts not seen before: the stage `encode` with GPT-NeoX's tokenizer, against Hugging Face's library."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pyarrow as pa

from tasks.tokenizer import TOKENIZER_FILE
from tasks.tokens import EncodeConfig, encode, load_encoder
from tests.bench.inputs import CRAWL, page_texts
from tests.bench.peers.process import Contest, contest, equal
from tests.bench.peers.tools import TOKENIZERS
from tests.bench.report import print_head

TOKENIZER = CRAWL.parent / "tokenizers" / "neox-20B_tokenizer.json"
CONFIG = EncodeConfig()
ROUNDS = 5


def run() -> None:
    """Compare, time and print; without the tokenizer, which lies beside the project, there is nothing to compare."""
    texts = page_texts(whole=True)
    about = "GPT-NeoX's tokenizer, loaded anew for each round, so that its caches are empty; one thread"
    print_head("tokenizing", about, texts, ["gigatoken", "tokenizers"])
    if not TOKENIZER.is_file():
        print(f"  MISSING, no tokenizer is at {TOKENIZER}")
        return
    documents = pa.table({"text": pa.array(texts.value, pa.string())})
    fresh = [load_encoder(CONFIG, {TOKENIZER_FILE: TOKENIZER}) for _ in range(ROUNDS + 1)]
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        given = Path(folder) / "texts.json"
        value = {"texts": texts.value, "tokenizer": str(TOKENIZER.resolve()), "fresh": ROUNDS + 1}
        given.write_text(json.dumps(value))
        one = Contest(
            "tokenizing, text not seen before",
            TOKENIZERS,
            "Hugging Face tokenizers",
            "tokenizers_ids",
            20.0,
            lambda: encode(documents, CONFIG, fresh.pop()),
            lambda: encode(documents, CONFIG, fresh.pop())["ids"].to_pylist(),
            equal,
            (("tokenizers",), ["gigatoken", "tokenizers"]),
        )
        contest(one, texts, given, ROUNDS)
