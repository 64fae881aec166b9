"""Builds a sample of a corpus and measures every stage: the whole sample, and its two halves.

The ordinary plans run in lakes of their own, which are deleted afterwards. The halves have the same documents as the
whole sample, so whole minus half and half is what does not grow with documents, and what differs between the halves is
chance.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from infra.child import ChildDied, run_in_child
from infra.engine.graph import BuildTask
from infra.engine.metering import MeteredEngine, Phase, processor_seconds
from infra.engine.plans import ConfiguredStage, Plan, SourcePlan, present
from infra.engine.sampling import Sample
from infra.engine.scheduling import WorkerDied
from infra.engine.shards import PartReader
from infra.scratch import scratch_folder
from infra.stage import StageConfig, StageKind
from infra.store.counted import CountedLake
from infra.store.inputs import InputFile
from infra.store.lake import Lake
from infra.store.lease import lease
from infra.store.ledger import Account
from infra.store.manifest import Manifest, Part
from infra.tables import read_table
from tasks.forecast.earlier import EarlierSample
from tasks.pipeline import build_tasks
from tasks.recipe.resolve import resolve
from tasks.recipe.resolved import ResolvedRecipe
from tasks.recipe.schema import Recipe
from tasks.token_artifact import count_tokens

Files = Mapping[str, tuple[InputFile, ...]]  # by source and reference

# Limits of fits, in documents. In a sample they shrink in proportion, so that a fit reads as large a part of it as of
# the whole, and a language has a model in it where it has one in the whole.
_LIMITS = ("most_documents", "minimum_documents", "maximum_documents")


@dataclass(frozen=True, slots=True)
class Measured:
    """One artifact of a sample. `share` of the work of `phases` is its own, where a task makes several artifacts.

    `bytes` are those of the artifact's own parts, and `requests` those of the driver.
    """

    name: str
    stage: str
    kind: StageKind
    reads_text: bool
    documents_per_partition: int
    share: float
    phases: tuple[Phase, ...]
    account: Account
    bytes: int
    requests: int

    @property
    def seconds(self) -> float:
        """Processor time of all its units."""
        return self.share * sum(phase.seconds for phase in self.phases)


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file in a sample: what was found and read of it, and the shards of its documents."""

    sha256: str
    account: Account
    shards: int


@dataclass(frozen=True, slots=True)
class Sampled:
    """A measured build of a sample. `lake_bytes` are those of all parts; `driver_seconds` are spent outside of units.

    `text_sizes` are the bytes of every document of each source.
    """

    artifacts: tuple[Measured, ...]
    files: tuple[ReadFile, ...]
    lake_bytes: int
    driver_seconds: float
    tokens: int
    text_sizes: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Halved:
    """A sample, and its halves."""

    whole: Sampled
    halves: tuple[Sampled, Sampled]


def measure(
    lake: Lake, recipe: Recipe, files: Files, earlier: EarlierSample, every: int, progress: Callable[[str], None]
) -> Halved:
    """Build the sample of one record of `every`, and its halves. Raises what a build raises, and ChildDied.

    All three are compared with the `earlier` documents, which `lake` has.
    """
    samples = (Sample(every, 0), Sample(every, 1), Sample(every))
    with scratch_folder("forecast-") as folder:
        copies = earlier.copy(lake, folder / "earlier")
        progress("building the sample and its two halves")
        values = recipe.model_dump(mode="json")
        try:
            return run_in_child(_measure, values, files, earlier, copies, samples, folder, False, budget=None)
        except (ChildDied, WorkerDied) as error:
            # A record ended the process, or its batch exceeded the budget. Engines find it, record by record.
            progress(f"a record of the sample ended its process ({error}): it is built again, record by record")
        return run_in_child(_measure, values, files, earlier, copies, samples, folder, True, budget=None)


def _measure(
    recipe: Mapping[str, Any],
    files: Files,
    earlier: EarlierSample,
    copies: Sequence[tuple[Part, Path]],
    samples: Sequence[Sample],
    folder: Path,
    careful: bool,
) -> Halved:
    resolved = resolve(Recipe.model_validate(recipe))
    tasks = build_tasks(resolved, known=earlier.documents)
    found = []
    for sample in samples:
        own = Path(tempfile.mkdtemp(dir=folder))
        for part, path in copies:
            Lake.open(str(own / "lake")).upload(path, part.path)
        found.append(_build(resolved, tasks, files, sample, own, careful))
    first, second, whole = (
        replace(one, lake_bytes=one.lake_bytes - sum(part.bytes for part, _ in copies)) for one in found
    )
    return Halved(whole, (first, second))


