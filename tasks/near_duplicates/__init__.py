"""Near-duplicates: documents that share keys form clusters of candidates, which the corpus stage compares."""

from __future__ import annotations

from infra.stage import partitioned
from tasks.corpus.components import place_members, shorten
from tasks.near_duplicates.candidates import columns_of_map, map_keys
from tasks.near_duplicates.config import NearDuplicateConfig
from tasks.near_duplicates.evidence import (
    NEAR_DUPLICATE_SCHEMA,
    annotate_members,
    columns_of_annotate,
    describe_member,
)
from tasks.near_duplicates.links import link_buckets

near_duplicates = partitioned(
    "near_duplicates",
    version=2,
    config=NearDuplicateConfig,
    reference="tasks.near_duplicates:near_duplicates",
    schema=NEAR_DUPLICATE_SCHEMA,
    columns={"map": columns_of_map, "annotate": columns_of_annotate},
    map=map_keys,
    reduce={"link": link_buckets, "shorten": shorten, "place": place_members},
    repeated=["shorten"],
    annotate=annotate_members,
    implied={"signatures": lambda config: config.signatures()},
    describe=describe_member,
)
