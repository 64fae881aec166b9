import gzip
import json

import numpy as np
import pyarrow as pa
import pydantic
import pytest
from datasketch import MinHash

from tasks.signatures import SIGNATURE_SCHEMA, SignatureConfig, signatures, unpack_signatures
from tests.tasks.text.test_words import words_of


def batch_of(texts):
    return pa.table({"id": [f"d{i}" for i in range(len(texts))], "text": pa.array(texts, pa.string())})


def datasketch_values(text, config):
    words = words_of(text)
    width = config.shingle_words
    minhash = MinHash(num_perm=config.permutations, seed=config.seed)
    minhash.update_batch([" ".join(words[i : i + width]).encode() for i in range(max(len(words) - width + 1, 1))])
    return minhash.hashvalues


def read_articles(shared_data):
    with gzip.open(shared_data / "near-duplicates" / "articles" / "articles.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    "config",
    [
        SignatureConfig(),
        SignatureConfig(permutations=64, shingle_words=1, seed=42),
        SignatureConfig(permutations=130, shingle_words=13, seed=2**32 - 1),
    ],
)
def test_signatures_equal_those_of_datasketch(shared_data, config):
    texts = [article["text"] for article in read_articles(shared_data)[:150]]
    signed = signatures(batch_of(texts), config)
    rows, values = unpack_signatures(signed["signature"], config.permutations)
    assert rows.tolist() == list(range(150))
    for text, value in zip(texts, values, strict=True):
        np.testing.assert_array_equal(value, datasketch_values(text, config))


def test_a_text_shorter_than_a_shingle_is_signed_by_all_its_words():
    config = SignatureConfig()
    signed = signatures(batch_of(["Three short words", "one two three four five", "x"]), config)
    assert signed["shingles"].to_pylist() == [1, 1, 1]
    _, values = unpack_signatures(signed["signature"], config.permutations)
    np.testing.assert_array_equal(values[0], datasketch_values("three short words", config))


def test_a_text_without_words_has_no_signature():
    signed = signatures(batch_of(["", "a b c d e f", " \n", "!!! ☃"]), SignatureConfig())
    assert signed.schema == SIGNATURE_SCHEMA
    assert signed["shingles"].to_pylist() == [0, 2, 0, 0]
    assert [value is None for value in signed["signature"].to_pylist()] == [True, False, True, True]
    rows, _ = unpack_signatures(signed["signature"], 128)
    assert rows.tolist() == [1]


def test_no_documents_give_no_signatures():
    signed = signatures(batch_of([]), SignatureConfig())
    assert signed.num_rows == 0 and signed.schema == SIGNATURE_SCHEMA
    assert unpack_signatures(signed["signature"], 128)[1].shape == (0, 128)


def test_chunks_and_slices_make_no_difference():
    texts = [f"word{i} and some more words {i * i} here" for i in range(10)]
    whole = batch_of(texts)
    chunked = pa.concat_tables([whole.slice(0, 3), whole.slice(3, 4), whole.slice(7)])
    config = SignatureConfig()
    expected = signatures(whole, config)
    assert signatures(chunked, config).equals(expected)
    part = pa.chunked_array([expected["signature"].chunk(0).slice(4, 3)])
    np.testing.assert_array_equal(
        unpack_signatures(part, 128)[1], unpack_signatures(expected["signature"], 128)[1][4:7]
    )


def test_signatures_of_another_length_are_refused():
    signed = signatures(batch_of(["some words"]), SignatureConfig(permutations=64))
    with pytest.raises(ValueError, match="row 0 has 64 values, not 128"):
        unpack_signatures(signed["signature"], 128)


@pytest.mark.parametrize("wrong", [{"permutations": 0}, {"shingle_words": 0}, {"seed": -1}, {"perms": 128}])
def test_bad_values_fail_before_any_work(wrong):
    with pytest.raises(pydantic.ValidationError):
        SignatureConfig(**wrong)
