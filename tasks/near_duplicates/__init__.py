"""Near-duplicates: signatures become bands, bands candidates, candidates verified edges, and edges clusters."""

from __future__ import annotations

from infra.stage import partitioned
from tasks.near_duplicates.candidates import NearDuplicateConfig, map_bands, pair_up
from tasks.near_duplicates.clusters import NEAR_DUPLICATE_SCHEMA, annotate_clusters, cluster, describe_cluster
from tasks.near_duplicates.edges import verify

near_duplicates = partitioned(
    "near_duplicates",
    version=1,
    config=NearDuplicateConfig,
    reference="tasks.near_duplicates:near_duplicates",
    schema=NEAR_DUPLICATE_SCHEMA,
    columns={"map": ["signatures.signature"], "verify": ["id", "text"], "annotate": ["id"]},
    map=map_bands,
    reduce=pair_up,
    verify=verify,
    resolve=cluster,
    annotate=annotate_clusters,
    libraries=["datasketch"],
    implied={"signatures": lambda config: config.signatures()},
    describe=describe_cluster,
)
