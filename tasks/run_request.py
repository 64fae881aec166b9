"""A training run as it is asked for: a preset or a checkpoint to begin with, and what is changed in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pydantic

from infra.runs import find_run, run_keys
from infra.stage import StageConfig
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from model.presets import preset
from tasks.lineage import tokens_with
from tasks.tokenizer import TOKENIZER_FILE
from tasks.tokens import VALIDATION, read_summary

if TYPE_CHECKING:
    from model.run import RunConfig
    from model.supply import Counts

# GPT-NeoX pads its vocabulary to a multiple of this, so that matrix products have even shapes.
VOCABULARY_MULTIPLE = 128
SEED = 1234  # GPT-NeoX's default


class WrongSetting(ValueError):
    """A value of a training request that no run can have."""


class TrainingRequest(StageConfig):
    """What decides a run's result, beside the tokens.

    `origin`, written RUN@STEP, is the checkpoint of another run whose whole state this run begins with: that run's
    configuration is then what a preset's is otherwise, and a `preset` beside it must be of its architecture.
    `settings` maps dotted keys below ``model`` and ``training`` to values, `label` tells equal runs apart, and `epochs`
    is the most often that a source may be read. Without `seed` and `epochs` they are the origin's, or 1234 and 1.
    """

    preset: str | None = None
    origin: str | None = None
    seed: int | None = pydantic.Field(None, ge=0)
    label: str = ""
    epochs: int | None = pydantic.Field(None, ge=1)
    settings: dict[str, Any] = pydantic.Field(default_factory=dict)

    @pydantic.model_validator(mode="after")
    def _begins_somewhere(self) -> TrainingRequest:
        if self.preset is None and self.origin is None:
            raise ValueError("give a preset, or the checkpoint of a run to begin with")
        return self


def requested_run(lake: Lake, tokens: Manifest, request: TrainingRequest, fork: bool = False) -> RunConfig:
    """The run that `request` makes of a token artifact; nothing is written. The same request is the same run.

    Raises WrongSetting naming the setting that is wrong; with `fork`, also when another run has the label.
    """
    # torch takes over a second to import, and nothing else in the flow process needs it.
    from model.run import run_config
    from model.supply import require_supply

    summary = read_summary(lake, tokens)
    try:
        config = run_config(_run_values(lake, tokens, summary, request))
        config = _with_inheritance(lake, config, request.settings)
        require_supply(config, *(_counts(config, summary, suffix) for suffix in ("", VALIDATION)))
    except WrongSetting:
        raise
    except ValueError as error:
        raise WrongSetting(str(error)) from error
    if fork:
        _refuse_label_in_use(lake, request.label, config.key)
    return config


def find_origin(lake: Lake, name: str, report: Callable[[str], None] = lambda reason: None) -> str:
    """RUN@STEP, with the whole key, of what a person calls RUN@STEP, or RUN for its newest checkpoint that is whole.

    `report` is told of each newer one that is not, and why. Raises WrongSetting and StoreError when there is no such
    checkpoint with all of its state.
    """
    from model.checkpoint import committed_steps, newest_good, read_checkpoint

    start, sign, step = name.partition("@")
    if not start or (sign and not step.isdecimal()):
        raise WrongSetting(f"--from {name}: write RUN or RUN@STEP, such as 3fa9@1000")
    run = find_run(lake, start)
    if not sign:
        with TemporaryDirectory(prefix="millrace-origin-") as cache:
            found = newest_good(lake, run, Path(cache), lambda at, reason: report(f"not {run[:12]}@{at}: {reason}"))
        if found is None:
            raise WrongSetting(
                f"--from {name}: the run {run[:12]} has no checkpoint with all of its state; let it train to one, or "
                "begin with another run"
            )
        return f"{run}@{found.step}"
    steps = committed_steps(lake, run)
    if int(step) not in steps:
        raise WrongSetting(f"--from {name}: the run {run[:12]} has no checkpoint at {step}; it has {steps}")
    if read_checkpoint(lake, run, int(step)).pruned:
        whole = [one for one in steps if not read_checkpoint(lake, run, one).pruned]
        raise WrongSetting(
            f"--from {name}: training cannot begin there, as only weights are kept; the run {run[:12]} has all of its "
            f"state at {whole}"
        )
    return f"{run}@{int(step)}"


def describe_origin(origin: Mapping[str, Any]) -> str:
    """What a run takes over from its origin, as run.json holds it: "began with …", to follow the run's name."""
    text = f"began with {origin['run'][:12]}@{origin['step']}"
    if origin["next_sequence"] > 0:
        text += f", and goes on in its data at sequence {origin['next_sequence']:,}"
    elif origin["step"] > 0:
        text += ", and reads other data, or in another order, from the first sequence on"
    inherited = origin.get("inherited") or {}
    changed = {
        "learning rate": inherited.get("learning_rate"),
        "learning rate times": None if inherited.get("factor") == 1.0 else inherited.get("factor"),
        "clip": inherited.get("clip"),
    }
    taken_over = [f"{name} {value:g}" for name, value in changed.items() if value is not None]
    return text + (f"; as changed there: {', '.join(taken_over)}" if taken_over else "")


