"""Near-duplicates: signatures to bands, bands to candidates, candidates to verified edges, edges to clusters."""

from __future__ import annotations

from infra.stage import partitioned
from tasks.candidates import NearDuplicateConfig, map_bands, pair_up
from tasks.clusters import NEAR_DUPLICATE_SCHEMA, cluster, scatter
from tasks.edges import verify

near_duplicates = partitioned(
    "near_duplicates",
    version=1,
    config=NearDuplicateConfig,
    reference="tasks.near_duplicates:near_duplicates",
    schema=NEAR_DUPLICATE_SCHEMA,
    map=map_bands,
    reduce=pair_up,
    gather=verify,
    settle=cluster,
    scatter=scatter,
    view=["paragraphs"],
    reads=["signatures"],
    libraries=["datasketch"],
    columns=["id", "text"],
)
