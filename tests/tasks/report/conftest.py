"""A small build of real stages over pages made here, hostile ones among them, and a run's records beside it."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pydoc_data.topics import topics

import pytest

from flows.build import make_corpus
from flows.recipe import load_recipe
from infra.engine.graph import BuildTask, Made
from infra.engine.pool import LocalPool
from infra.orchestration import StageRunner
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from model.accounting.account import Account, write_account
from model.accounting.energy import Energy
from model.checkpoints.manifest import Checkpoint, StoredFile, StoredSlice, commit
from model.observers.losses import Losses
from model.observers.records import StepRecord
from model.run.config import RunConfig, create_run, run_config
from model.state.boxes import whole
from model.supervision.logbook import Logbook
from tasks.builds import BuildRecord
from tasks.evaluation.results import write_evaluation
from tasks.report.data import ReportData, collect_report
from tests.infra.engine.builds import run_tasks
from tests.tasks.sources.samples import COMPRESSIONS, HTML, http_response, page, warc_record

ATTACK = "<script>alert('text')</script><img src=x onerror=alert(1)>"
HOSTILE_URI = "http://mill.example/?q='\"><script>alert('uri')</script>"
GERMAN = (
    "Die Mühle steht seit dreihundert Jahren am Fluss, und ihr Rad hat sich in all dieser Zeit nur selten ausgeruht. "
    "Im Frühjahr, wenn der Schnee schmilzt, führt der Bach so viel Wasser, dass der Müller die Schleuse öffnen muss; "
    "im Spätsommer dagegen reicht es kaum für einen halben Tag Arbeit, und die Bauern warten mit ihrem Korn im Hof. "
)
STEPS, SAVED_EVERY = 12, 4


class DirectRunner(StageRunner):
    """Runs the tasks of a build without Prefect."""

    def run(self, tasks: Sequence[BuildTask], made: Made | None = None) -> dict[str, Manifest]:
        return run_tasks(tasks, self.lake, self.engine, made)


@dataclass(frozen=True)
class Built:
    """A lake with a build and a run on its tokens."""

    lake: Lake
    build: BuildRecord
    run: str


@pytest.fixture(scope="session")
def built(pool: LocalPool, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """About 60 pages of real English, a German one, and planted ones: near-duplicates, a short one, a broken one."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "pages.warc.gz").write_bytes(b"".join(_records()))
    (folder / "more.warc.gz").write_bytes(COMPRESSIONS["gzip"](warc_record(page(_paragraphs(GERMAN * 2)), number=900)))
    settings = ["language_models.minimum_documents=20", "language_models.vocabulary_size=300", "most_failures=0.2"]
    settings += ["tokenizer.vocabulary_size=600", "tokens.held_out_every=7", "perplexity.head_percentile=20"]
    recipe = load_recipe("crawl", settings, [str(folder / "*.warc.gz")])
    lake = Lake.open(str(folder / "lake"))
    build = make_corpus(DirectRunner(lake, pool, lambda label, done, total: None), recipe)
    return Built(lake, build, _write_run(lake, build))


