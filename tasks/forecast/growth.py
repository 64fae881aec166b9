"""From the records that a sample read to those that it found: documents and text of the whole."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from infra.engine.reading import SHARD_BYTES, SHARD_ROWS
from infra.engine.sampling import DOCUMENTS, FINDING, FOUND, MICROSECONDS, TAKEN, TEXT_BYTES
from infra.store.ledger import Account

_CUT = 5  # texts of a sample that a log-normal distribution has beyond the cut
_FEWEST = 5  # records read in a class of sizes; a class with fewer is joined to its neighbour


@dataclass(frozen=True, slots=True)
class Growth:
    """How much more the whole has than the sample of one source, or of all.

    `documents` and `text_bytes` are those that were read, and `all_documents` and `all_text_bytes` those of the whole;
    `reading_seconds` is the time to find all records and to read them, and `read_seconds` that which the sample took.
    """

    found: float
    taken: float
    documents: float
    all_documents: float
    text_bytes: float
    all_text_bytes: float
    read_seconds: float
    reading_seconds: float

    @property
    def rows(self) -> float:
        """Documents of the whole for one of the sample."""
        return self.all_documents / self.documents if self.documents else 1.0

    @property
    def text(self) -> float:
        """Bytes of text of the whole for one of the sample."""
        return self.all_text_bytes / self.text_bytes if self.text_bytes else 1.0

    def __add__(self, other: Growth) -> Growth:
        return Growth(*(getattr(self, name) + getattr(other, name) for name in Growth.__dataclass_fields__))


def growth_of(account: Account, files: float, sizes: Sequence[int]) -> Growth:
    """The growth of a source from the account of its sample. `files`: bytes of all files for one of those sampled.

    Records of a size are documents as often, and take as long, as those of that size which were read. Texts are as long
    as `sizes`, those of the sample, whatever the size of their records: the two hardly go together in web pages.
    """
    measures = account.measures
    classes = _classes(measures)

    def whole(what: str) -> float:
        return files * sum(
            sum(measures.get(f"{FOUND}/{one}", 0) for one in group)
            * sum(measures.get(f"{what}/{one}", 0) for one in group)
            / max(sum(measures.get(f"{TAKEN}/{one}", 0) for one in group), 1)
            for group in classes
        )

    finding = measures.get(FINDING, 0) / 1e6
    documents, text = _sum(measures, DOCUMENTS), _sum(measures, TEXT_BYTES)
    mean = text / max(documents, 1)
    if _sum(measures, FOUND) > _sum(measures, TAKEN):
        mean *= typical(sizes)
    return Growth(
        found=files * _sum(measures, FOUND),
        taken=_sum(measures, TAKEN),
        documents=documents,
        all_documents=whole(DOCUMENTS),
        text_bytes=text,
        all_text_bytes=whole(DOCUMENTS) * mean,
        read_seconds=finding + _sum(measures, MICROSECONDS) / 1e6,
        reading_seconds=files * finding + whole(MICROSECONDS) / 1e6,
    )


def typical(sizes: Sequence[int]) -> float:
    """The mean size of texts with the longest ones cut, for one of the mean as it is.

    One very long text in a sample of a hundred stands for twenty that are not there. Sizes are cut where a log-normal
    distribution with the moments of the sample has `_CUT` texts beyond. Of what that distribution has there, half is
    added, as a factor: tails of real texts end earlier. Of 1,500 samples of 5 % of 1,807 real pages, 95 % come within
    20 % of the text in this way, 91 % without the half, and 89 % without a cut.
    """
    cut, factor = _cut(sizes)
    return factor * sum(cut) / sum(sizes) if sum(sizes) else 1.0


def relative_error(sizes: Sequence[int]) -> float:
    """The standard error of the mean of sizes, their longest cut, for one of the mean."""
    cut, _ = _cut(sizes)
    if len(cut) < 2 or not sum(cut):
        return 1.0
    return statistics.stdev(cut) / statistics.fmean(cut) / math.sqrt(len(cut))


def _cut(sizes: Sequence[int]) -> tuple[Sequence[float], float]:
    """The sizes with the longest cut, and the factor for what is beyond the cut."""
    logarithms = [math.log(size) for size in sizes if size]
    if len(logarithms) < _FEWEST:
        return sizes, 1.0
    mean, deviation = statistics.fmean(logarithms), statistics.pstdev(logarithms)
    share = min(_CUT / len(sizes), 0.2)
    percentile = statistics.NormalDist().inv_cdf(1 - share)
    below = statistics.NormalDist().cdf(percentile - deviation)
    beyond = math.exp(percentile * deviation - deviation**2 / 2) * share
    end = math.exp(mean + percentile * deviation)
    return [min(float(size), end) for size in sizes], 1 / math.sqrt(below + beyond)


def shards_of(account: Account, every: float) -> int:
    """The shards that a file will have, from the account of its sample."""
    documents = _sum(account.measures, DOCUMENTS) * every
    text = _sum(account.measures, TEXT_BYTES) * every
    if not documents:
        # None of the few records that were read is a document; with as many found, some will be.
        return int(_sum(account.measures, FOUND) > every)
    return max(math.ceil(documents / SHARD_ROWS), math.ceil(text / SHARD_BYTES))


def _classes(measures: Mapping[str, int]) -> list[list[int]]:
    """Neighbouring classes of size, joined until each has enough records that were read."""
    sizes = sorted(int(name.partition("/")[2]) for name in measures if name.startswith(f"{FOUND}/"))
    groups: list[list[int]] = []
    group: list[int] = []
    for size in sizes:
        group.append(size)
        if sum(measures.get(f"{TAKEN}/{one}", 0) for one in group) >= _FEWEST:
            groups.append(group)
            group = []
    if group:
        groups[-1:] = [[*(groups[-1] if groups else []), *group]]
    return groups


def _sum(measures: Mapping[str, int], what: str) -> float:
    return float(sum(_of(measures, what)))


def _of(measures: Mapping[str, int], what: str) -> Iterable[int]:
    return (count for name, count in measures.items() if name.partition("/")[0] == what)
