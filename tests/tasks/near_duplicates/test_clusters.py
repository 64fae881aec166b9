import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies

from tasks.near_duplicates.candidates import NearDuplicateConfig
from tasks.near_duplicates.clusters import MEMBER_SCHEMA, NEAR_DUPLICATE_SCHEMA, annotate_clusters, cluster
from tasks.near_duplicates.edges import EDGE_SCHEMA

CONFIG = NearDuplicateConfig()


def edges_of(*edges):
    """Edges as (left, right, jaccard), verified at 0.8; a document is (shard, row, id)."""
    rows = [
        {
            "shard": left[0],
            "row": left[1],
            "other_shard": right[0],
            "other_row": right[1],
            "id": left[2],
            "other_id": right[2],
            "jaccard": jaccard,
            "verified": jaccard >= 0.8,
        }
        for left, right, jaccard in edges
    ]
    return pa.Table.from_pylist(rows, schema=EDGE_SCHEMA)


A, B, C, D, E = (0, 0, "a"), (0, 1, "b"), (1, 0, "c"), (1, 5, "d"), (2, 0, "e")


def oracle(edges):
    """Clusters by repeated flooding, in plain Python."""
    verified = [edge for edge in edges if edge[2] >= 0.8]
    members = {document: {document} for left, right, _ in verified for document in (left, right)}
    changed = True
    while changed:
        changed = False
        for left, right, _ in verified:
            union = members[left] | members[right]
            for document in (left, right):
                changed |= members[document] != union
                members[document] = union
    rows = []
    for document in sorted(members):
        around = [(-j, right) for left, right, j in verified if left == document]
        around += [(-j, left) for left, right, j in verified if right == document]
        index, match = min(around, key=lambda entry: (entry[0], entry[1][2], entry[1][:2]))
        name = min(member[2] for member in members[document])
        rows.append((*document, name, len(members[document]), match[2], -index))
    return rows


def rows_of(table):
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


DOCUMENTS = [(i % 3, i // 3, f"id{(i * 7) % 12:02}") for i in range(12)]
EDGES = strategies.lists(
    strategies.tuples(
        strategies.integers(0, 11), strategies.integers(0, 11), strategies.sampled_from([0.1, 0.79, 0.8, 0.9, 1.0])
    ).filter(lambda edge: DOCUMENTS[edge[0]] < DOCUMENTS[edge[1]]),
    unique_by=lambda edge: edge[:2],
    max_size=14,
)


@hypothesis.settings(deadline=None)
@hypothesis.given(EDGES, strategies.randoms())
def test_clusters_are_the_components_of_the_verified_edges(drawn, random):
    edges = [(DOCUMENTS[left], DOCUMENTS[right], jaccard) for left, right, jaccard in drawn]
    expected = cluster([edges_of(*edges)], CONFIG)
    assert expected.schema == MEMBER_SCHEMA
    assert rows_of(expected) == oracle(edges)
    random.shuffle(edges)
    cut = random.randint(0, len(edges))
    assert cluster([edges_of(*edges[:cut]), edges_of(*edges[cut:])], CONFIG).equals(expected)


def test_a_rejected_candidate_joins_nothing():
    # a~b and c~d are verified; b~c was only a candidate. Regrouping by candidate clusters would make one of four
    found = cluster([edges_of((A, B, 0.9), (B, C, 0.75)), edges_of((C, D, 0.85))], CONFIG)
    assert rows_of(found.select(["id", "cluster", "size"])) == [
        ("a", "a", 2),
        ("b", "a", 2),
        ("c", "c", 2),
        ("d", "c", 2),
    ]


def test_verified_edges_join_documents_that_were_never_compared():
    found = cluster([edges_of((B, C, 0.8), (C, D, 0.9), (A, B, 0.8))], CONFIG)
    assert set(found["cluster"].to_pylist()) == {"a"} and set(found["size"].to_pylist()) == {4}
    assert found["match"].to_pylist() == ["b", "a", "d", "c"]
    assert found["jaccard"].to_pylist() == [0.8, 0.8, 0.9, 0.9]


def test_the_same_edge_many_times_over_is_one_edge():
    once = cluster([edges_of((A, B, 0.9))], CONFIG)
    assert cluster([edges_of((A, B, 0.9))] * 256, CONFIG).equals(once)


def test_two_clusters_never_share_a_name():
    twin = (2, 7, "a")
    found = cluster([edges_of((A, B, 0.9), (D, twin, 0.9))], CONFIG)
    assert found["cluster"].to_pylist() == ["a (shard 0, row 0)"] * 2 + ["a (shard 2, row 7)"] * 2
    joined = cluster([edges_of((A, B, 0.9), (D, twin, 0.9), (B, D, 0.9))], CONFIG)
    assert joined["cluster"].to_pylist() == ["a"] * 4


def test_no_edges_give_no_clusters():
    assert cluster([], CONFIG).equals(MEMBER_SCHEMA.empty_table())
    assert cluster([edges_of(), edges_of((A, B, 0.5))], CONFIG).num_rows == 0


def test_a_long_chain_is_one_cluster():
    count = 50_000
    order = np.random.default_rng(3).permutation(count)
    left, right = np.minimum(order[:-1], order[1:]), np.maximum(order[:-1], order[1:])
    ids = np.array([f"{i:06}" for i in range(count)])
    table = pa.table(
        {
            "shard": np.zeros(count - 1, np.int32),
            "row": left.astype(np.int32),
            "other_shard": np.zeros(count - 1, np.int32),
            "other_row": right.astype(np.int32),
            "id": ids[left],
            "other_id": ids[right],
            "jaccard": np.full(count - 1, 0.9),
            "verified": np.ones(count - 1, bool),
        },
        schema=EDGE_SCHEMA,
    )
    found = cluster([table], CONFIG)
    assert found["size"].unique().to_pylist() == [count]
    assert found["cluster"].unique().to_pylist() == ["000000"]


def test_annotating_leaves_documents_outside_of_clusters_empty():
    members = cluster([edges_of((A, B, 0.9), (B, E, 0.95))], CONFIG)
    documents = pa.table({"id": ["a", "b", "z"], "text": ["", "", ""]})
    found = annotate_clusters(documents, members.filter(pa.compute.equal(members["shard"], 0)), CONFIG)
    assert found.schema == NEAR_DUPLICATE_SCHEMA
    assert rows_of(found) == [("a", 3, "b", 0.9), ("a", 3, "e", 0.95), (None, None, None, None)]
    nothing = annotate_clusters(documents, members.slice(0, 0), CONFIG)
    assert nothing.num_rows == 3 and nothing["cluster"].null_count == 3
    assert annotate_clusters(documents.slice(0, 0), members.slice(0, 0), CONFIG).num_rows == 0


def test_annotating_refuses_other_documents():
    members = cluster([edges_of((A, B, 0.9))], CONFIG)
    with pytest.raises(ValueError, match="row 1 is the document 'x'"):
        annotate_clusters(pa.table({"id": ["a", "x"]}), members, CONFIG)
    with pytest.raises(ValueError, match="the shard has only 1 documents"):
        annotate_clusters(pa.table({"id": ["a"]}), members, CONFIG)
