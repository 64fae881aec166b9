import tarfile

import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies

from tasks.near_duplicates.candidates import PAIR_SCHEMA, NearDuplicateConfig
from tasks.near_duplicates.edges import EDGE_SCHEMA, verify
from tests.tasks.test_signatures import read_articles
from tests.tasks.text.test_shingles import shingles_of


def table_of_pairs(pairs):
    columns = zip(*pairs, strict=True) if pairs else [[], [], [], []]
    return pa.table([pa.array(column, pa.int32()) for column in columns], schema=PAIR_SCHEMA)


class Shards:
    """Shards of documents that remember how often each was asked for."""

    def __init__(self, shards):
        self.tables = [
            pa.table({"id": [f"{shard}/{row}" for row in range(len(texts))], "text": pa.array(texts, pa.string())})
            for shard, texts in enumerate(shards)
        ]
        self.asked = []

    def __call__(self, shard):
        self.asked.append(shard)
        return self.tables[shard]


def brute_force(left, right, width):
    a, b = set(shingles_of(left, width)), set(shingles_of(right, width))
    return len(a & b) / len(a | b) if a | b else 0.0


TEXTS = strategies.lists(strategies.sampled_from("abc"), max_size=12).map(" ".join)
SHARDS = strategies.lists(strategies.lists(TEXTS, min_size=1, max_size=4), min_size=1, max_size=3)


@hypothesis.settings(deadline=None)
@hypothesis.given(SHARDS, strategies.integers(1, 3), strategies.sampled_from([0.2, 0.5, 0.8, 1.0]))
def test_every_pair_has_its_exact_jaccard_index(shards, width, threshold):
    config = NearDuplicateConfig(threshold=threshold, shingle_words=width, bands=16, rows=8)
    documents = [(shard, row) for shard, texts in enumerate(shards) for row in range(len(texts))]
    for shard in range(len(shards)):
        pairs = [left + right for left in documents for right in documents if left < right and left[0] == shard]
        edges = verify(table_of_pairs(pairs), Shards(shards), config)
        assert edges.schema == EDGE_SCHEMA
        assert [tuple(list(edge.values())[:4]) for edge in edges.to_pylist()] == sorted(pairs)
        for edge in edges.to_pylist():
            exact = brute_force(shards[shard][edge["row"]], shards[edge["other_shard"]][edge["other_row"]], width)
            assert edge["jaccard"] == round(exact, 6)
            assert edge["verified"] == (exact >= threshold)
            assert edge["id"] == f"{shard}/{edge['row']}"
            assert edge["other_id"] == f"{edge['other_shard']}/{edge['other_row']}"


def test_a_pair_counts_once_and_each_shard_is_read_once():
    shards = Shards([["a b c d e f", "x"], ["a b c d e f"], ["a b c d e f", "unneeded"]])
    pairs = [(0, 0, 2, 0), (0, 0, 1, 0), (0, 0, 2, 0), (0, 1, 1, 0), (0, 0, 0, 1)]
    edges = verify(table_of_pairs(pairs), shards, NearDuplicateConfig())
    assert shards.asked == [0, 1, 2]
    assert edges.num_rows == 4
    assert edges["jaccard"].to_pylist() == [0.0, 1.0, 1.0, 0.0]


def test_no_pairs_need_no_documents():
    shards = Shards([["a"]])
    assert verify(table_of_pairs([]), shards, NearDuplicateConfig()).schema == EDGE_SCHEMA
    assert shards.asked == []


def test_pairs_of_other_documents_are_refused():
    with pytest.raises(ValueError, match="row 7 of shard 1, which has 1 documents"):
        verify(table_of_pairs([(0, 0, 1, 7)]), Shards([["a"], ["a"]]), NearDuplicateConfig())
    with pytest.raises(ValueError, match=r"not of shards \[0, 1\]"):
        verify(table_of_pairs([(0, 0, 1, 0), (1, 0, 2, 0)]), Shards([["a"], ["a"], ["a"]]), NearDuplicateConfig())


def test_versions_of_the_declaration_have_their_published_similarity(shared_data):
    folder = shared_data / "near-duplicates" / "udhr-jaccard"
    expected = [line.split("\t") for line in (folder / "pairs_exact_jaccard5.tsv").read_text().splitlines()[1:]]
    names = sorted({name for _, *both in expected for name in both})
    with tarfile.open(shared_data / "language-id" / "udhr" / "udhr2-utf8.tar.xz") as files:
        members = {member.name.rsplit("/", 1)[-1]: member for member in files if member.isfile()}
        texts = [files.extractfile(members[name]).read().decode() for name in names]
    pairs = [(0, *sorted((names.index(one), names.index(other)))) for _, one, other in expected]
    table = table_of_pairs([(shard, left, shard, right) for shard, left, right in pairs])
    edges = verify(table, Shards([texts]), NearDuplicateConfig())
    found = dict(zip(zip(edges["row"].to_pylist(), edges["other_row"].to_pylist()), edges["jaccard"].to_pylist()))
    assert len(expected) == 21
    for (_, left, right), (jaccard, *_) in zip(pairs, expected, strict=True):
        assert found[left, right] == pytest.approx(float(jaccard), abs=5.1e-5)


def test_all_pairs_of_articles_above_a_twentieth(shared_data):
    articles = read_articles(shared_data)
    path = shared_data / "near-duplicates" / "articles" / "pairs_exact_jaccard5.tsv"
    expected = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    rows = {article["id"]: row for row, article in enumerate(articles)}
    pairs = [(0, *sorted((rows[one], rows[other]))) for _, one, other in expected]
    shards = Shards([[article["text"] for article in articles]])
    edges = verify(table_of_pairs([(0, left, 0, right) for _, left, right in pairs]), shards, NearDuplicateConfig())
    found = dict(zip(zip(edges["row"].to_pylist(), edges["other_row"].to_pylist()), edges["jaccard"].to_pylist()))
    assert len(found) == len(expected) > 300
    for (_, left, right), (jaccard, *_) in zip(pairs, expected, strict=True):
        assert found[left, right] == pytest.approx(float(jaccard), abs=5.1e-5)
