"""The config of the search for near-duplicates, and the choice of bands and rows."""

from __future__ import annotations

import functools
from typing import ClassVar

import pydantic

from tasks.corpus.comparison import Comparison, Mode, Similarity
from tasks.signatures import SignatureConfig

CONTAINMENT_WORDS = 3
_RECALL_ABOVE = 0.999  # of pairs 0.05 above the threshold
_ABOVE = 0.05
_RECALL_AT = 0.98  # of pairs at the threshold itself: near 1 the first rule asks for nothing


class NearDuplicateConfig(SignatureConfig):
    """The search for near-duplicates. The fields of `SignatureConfig` must equal those of the signatures.

    - `similarity`: ``jaccard`` compares sets of n-grams of `shingle_words` words. ``containment`` is the share of a
      document's case-folded 3-grams that stand in the document that stays: at 1, nothing is lost but their order. It
      is for texts of 12 words and more: of shorter ones, some that stand in a longer text are not found. To find them
      all, every document would need a key for each of its words, instead of 2 for 9 words;
    - `threshold`: the least similarity of near-duplicates;
    - `mode`: which of similar documents go, see `tasks.corpus.comparison`;
    - `bands`, `rows`: how candidates are found for ``jaccard``. By default, the most rows that find 99.9 % of the pairs
      0.05 above the threshold and 98 % of those at it, such as 18 bands of 7 rows at 0.8.
    """

    retired: ClassVar[tuple[str, ...]] = ("weights", "bucket_cap", "partitions")
    reason: ClassVar[str] = "near_duplicate"
    similarity: Similarity = "jaccard"
    threshold: float = pydantic.Field(0.8, gt=0.0, le=1.0)
    mode: Mode = "survivors"
    bands: int | None = pydantic.Field(None, ge=1)
    rows: int | None = pydantic.Field(None, ge=1)

    @pydantic.model_validator(mode="after")
    def check_bands(self) -> NearDuplicateConfig:
        if (self.bands is None) != (self.rows is None):
            raise ValueError("give both bands and rows, or neither")
        if self.bands is not None and self.rows is not None and self.bands * self.rows > self.permutations:
            raise ValueError(f"bands x rows is {self.bands * self.rows}, more than {self.permutations} permutations")
        if self.similarity == "containment" and (self.bands is not None or self.mode != "survivors"):
            raise ValueError("bands, rows and other modes than survivors are for similarity: jaccard")
        return self

    def signatures(self) -> SignatureConfig:
        """The config of the compared signatures."""
        return SignatureConfig.model_validate(self.model_dump(include=set(SignatureConfig.model_fields)))

    def bands_and_rows(self) -> tuple[int, int]:
        """The number of bands and the rows of each."""
        if self.bands is not None and self.rows is not None:
            return self.bands, self.rows
        return choose_bands(self.threshold, self.permutations)

    def comparison(self) -> Comparison:
        """How the corpus stage compares the members of a cluster."""
        bands, rows = self.bands_and_rows() if self.similarity == "jaccard" else (1, 1)
        words = self.shingle_words if self.similarity == "jaccard" else CONTAINMENT_WORDS
        return Comparison(
            similarity=self.similarity, threshold=self.threshold, words=words, bands=bands, rows=rows, mode=self.mode
        )


@functools.cache
def choose_bands(threshold: float, permutations: int) -> tuple[int, int]:
    """The most rows, and so the fewest false candidates, that find enough pairs: (bands, rows).

    If no choice does, the one row of each band finds the most.
    """
    for rows in range(permutations, 1, -1):
        bands = permutations // rows
        if (
            candidate_probability(min(threshold + _ABOVE, 1.0), bands, rows) >= _RECALL_ABOVE
            and candidate_probability(threshold, bands, rows) >= _RECALL_AT
        ):
            return bands, rows
    return permutations, 1


def candidate_probability(jaccard: float, bands: int, rows: int) -> float:
    """1 - (1 - s^r)^b: the probability that two documents of Jaccard index s have a band in common.

    Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4.
    """
    return 1.0 - (1.0 - jaccard**rows) ** bands
