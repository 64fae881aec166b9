"""How members of a cluster of duplicates are compared, and which of them go."""

from __future__ import annotations

from typing import Literal

import pydantic

from infra.stage import StageConfig

Similarity = Literal["jaccard", "containment"]
Mode = Literal["survivors", "components", "pile_dedupe"]


class Comparison(StageConfig):
    """What a step that groups near-duplicates asks of two members of a cluster.

    - `similarity`: ``jaccard`` is |A ∩ B| / |A ∪ B| over the sets of word n-grams; ``containment`` is |A ∩ B| / |A|,
      where A is the document that goes;
    - `threshold`: the least similarity of near-duplicates;
    - `words`: the words of an n-gram;
    - `bands`, `rows`: two documents are compared when all values of a band of their signatures are equal (Jaccard);
    - `mode`: which members go:

      - ``survivors``: in the recipe's order of preference, a document goes if one that stays is similar to it;
      - ``components``: of documents that a chain of similar ones connects, the first in that order stays;
      - ``pile_dedupe``: a document goes if one behind it, in the order of sources and shards, has a band in common with
        it, whether that one goes too or not. Nothing is verified. So EleutherAI deduplicated the Pile for Pythia
        (github.com/EleutherAI/pile_dedupe, ``dedupe.py``: each document in turn is removed from the index of all
        documents when a query with its signature finds another).
    """

    similarity: Similarity = "jaccard"
    threshold: float = pydantic.Field(gt=0.0, le=1.0)
    words: int = pydantic.Field(ge=1)
    bands: int = pydantic.Field(1, ge=1)
    rows: int = pydantic.Field(1, ge=1)
    mode: Mode = "survivors"
