import itertools
import resource
import time

import hypothesis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import strategies

from infra.engine.partitioned import PartitionedPlan
from infra.engine.plans import ConfiguredStage, PassPlan, SourcePlan
from infra.engine.shards import PartReader
from infra.engine.views import Annotation, View
from infra.stage import find_stage
from infra.store.inputs import take_inventory
from infra.tables import read_table
from tasks.near_duplicates import near_duplicates
from tasks.near_duplicates.candidates import NearDuplicateConfig
from tasks.signatures import SignatureConfig, signatures
from tests.infra.engine import toy
from tests.tasks.near_duplicates.test_edges import brute_force
from tests.tasks.test_signatures import read_articles


def shards_of(texts, size):
    ids = [f"doc-{i:05}" for i in range(len(texts))]
    table = pa.table({"id": ids, "text": pa.array(texts, pa.string())})
    return [table.slice(start, size) for start in range(0, len(texts), size)]


def run(shards, config):
    """The stage over all shards, its steps combined as an engine combines them. Edges, and annotations by shard."""
    step = near_duplicates.steps
    signed = [signatures(shard, config) for shard in shards]
    annotated = [
        shard.append_column("signatures.signature", table["signature"])
        for shard, table in zip(shards, signed, strict=True)
    ]
    mapped = [step["map"](table, config) for table in annotated]
    pairs = pa.concat_tables(
        step["reduce"]([(n, t.filter(pc.equal(t["partition"], partition))) for n, t in enumerate(mapped)], config)
        for partition in range(config.partitions)
    )
    edges = [
        step["verify"](pairs.filter(pc.equal(pairs["shard"], number)), shards.__getitem__, config)
        for number in range(len(shards))
    ]
    members = step["resolve"](edges, config)
    return pa.concat_tables(edges), [
        step["annotate"](shard, members.filter(pc.equal(members["shard"], number)), config)
        for number, shard in enumerate(shards)
    ]


def test_the_stage_can_be_found_by_its_reference():
    assert find_stage(near_duplicates.reference) is near_duplicates


def test_the_engine_gives_what_the_steps_give(shared_data, lake, pool, tmp_path):
    texts = [article["text"] for article in read_articles(shared_data)]
    for number, start in enumerate(range(0, len(texts), 250)):
        (tmp_path / f"{number}.txt").write_text("\n".join(texts[start : start + 250]) + "\n")
    config = NearDuplicateConfig(partitions=3)

    def make(plan):
        return plan.run(lake, pool, lambda label, done, total: None)[0]

    files = take_inventory(lake, [str(tmp_path / "*.txt")]).files
    documents = make(SourcePlan(ConfiguredStage(toy.read_lines, toy.ToyConfig()), files))
    signed = make(PassPlan((ConfiguredStage(signatures, SignatureConfig()),), View("toy", documents)))
    view = View("toy", documents, annotations=(("signatures", Annotation(signed)),))
    found = make(PartitionedPlan(ConfiguredStage(near_duplicates, config), (view,)))
    reader = PartReader(lake, tmp_path / "cache")
    shards, made = ([read_table(reader.path(part)) for part in item.parts] for item in (documents, found))
    assert len(shards) == 4 and found.account.rows_in == len(texts)
    _, expected = run(shards, config)
    assert [table.to_pylist() for table in made] == [table.to_pylist() for table in expected]
    assert sum(table["cluster"].drop_null().length() for table in made) == 20


def test_articles_with_labelled_copies(shared_data):
    articles = read_articles(shared_data)
    folder = shared_data / "near-duplicates" / "articles"
    exact = [line.split("\t") for line in (folder / "pairs_exact_jaccard5.tsv").read_text().splitlines()[1:]]
    labelled = [line.split() for line in (folder / "pairs_labelled.tsv").read_text().splitlines() if line]
    table = pa.table({"id": [a["id"] for a in articles], "text": [a["text"] for a in articles]})
    shards = [table.slice(start, 170) for start in range(0, len(table), 170)]
    edges, annotations = run(shards, NearDuplicateConfig())
    verified = edges.filter(edges["verified"])
    found = {
        frozenset(pair): jaccard
        for *pair, jaccard in zip(
            verified["id"].to_pylist(), verified["other_id"].to_pylist(), verified["jaccard"].to_pylist(), strict=True
        )
    }
    expected = {frozenset((one, other)): float(jaccard) for jaccard, one, other in exact if float(jaccard) >= 0.8}
    assert len(expected) == 10 and len(labelled) == 10
    assert set(found) == set(expected)
    assert {frozenset(pair) for pair in labelled} <= set(found)
    for pair, jaccard in found.items():
        assert abs(jaccard - expected[pair]) <= 5.1e-5
    rows = pa.concat_tables(annotations)
    clusters = dict(zip(table["id"].to_pylist(), rows["cluster"].to_pylist(), strict=True))
    assert {document for document, name in clusters.items() if name} == set().union(*expected)
    assert all(clusters[document] == min(pair) for pair in expected for document in pair)


