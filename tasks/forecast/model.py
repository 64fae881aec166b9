"""From a measured sample to the whole: what each stage will cost, with an interval.

Whole sample and halves have the same documents. So a cost that grows with documents is twice the whole less both
halves, and the rest (models to load, units to start, columns of a file) is both halves less the whole:

    fixed = half + half - whole,   growing = whole - fixed,   cost of everything = fixed + growing x growth

`growth` is that of documents or of text (`tasks.forecast.growth`). Fits read as large a part of the sample as of the
whole (`tasks.forecast.sample`), and neither a line nor a power of the size describes them: the geometric mean of both
is expected. The interval goes from the lower of them to a cost that grows with all of the sample's.

Documents of earlier builds are in the whole sample and in both halves. What they cost is in the rest, and grows with
the shards that there are, new and earlier.

Tokens per byte rise from a sample, to which a fitted tokenizer fits too well, to the whole, with the square root of the
size, as an error of estimation falls.

Intervals are two standard errors to either side, of the mean size of so many texts; seconds also have the noise of a
machine that others use.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence

from infra.engine.metering import Phase
from infra.stage import StageKind
from infra.store.inputs import InputFile
from tasks.corpus.groups import GROUPS
from tasks.corpus.known import EARLIER
from tasks.forecast.earlier import EarlierSample
from tasks.forecast.growth import Growth, growth_of, relative_error, shards_of
from tasks.forecast.record import NOTHING, Estimate, Forecast, StageForecast
from tasks.forecast.sample import Files, Halved, Measured, Sampled

# The same work took up to a tenth more or less on a shared machine, beside other builds.
NOISE = 0.10
_PER_ALL = ("ReduceUnit",)  # kinds of units of which there is one for each partition
_SINGLE = ("FitUnit", "FitGroupUnit", "FitJoinUnit", "FinishUnit")  # as many in the whole as in the sample
_INPUT_BLOCK = 8 << 20  # of `infra.store.inputs.open_input`
REMOTE = "s3://"


class Extrapolation:
    """The forecast of one sample, for `workers`. `files` are all files, and `sampled` those that the sample read.

    The sample and both halves were compared with the same `earlier` documents.
    """

    def __init__(
        self, halved: Halved, files: Files, sampled: Files, earlier: EarlierSample, every: int, workers: int
    ) -> None:
        self._halved, self._files, self._sampled, self._earlier = halved, files, sampled, earlier
        self._every, self._workers = every, workers
        self._growths = [self._growth(one) for one in (halved.whole, *halved.halves)]
        self._error = self._standard_error()
        self._shards = self._shard_growth()
        self._kept = self._kept_growth()

    def forecast(self, key: str, recipe: str, fitted_tokenizer: bool) -> Forecast:
        """The forecast. `fitted_tokenizer`: whether the tokenizer is fitted on the corpus."""
        per_byte, spelled = self._tokens_per_byte(fitted_tokenizer)
        stages = tuple(
            self._stage(whole, first, second, per_byte.value / spelled if spelled else 1.0)
            for whole, first, second in zip(
                self._halved.whole.artifacts, *(half.artifacts for half in self._halved.halves), strict=True
            )
        )
        total = self._growths[0][""]
        text = self._within(self._kept * self._corpus_bytes(self._halved.whole) * total.text)
        documents = self._kept * self._corpus_rows(self._halved.whole) * total.rows
        driver = self._halved.whole.driver_seconds * self._shards
        between = self._between()
        every_file = [file for group in self._files.values() for file in group]
        return Forecast(
            key=key,
            recipe=recipe,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            every=self._every,
            read=round(total.taken),
            found=round(self._found()),
            files=len(every_file),
            sampled_files=sum(len(group) for group in self._sampled.values()),
            input_bytes=sum(file.size for file in every_file),
            workers=self._workers,
            stages=stages,
            documents=self._within(documents),
            text_bytes=text,
            tokens=Estimate(per_byte.value * text.value, per_byte.low * text.low, per_byte.high * text.high),
            seconds=_sum([stage.seconds for stage in stages]) + _around(driver, NOISE),
            wall_seconds=_sum([stage.wall_seconds for stage in stages]) + _around(driver, NOISE),
            bytes=_sum([stage.bytes for stage in stages]) + between,
            requests=_sum([stage.requests for stage in stages]) + self._input_requests(every_file),
            memory=max((stage.memory for stage in stages), key=lambda memory: memory.value),
            notes=tuple(self._notes(fitted_tokenizer)),
        )

    def _stage(self, whole: Measured, first: Measured, second: Measured, spelling: float) -> StageForecast:
        if whole.name.startswith(f"{EARLIER}/"):
            return self._of_earlier(whole)
        growth = self._of(whole.name)
        fits = whole.kind is StageKind.fit
        times = (growth.text if whole.reads_text else growth.rows) * self._part_kept(whole)
        if whole.kind is StageKind.source:
            reading = [self._growths[number][whole.name.partition("/")[0]] for number in range(3)]
            rest = [one.seconds - read.read_seconds for one, read in zip((whole, first, second), reading, strict=True)]
            seconds = self._grown(rest[0], rest[1], rest[2], growth.rows, NOISE, self._shards) + self._within(
                reading[0].reading_seconds, NOISE
            )
        elif fits:
            seconds = self._fitted(whole.seconds, first.seconds, second.seconds, times, NOISE)
        else:
            seconds = self._grown(whole.seconds, first.seconds, second.seconds, times, NOISE, self._shards_for(whole))
        if fits:
            size = self._fitted(whole.bytes, first.bytes, second.bytes, times, 0.0)
        else:
            size = self._grown(whole.bytes, first.bytes, second.bytes, times, 0.0, self._shards_for(whole))
        if whole.stage in ("encode", "tokens"):
            size = Estimate(size.value * spelling, size.low * min(spelling, 1.0), size.high * spelling)
        longest = self._wall_share(whole)
        return StageForecast(
            name=whole.name,
            stage=whole.stage,
            seconds=seconds,
            wall_seconds=Estimate(seconds.value * longest, seconds.low * longest, seconds.high * longest),
            bytes=size,
            requests=self._requests(whole),
            memory=self._memory(whole),
        )

    def _of_earlier(self, item: Measured) -> StageForecast:
        """An artifact about documents of an earlier build, which are no sample, or whole shards of it."""
        times = self._earlier.growth(item.name)
        seconds = _around(times * item.seconds, NOISE)
        share = max(1 / self._workers, 1 / max(round(times * sum(phase.units for phase in item.phases)), 1))
        requests = item.requests + times * item.share * sum(phase.requests for phase in item.phases)
        return StageForecast(
            name=item.name,
            stage=item.stage,
            seconds=seconds,
            wall_seconds=Estimate(seconds.value * share, seconds.low * share, seconds.high * share),
            bytes=_around(times * item.bytes, 0.0 if times == 1 else 0.1),
            requests=_around(requests, 0.0 if times == 1 else 0.1),
            memory=self._memory(item),
        )

    def _grown(self, whole: float, first: float, second: float, times: float, noise: float, shards: float) -> Estimate:
        """What grows with new documents by `times`, and what grows with all `shards`."""
        fixed = min(max(first + second - whole, 0.0), whole, first, second) if self._every > 1 else 0.0
        return self._within(shards * fixed + times * (whole - fixed), noise)

    def _fitted(self, whole: float, first: float, second: float, times: float, noise: float) -> Estimate:
        """What a fit costs or gives: between a line and a power of the size."""
        half = (first + second) / 2
        if times <= 1 or not half or not whole:
            return self._within(times * whole, noise)
        fixed = min(max(first + second - whole, 0.0), whole)
        line = fixed + times * (whole - fixed)
        power = whole * times ** min(max(math.log2(whole / half), 0.0), 1.0)
        spread = math.exp(2 * self._error + noise)
        low, high = sorted((line, power))
        return Estimate(math.sqrt(low * high), low / spread, max(high, times * whole) * spread)

    def _within(self, value: float, noise: float = 0.0) -> Estimate:
        return _around(value, min(2 * self._error + noise, 1.0))

    def _growth(self, sampled: Sampled) -> dict[str, Growth]:
        """The growth of each source and reference, and under "" that of all sources."""
        found = {}
        for artifact in sampled.artifacts:
            if artifact.kind is StageKind.source:
                name = artifact.name.partition("/")[0]
                found[name] = growth_of(artifact.account, self._share_of_files(name), sampled.text_sizes[name])
        corpora = {item.name.partition("/")[0] for item in sampled.artifacts if item.name.endswith("/corpus")}
        [first, *others] = [growth for name, growth in found.items() if name in corpora]
        return {**found, "": sum(others, first)}

    def _share_of_files(self, name: str) -> float:
        return sum(file.size for file in self._files[name]) / max(sum(file.size for file in self._sampled[name]), 1)

    def _of(self, artifact: str) -> Growth:
        return self._growths[0].get(artifact.partition("/")[0], self._growths[0][""])

    def _standard_error(self) -> float:
        """The relative standard error of the text of the whole, from the sizes of the texts in the sample."""
        whole = self._growths[0][""]
        if whole.found <= whole.taken:
            return 0.0
        sampled = self._halved.whole
        corpora = {item.name.partition("/")[0] for item in _corpora(sampled)}
        sizes = [size for name, group in sampled.text_sizes.items() if name in corpora for size in group]
        return math.sqrt(1 - whole.taken / whole.found) * relative_error(sizes)

    def _shard_growth(self) -> float:
        """Shards of the whole for one of the sample."""
        found = self._halved.whole.files
        sampled = sum(file.shards for file in found)
        chosen = sum(len(group) for group in self._sampled.values())
        files = sum(len(group) for group in self._files.values()) / max(chosen, 1)
        return files * sum(shards_of(file.account, self._every) for file in found) / sampled if sampled else 1.0

    def _shards_for(self, item: Measured) -> float:
        """Shards of the whole that a stage sees, for one of the sample."""
        return self._with_earlier if _sees_earlier(item) else self._shards

    @property
    def _with_earlier(self) -> float:
        """Shards of the whole and of earlier builds, for one of those that the sample has or is compared with."""
        new = sum(file.shards for file in self._halved.whole.files)
        taken = sum(shards for _, shards in self._earlier.taken.values())
        every = sum(shards for _, shards in self._earlier.all.values())
        return (new * self._shards + every) / (new + taken) if new + taken else 1.0

    def _kept_growth(self) -> float:
        """How the share of text that the corpus keeps changes from the sample to the whole, as from half to whole.

        More documents have more copies among them, so less is kept. The halves have the documents of the whole sample,
        so the difference is that of copies alone.
        """
        whole, halves = self._halved.whole, self._halved.halves
        together = sum(self._corpus_bytes(half) for half in halves)
        kept = self._corpus_bytes(whole)
        if not together or not kept or self._every == 1:
            return 1.0
        return min(max((kept / together) ** math.log2(self._every), 0.25), 1.0)

    def _part_kept(self, item: Measured) -> float:
        return self._kept if item.kind is StageKind.grouped or item.stage in ("encode", "tokenizer", "corpus") else 1.0

    @staticmethod
    def _corpus_bytes(sampled: Sampled) -> float:
        return sum(item.account.bytes_out.get("kept", 0) for item in _corpora(sampled))

    @staticmethod
    def _corpus_rows(sampled: Sampled) -> float:
        return sum(item.account.kept for item in _corpora(sampled))

    def _tokens_per_byte(self, fitted: bool) -> tuple[Estimate, float]:
        """Tokens per byte of the whole, and of the sample."""
        sizes = [self._corpus_bytes(one) for one in (self._halved.whole, *self._halved.halves)]
        counts = [one.tokens for one in (self._halved.whole, *self._halved.halves)]
        if not all(sizes):
            return NOTHING, 0.0
        whole = counts[0] / sizes[0]
        if not fitted or self._every == 1:
            return Estimate(whole, whole, whole), whole
        half = (counts[1] + counts[2]) / (sizes[1] + sizes[2])
        rise = max(whole - half, 0.0) / (1 - 2**-0.5) * (2**-0.5 - (2 * self._every) ** -0.5)
        return Estimate(whole + rise, whole, whole + 2 * rise), whole

    def _between(self) -> Estimate:
        """Bytes of the parts between steps, which no artifact lists."""
        sizes = [
            max(one.lake_bytes - sum(item.bytes for item in one.artifacts), 0)
            for one in (self._halved.whole, *self._halved.halves)
        ]
        return self._grown(sizes[0], sizes[1], sizes[2], self._growths[0][""].text, 0.0, self._with_earlier)

    def _partitions(self, item: Measured) -> float:
        """Partitions of the whole for one of the sample: a power of two, as in `infra.engine.partitioned`."""
        growth = self._growths[0][""]
        taken, every = (
            sum(documents for documents, _ in one.values()) if _sees_earlier(item) else 0
            for one in (self._earlier.taken, self._earlier.all)
        )
        rows = (growth.documents + taken, growth.all_documents + every)
        few, many = (max(1, 2 ** math.ceil(math.log2(max(one, 1) / item.documents_per_partition))) for one in rows)
        return many / few

    def _units(self, phase: Phase, item: Measured) -> float:
        """Units of the whole for one of the sample."""
        if phase.kind in _SINGLE:
            return 1.0
        return self._partitions(item) if phase.kind in _PER_ALL else self._shards_for(item)

    def _requests(self, item: Measured) -> Estimate:
        """Each unit reads its parts and writes some objects; a reduce, an annotate and a fit read those of many."""
        whole = float(item.requests)
        for phase in item.phases:
            units = self._units(phase, item)
            many = phase.kind in _PER_ALL or phase.kind in _SINGLE
            reads = self._shards_for(item) * (units if phase.kind in _PER_ALL else 1.0) if many else units
            whole += item.share * (phase.reads * reads + (phase.requests - phase.reads) * units)
        return _around(whole, 0.1 if self._every > 1 else 0.0)

    def _input_requests(self, files: Sequence[InputFile]) -> Estimate:
        """Reads of remote inputs, twice: for their digests and for their records."""
        whole = sum(2 * (math.ceil(file.size / _INPUT_BLOCK) + 1) for file in files if file.uri.startswith(REMOTE))
        return Estimate(float(whole), float(whole), float(whole))

    def _memory(self, item: Measured) -> Estimate:
        """The most memory of a worker: the measured peak, of which what is beyond its start grows with shards."""
        peaks = [float(phase.peak) for phase in item.phases]
        if not peaks:
            return NOTHING
        start = min(float(phase.peak) for one in self._halved.whole.artifacts for phase in one.phases)
        whole_shards = item.kind not in (StageKind.source, StageKind.annotate)
        single = item.kind is StageKind.fit
        times = self._growths[0][""].text / (1.0 if single else self._shards)
        grown = start + (max(peaks) - start) * (max(times, 1.0) if whole_shards else 1.0)
        return Estimate(grown, max(peaks), 2 * grown)

    def _wall_share(self, item: Measured) -> float:
        """Wall time for one second of its processor time: phases follow each other, and units run side by side."""
        worked = sum(phase.seconds for phase in item.phases)
        if not worked:
            return 1.0 / self._workers
        wall = 0.0
        for phase in item.phases:
            at_once = min(self._workers, max(round(phase.units * self._units(phase, item)), 1))
            even = phase.longest / phase.seconds if phase.seconds and self._shards <= 1 else 0.0
            wall += phase.seconds * max(1 / at_once, even)
        return wall / worked

    def _found(self) -> float:
        return sum(growth.found for name, growth in self._growths[0].items() if name)

    def _notes(self, fitted: bool) -> list[str]:
        notes = []
        if self._earlier.all:
            notes.append(
                f"The comparison with {', '.join(self._earlier.all)} is forecast as if the lake had nothing of it yet."
            )
        if self._earlier.share < 1:
            notes.append(
                f"The sample was compared with {self._earlier.share:.1%} of the documents of earlier builds: where the "
                "others have copies, fewer documents remain."
            )
        if self._every == 1:
            notes.append("The inputs have so few records that all were read.")
        if self._every > 1:
            notes.append(
                "A sample has fewer near-duplicates than the whole: where copies are many, fewer documents remain."
            )
        if fitted and self._every > 1:
            notes.append("The tokenizer is fitted on the corpus; tokens per byte are those of the sample, corrected.")
        if self._workers > 1:
            notes.append("Wall time takes it that each worker has a core, and leaves out Prefect's server.")
        return notes


def _sees_earlier(item: Measured) -> bool:
    """Whether the documents of earlier builds are among those of a stage, if the recipe compares with any."""
    return item.name.startswith("across/") or item.name in ("outcomes", GROUPS)


def _corpora(sampled: Sampled) -> list[Measured]:
    return [item for item in sampled.artifacts if item.name.endswith("/corpus")]


def _around(value: float, share: float) -> Estimate:
    value = max(value, 0.0)
    return Estimate(value, value * max(1 - share, 0.0), value * (1 + share))


def _sum(estimates: Sequence[Estimate]) -> Estimate:
    return sum(estimates, NOTHING)


def digests_by_source(files: Mapping[str, Sequence[InputFile]]) -> dict[str, list[str]]:
    """The digests of the files of each source."""
    return {name: [file.sha256 for file in group] for name, group in files.items()}