@pytest.fixture(scope="session")
def data(built: Built, tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    """The report of build and run."""
    return collect_report(built.lake, built.build, tmp_path_factory.mktemp("cache"), built.run)


def _records() -> Iterator[bytes]:
    compress = COMPRESSIONS["gzip"]
    yield compress(warc_record(b"software: millrace\r\n", "warcinfo", Content_Type="application/warc-fields"))
    for number, name in enumerate(sorted(topics)[:60], start=1):
        yield compress(warc_record(page(_paragraphs(topics[name])), number=number, uri=f"http://docs.example/{name}"))
    # One paragraph each, so that copies are near-duplicates and not copied paragraphs.
    words = " ".join(topics["objects"].split()[:400])
    for number, (text, uri) in enumerate(
        ((f"{ATTACK} {words}", HOSTILE_URI), (f"{ATTACK} {words} again", "http://b.example/"))
    ):
        yield compress(warc_record(page(f"<p>{html.escape(text)}</p>"), number=100 + number, uri=uri))
    yield compress(warc_record(page("<p>Too few words to be kept here.</p>"), number=200))
    cut_short = http_response(compress(HTML * 20)[:-40], Content_Encoding="gzip")
    yield compress(warc_record(cut_short, number=300, uri=f"http://broken.example/{ATTACK}".replace(" ", "%20")))


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{html.escape(' '.join(part.split()))}</p>" for part in text.split("\n\n"))


def _write_run(lake: Lake, build: BuildRecord) -> str:
    """A run's records as the trainer and the evaluation leave them: 12 steps, killed once after the eighth."""
    config = _run_config(lake, build)
    run = create_run(lake, config)
    logbook, losses = Logbook(lake, run, "first", 0), Losses(lake, run)
    logbook.write("launch", 0, layout={"engine": "deepspeed", "ranks": 2}, torch="2.13.0")
    _save(lake, config, 0)
    for step in range(1, STEPS + 1):
        if step == 10:
            losses.flush()
            logbook = Logbook(lake, run, "second", 0)
            logbook.write("resume", 8, layout={"engine": "deepspeed", "ranks": 2}, torch="2.13.0", note=ATTACK)
        overflows = step == 2
        losses.on_step_end(
            StepRecord(
                step=step,
                loss=None if overflows else 6.0 - step / 4,
                gradient_norm=None if overflows else 1.0,
                learning_rate=1e-3,
                tokens=step * 64,
                sequences="",
                first_sequence=(step - 1) * 4,
                seconds=0.5,
                skipped=overflows,
                cause=f"the gradient overflowed {ATTACK}" if overflows else "",
                validation_loss=6.5 - step / 4 if step % SAVED_EVERY == 0 else None,
            )
        )
        if step % SAVED_EVERY == 0:
            losses.commit(step)
            _save(lake, config, step)
            logbook.write("checkpoint", step, checkpoint="", bytes=1000)
    for launch, energy in (("first", 7.2e5), ("second", None)):
        meter = Energy(energy, "unknown" if energy is None else "measured", "RAPL")
        account = Account(
            id=launch,
            launch=launch,
            machine=0,
            state="running",
            started=0.0,
            updated=1800.0,
            seconds=1800.0,
            device="cpu",
            device_name=f"Processor {ATTACK}",
            devices=2,
            rated_watts=None,
            first_step=0,
            step=8,
            taken=8,
            energy=(meter,),
            notes=(),
        )
        write_account(lake, run, account)
    for step in (0, 4, 12):
        task = {"name": "sciq", "kind": "multiple_choice", "items": 20, "seconds": 1.0}
        scores = {"metrics": {"acc": 0.25 + step / 100, "acc_norm": 0.3}, "standard_errors": {"acc": 0.05}}
        held_out = {"perplexity": 400.0 / (step + 1), "tokens": 512}
        found = {"held_out": {**held_out, "sources": {"crawl": held_out}}, "tasks": [{**task, **scores}]}
        write_evaluation(lake, run, step, {"libraries": {"lm_eval": "0.4.13"}}, {**found, "seconds": 2.5})
    return run


def _run_config(lake: Lake, build: BuildRecord) -> RunConfig:
    parts = {part.name: asdict(part) for part in build.manifest(lake, "tokens").parts}
    shape = {"vocabulary": 600, "positions": 16, "layers": 1, "width": 8, "heads": 2, "feed_forward_multiple": 8}
    return run_config(
        {
            "model": {"architecture": "llama", **shape},
            "training": {
                "sequence_length": 16,
                "batch": 4,
                "steps": STEPS,
                "schedule": {"kind": "cosine", "learning_rate": 1e-3, "minimum": 1e-4, "warmup": 2, "decay": STEPS},
                "optimizer": {"betas": [0.9, 0.95], "epsilon": 1e-8, "weight_decay": 0.1, "clip": 1.0},
                "checkpoints": {"kind": "every", "every": SAVED_EVERY},
            },
            "sources": [
                {
                    "name": "crawl",
                    "weight": 1.0,
                    "epochs": 1,
                    "bin": parts["crawl-00000.bin"],
                    "idx": parts["crawl-00000.idx"],
                }
            ],
            "seed": 7,
            "label": "small",
        }
    )


def _save(lake: Lake, config: RunConfig, step: int) -> None:
    weight = StoredSlice("embedding", "weight", (600, 8), whole((600, 8)))
    moment = StoredSlice("embedding", "first_moment", (600, 8), whole((600, 8)))
    weights = StoredFile(0, "weights", "0" * 64, 400, (weight,))
    state = StoredFile(0, "state", "0" * 64, 600, (moment,))
    commit(lake, Checkpoint(config.key, step, "", {}, (weights, state)))