def test_recall_over_the_middle_range_is_what_the_bands_promise():
    # pairs of a known index: of 200 distinct words both texts share the first s, so that J = s / (400 - s) by words
    random = np.random.default_rng(11)
    texts, indices = [], []
    for number, shared in enumerate(np.repeat([150, 160, 170, 178, 184, 190, 196], 60)):
        common = [f"w{number}x{i}" for i in range(shared)]
        for side in "lr":
            words = common + [f"{side}{number}x{i}" for i in range(200 - shared)]
            texts.append(" ".join(random.permutation(words)))
        indices.append(shared / (400 - shared))
    config = NearDuplicateConfig(shingle_words=1, partitions=4)
    edges, _ = run(shards_of(texts, 300), config)
    found = set(edges.filter(edges["verified"])["id"].to_pylist())
    bands, rows = config.bands_and_rows()
    truth = [index >= 0.8 for index in indices]
    hits = [f"doc-{2 * pair:05}" in found for pair in range(len(indices))]
    assert not any(hit for hit, true in zip(hits, truth, strict=True) if not true)
    promised = sum(1 - (1 - index**rows) ** bands for index in indices if index >= 0.8)
    assert sum(truth) == 240
    assert sum(hits) / sum(truth) >= 0.95
    assert abs(sum(hits) - promised) < 8


@hypothesis.settings(deadline=None, max_examples=40)
@hypothesis.given(
    strategies.lists(
        strategies.lists(strategies.sampled_from(["ant", "bee", "cat", "dog"]), max_size=9).map(" ".join),
        min_size=1,
        max_size=14,
    ),
    strategies.integers(1, 6),
)
def test_the_whole_stage_against_brute_force(texts, size):
    # a single row per band makes every pair with a common value a candidate, so that nothing is left to chance
    config = NearDuplicateConfig(shingle_words=2, threshold=0.6, bands=128, rows=1, partitions=3)
    _, annotations = run(shards_of(texts, size), config)
    near = {
        (i, j): brute_force(texts[i], texts[j], 2)
        for i, j in itertools.combinations(range(len(texts)), 2)
        if brute_force(texts[i], texts[j], 2) >= 0.6
    }
    label = list(range(len(texts)))
    for _ in texts:
        for i, j in near:
            label[i] = label[j] = min(label[i], label[j])
    rows = pa.concat_tables(annotations)
    for i, row in enumerate(rows.to_pylist()):
        around = {j: index for pair, index in near.items() if i in pair for j in pair if j != i}
        if not around:
            assert set(row.values()) == {None}
            continue
        best = min(around, key=lambda j: (-round(around[j], 6), j))
        assert row == {
            "cluster": f"doc-{label[i]:05}",
            "size": label.count(label[i]),
            "match": f"doc-{best:05}",
            "jaccard": round(around[best], 6),
        }


def test_the_order_of_documents_changes_no_cluster(shared_data):
    texts = [article["text"] for article in read_articles(shared_data)[:200]]
    texts += [text + " and one more sentence at its end" for text in texts[::9]]
    ids = [f"doc-{i:03}" for i in range(len(texts))]
    table = pa.table({"id": ids, "text": texts})
    results = []
    for seed, size in ((1, 223), (2, 50), (3, 17)):
        order = np.random.default_rng(seed).permutation(len(texts))
        shuffled = table.take(order)
        shards = [shuffled.slice(start, size) for start in range(0, len(texts), size)]
        _, annotations = run(shards, NearDuplicateConfig(partitions=seed + 1))
        rows = pa.concat_tables(annotations).to_pylist()
        results.append(
            sorted((ids[i], *row.values()) for i, row in zip(order.tolist(), rows, strict=True) if row["cluster"])
        )
    assert len(results[0]) >= 40
    assert results[0] == results[1] == results[2]


def test_twenty_thousand_copies_are_one_cluster_in_bounded_time_and_memory():
    copies = 20_000
    text = " ".join(f"word{i}" for i in range(200))
    texts = [text] * copies + ["something else altogether, of a few words"]
    config = NearDuplicateConfig(partitions=4)
    run(shards_of(texts[-20:], 10), config)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    edges, annotations = run(shards_of(texts, 5000), config)
    seconds = time.perf_counter() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    rows = pa.concat_tables(annotations)
    assert edges.num_rows == 2 * copies - 3
    assert rows["cluster"].value_counts().to_pylist() == [
        {"values": "doc-00000", "counts": copies},
        {"values": None, "counts": 1},
    ]
    assert rows["size"][0].as_py() == copies and rows["jaccard"][0].as_py() == 1.0
    # all pairs would be 2e8 a band, of 16 bytes each
    assert seconds < 60 and grown < 1024