def _run_values(lake: Lake, tokens: Manifest, summary: dict[str, Any], request: TrainingRequest) -> dict[str, Any]:
    base = _of_preset(request, summary) if request.origin is None else _of_origin(lake, tokens, request)
    chosen = deepcopy({name: base[name] for name in ("model", "training")})
    opened: set[str] = set()
    for key, value in request.settings.items():
        _replace(chosen, key, value, opened)
    for name, section in chosen.items():
        if not isinstance(section, dict):
            raise WrongSetting(f"--set {name}={section!r}: {name} is a section; set the values in it by name")
    _check_model(chosen["model"], base, summary)
    epochs = {name: request.epochs or base["epochs"].get(name, 1) for name in summary["mixture"]}
    training = chosen["training"]
    validates = training.get("validation") is not None and training.get("split") is None
    return {
        **chosen,
        "sources": _sources(tokens, summary, epochs, ""),
        "validation_sources": _sources(tokens, summary, {}, VALIDATION) if validates else [],
        "seed": base["seed"] if request.seed is None else request.seed,
        "label": request.label,
        "end_of_document": summary["end_of_text"],
        "origin": base["origin"],
    }


def _of_preset(request: TrainingRequest, summary: dict[str, Any]) -> dict[str, Any]:
    assert request.preset is not None
    values = preset(request.preset)
    padded = -(-summary["vocabulary"] // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
    model = {**values["model"], "vocabulary": padded}
    return {"model": model, "training": values["training"], "seed": SEED, "epochs": {}, "origin": None}


def _of_origin(lake: Lake, tokens: Manifest, request: TrainingRequest) -> dict[str, Any]:
    from model.checkpoint import read_checkpoint
    from model.run import read_run

    assert request.origin is not None
    run, _, step = find_origin(lake, request.origin).partition("@")
    config = read_run(lake, run)
    values = config.to_plain()
    wanted = None if request.preset is None else preset(request.preset)["model"]["architecture"]
    if wanted not in (None, values["model"]["architecture"]):
        raise WrongSetting(
            f"the preset {request.preset} is a {wanted} model, and the run {run[:12]} to begin with a "
            f"{values['model']['architecture']}; leave the preset out"
        )
    checkpoint = read_checkpoint(lake, run, int(step))
    theirs = tokens_with(lake, [source.bin.sha256 for source in config.sources])
    if theirs is not None and _tokenizer(theirs) != _tokenizer(tokens):
        raise WrongSetting(
            f"this corpus and that of the run {run[:12]} have different tokenizers, so that its model would not know "
            "these tokens: encode this corpus with `millrace tokenize --tokenizer`"
        )
    return {
        "model": values["model"],
        "training": values["training"],
        "seed": config.seed,
        "epochs": {source.name: source.epochs for source in config.sources},
        "origin": {"run": run, "step": int(step), "digest": checkpoint.digest, "next_sequence": 0},
    }


def _with_inheritance(lake: Lake, config: RunConfig, settings: dict[str, Any]) -> RunConfig:
    """The run with what it takes over from its origin; a rate or clip that is set replaces what that was changed to."""
    from model.checkpoint import read_checkpoint
    from model.events import read_events
    from model.origin import take_over
    from model.run import read_run

    if (origin := config.origin) is None:
        return config
    before = read_run(lake, origin.run)
    inherited = before.course(read_events(lake, origin.run)).to_inherit(origin.step)
    if _is_set("training.schedule", settings):
        inherited = replace(inherited, learning_rate=None, factor=1.0)
    if _is_set("training.optimizer.clip", settings):
        inherited = replace(inherited, clip=None)
    reached = read_checkpoint(lake, origin.run, origin.step).trainer["next_sequence"]
    return take_over(config, before, reached, inherited)


def _is_set(key: str, settings: dict[str, Any]) -> bool:
    """Whether the value at a dotted key, something in it or a section around it is set."""
    return any(f"{one}.".startswith(f"{key}.") or key.startswith(f"{one}.") for one in settings)


def _check_model(model: dict[str, Any], base: dict[str, Any], summary: dict[str, Any]) -> None:
    if base["origin"] is not None and model != base["model"]:
        [name, *_] = [name for name in base["model"] if model.get(name) != base["model"][name]] or [*model]
        raise WrongSetting(
            f"--set model.{name}: a run that begins with a checkpoint has its model, where {name} is "
            f"{base['model'].get(name)!r}"
        )
    held = model.get("vocabulary")
    if isinstance(held, int) and held < summary["vocabulary"]:
        raise WrongSetting(
            f"model.vocabulary is {held}, and the tokenizer of this corpus has {summary['vocabulary']} words; a "
            "vocabulary holds all of them"
        )


def _sources(tokens: Manifest, summary: dict[str, Any], epochs: dict[str, int], suffix: str) -> list[dict[str, Any]]:
    """The sources of the mixture that have files with that suffix."""
    parts = {part.name: part for part in tokens.parts}
    return [
        {
            "name": name,
            "weight": weight,
            "epochs": epochs.get(name, 1),
            "bin": asdict(parts[f"{name}{suffix}.bin"]),
            "idx": asdict(parts[f"{name}{suffix}.idx"]),
        }
        for name, weight in summary["mixture"].items()
        if f"{name}{suffix}.bin" in parts
    ]


def _counts(config: RunConfig, summary: dict[str, Any], suffix: str) -> dict[str, Counts]:
    """What the files of the sources with that suffix hold, by the source's name."""
    from model.supply import Counts

    sources = config.validation_sources if suffix else config.sources
    return {source.name: Counts(**summary["sources"][f"{source.name}{suffix}"]) for source in sources}


def _tokenizer(tokens: Manifest) -> str:
    [part] = [part for part in tokens.parts if part.name == TOKENIZER_FILE]
    return part.sha256


def _refuse_label_in_use(lake: Lake, label: str, key: str) -> None:
    from model.checkpoint import committed_steps

    for other in run_keys(lake):
        if other == key or lake.read_json(f"runs/{other}/run.json")["label"] != label:
            continue
        # One that failed before its first checkpoint holds nothing that anybody could want.
        if committed_steps(lake, other):
            raise WrongSetting(
                f"--new {label}: the run {other[:12]} has that label and another configuration; take another label, or "
                "give the settings of that run to go on with it"
            )


def _replace(values: dict[str, Any], key: str, value: Any, opened: set[str]) -> None:
    """Set the value at a dotted key; a section that is null becomes one that holds what is set in it.

    What such a section may hold is for the configuration to say; `opened` remembers which they are.
    """
    target: Any = values
    where = ""
    for step in key.split("."):
        if not isinstance(target, dict) or (step not in target and where not in opened):
            known = ", ".join(sorted(target)) if isinstance(target, dict) else "nothing"
            raise WrongSetting(f"--set {key}: there is no {step}; there are {known}")
        where = f"{where}.{step}" if where else step
        if where == key:
            target[step] = value
            return
        if target.get(step) is None:
            target[step] = {}
            opened.add(where)
        target = target[step]
