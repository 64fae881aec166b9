"""The bucket sizes with which DeepSpeed's ZeRO reduces and gathers; the engine sets them, and plans count them."""

from __future__ import annotations

from model.layout import Layout

# Megatron-LM, `core/distributed/distributed_data_parallel.py`: a ring splits a bucket among its ranks, and each piece
# must be large enough to use the network's bandwidth. So more ranks need larger buckets.
_SHORTEST, _FOR_EACH_RANK = 40_000_000, 1_000_000
# The default of DeepSpeed and of Pythia's published configurations; two such buckets in fp32 take 4 GB.
_LONGEST = 500_000_000
# Weights that ZeRO 3 keeps gathered for the next matmuls; DeepSpeed's default.
GATHERED_ELEMENTS = 1_000_000_000


def bucket_elements(layout: Layout, held: int) -> int:
    """Elements of a bucket, for a rank that holds `held` parameter elements before ZeRO partitions them."""
    return max(1, min(held, _LONGEST, max(_SHORTEST, _FOR_EACH_RANK * layout.data)))
