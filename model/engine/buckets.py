"""How much DeepSpeed reduces and gathers at once: what its ZeRO stages are told, and what a plan counts."""

from __future__ import annotations

from model.layout import Layout

# Megatron-LM, `core/distributed/distributed_data_parallel.py`: a ring cuts a bucket among its ranks, and the pieces
# must stay long enough for the network's bandwidth, so that more ranks need longer buckets.
_SHORTEST, _FOR_EACH_RANK = 40_000_000, 1_000_000
# DeepSpeed's own, and that of the published configurations of Pythia: two of them in fp32 take 4 GB.
_LONGEST = 500_000_000
# Of weights that ZeRO 3 keeps whole for the products that come next; DeepSpeed's own number.
GATHERED_ELEMENTS = 1_000_000_000


def bucket_elements(layout: Layout, held: int) -> int:
    """Elements of a bucket, for a rank that holds `held` before ZeRO cuts them."""
    return max(1, min(held, _LONGEST, max(_SHORTEST, _FOR_EACH_RANK * layout.data)))