def _build(
    resolved: ResolvedRecipe, tasks: Sequence[BuildTask], files: Files, sample: Sample, folder: Path, careful: bool
) -> Sampled:
    """A measured build below `folder`."""
    lake = CountedLake.open(str(folder / "lake"))
    assert isinstance(lake, CountedLake)
    engine = MeteredEngine(lake, folder, careful)
    limits = (1 if sample.half is None else 0.5) / sample.every
    made: dict[str, Manifest] = {}
    artifacts: list[Measured] = []
    driver = 0.0
    for task in tasks:
        started, before = processor_seconds(), lake.requests.copy()
        source, _, what = task.makes[0].partition("/")
        if what == "documents":
            plan = _source_plan(resolved, source, files, sample)
        else:
            plan = _with_limits(task.plan(lake, {name: made[name] for name in task.needs}), limits)
        for name in task.needs:  # a build looks whether what it needs is still there
            lake.entry(made[name].path)
        manifests = _run(lake, engine, plan)
        phases = engine.take()
        worked = sum(phase.seconds for phase in phases)
        driver += processor_seconds() - started - worked
        requests = (lake.requests - before).total() - sum(phase.requests for phase in phases)
        made |= dict(zip(task.makes, manifests, strict=True))
        artifacts += _measured(plan, dict(zip(task.makes, manifests, strict=True)), tuple(phases), requests)
    read = tuple(ReadFile(digest, marker.account, len(marker.parts)) for digest, marker in engine.files)
    size = sum(entry.size for entry in lake.list("parts"))
    corpora = [manifest for name, manifest in made.items() if name.endswith("/corpus")]
    sizes = {name: _text_sizes(PartReader(lake, folder), made[f"{name}/documents"]) for name in files}
    return Sampled(tuple(artifacts), read, size, driver, count_tokens(lake, made["tokens"], corpora), sizes)


def _source_plan(resolved: ResolvedRecipe, name: str, files: Files, sample: Sample) -> Plan:
    origin = resolved.origin(name)
    configured = ConfiguredStage(origin.section.read.declared(), origin.section.reader_config(name))
    return SourcePlan(configured, files[name], sample)


def _with_limits(plan: Any, share: float) -> Plan:
    configured = getattr(plan, "configured", None)
    if share == 1 or not isinstance(configured, ConfiguredStage) or configured.stage.kind is not StageKind.fit:
        return plan  # type: ignore[no-any-return]
    config = in_proportion(configured.config, share)
    return replace(plan, configured=replace(configured, config=config))  # type: ignore[no-any-return]


def in_proportion(config: StageConfig, share: float) -> StageConfig:
    """The config of a fit on a share of its documents: its limits in documents shrink with them."""
    values = config.model_dump()
    least = values.get("held_back_every", 1)
    values |= {name: max(math.ceil(values[name] * share), least) for name in _LIMITS if name in values}
    return type(config).model_validate(values)


def _run(lake: Lake, engine: MeteredEngine, plan: Plan) -> list[Manifest]:
    """What a build asks the lake for around a plan (`infra.orchestration`), and the plan."""
    if present(lake, plan) is None:
        with lease(lake, f"{plan.names[0]}-{plan.keys[0]}", lambda: None):
            present(lake, plan)
    return plan.run(lake, engine, lambda label, done, total: None)


def _measured(plan: Any, manifests: Mapping[str, Manifest], phases: tuple[Phase, ...], requests: int) -> list[Measured]:
    configured = plan.configured if isinstance(plan.configured, tuple) else (plan.configured,)
    seconds = [manifest.cost["worker_seconds"] for manifest in manifests.values()]
    found: list[Measured] = []
    for (name, manifest), item, own in zip(manifests.items(), configured, seconds, strict=True):
        stage = item.stage
        found.append(
            Measured(
                name=name,
                stage=stage.name,
                kind=stage.kind,
                reads_text=stage.reads_text(item.config) or stage.kind in (StageKind.source, StageKind.select),
                documents_per_partition=stage.documents_per_partition,
                share=own / sum(seconds) if sum(seconds) else 1 / len(seconds),
                phases=phases,
                account=manifest.account,
                bytes=bytes_of(manifest),
                requests=requests if not found else 0,
            )
        )
    return found


def _text_sizes(reader: PartReader, documents: Manifest) -> tuple[int, ...]:
    sizes: list[int] = []
    for part in documents.parts:
        sizes += pc.binary_length(read_table(reader.path(part), ["text"])["text"]).to_pylist()
    return tuple(sizes)


def bytes_of(manifest: Manifest) -> int:
    """The bytes of an artifact's parts and evidence; a part that stands there twice is stored once."""
    return sum({part.path: part.bytes for part in manifest.all_parts()}.values())
