"""A training run as it is asked for: a preset or a checkpoint to begin with, and what is changed in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pydantic

from infra.stage import StageConfig
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from model.presets import preset
from tasks.lineage import tokens_with
from tasks.run_origin import find_origin, with_inheritance
from tasks.run_overrides import ModelOverrides, TrainingOverrides
from tasks.run_settings import WrongSetting
from tasks.runs import read_run_record, run_keys
from tasks.settings import merged
from tasks.token_artifact import VALIDATION, read_summary, token_digests, token_files
from tasks.tokenizer import TOKENIZER_FILE

if TYPE_CHECKING:
    from model.order.supply import Counts
    from model.run.config import RunConfig

# What each system pads its vocabulary to a multiple of: GPT-NeoX (`make-vocab-size-divisible-by`, for each tensor
# rank), metaseq (`pad_to_multiple_`) and LLaMA, which does not.
VOCABULARY_MULTIPLES = {"pythia": 128, "opt": 8, "llama": 1}
# The sizes of the tokenizers of GPT-NeoX-20B and Pythia, of OPT, and of LLaMA.
PUBLISHED_VOCABULARIES = {"pythia": 50_277, "opt": 50_265, "llama": 32_000}
SEED = 1234  # GPT-NeoX's default


class TrainingRequest(StageConfig):
    """What decides a run's result, beside the tokens.

    With an `origin`, that run's configuration takes the place of a preset's, and a `preset` beside it must be of its
    architecture. `model` and `training` replace values of that configuration.
    """

    preset: str | None = pydantic.Field(None, description="Preset with the architecture and hyperparameters.")
    origin: str | None = pydantic.Field(
        None, description="RUN@STEP: start from the full state of this checkpoint of another run."
    )
    seed: int | None = pydantic.Field(
        None, ge=0, description=f"Seed of initial weights and data order. Default: the origin's, or {SEED}."
    )
    label: str = pydantic.Field("", description="Distinguishes runs that are otherwise equal.")
    epochs: int | None = pydantic.Field(
        None, ge=1, description="Maximum number of times a source is read. Default: the origin's, or once."
    )
    model: ModelOverrides = pydantic.Field(default_factory=ModelOverrides)
    training: TrainingOverrides = pydantic.Field(default_factory=TrainingOverrides)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _sections(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "settings" in values:
            raise ValueError(
                "settings with dotted keys are no longer supported: write sections, such as "
                "`training: {steps: 100, schedule: {decay: 100}}` and `model: {layers: 2}`"
            )
        return values

    @pydantic.model_validator(mode="after")
    def _begins_somewhere(self) -> TrainingRequest:
        if self.preset is None and self.origin is None:
            raise ValueError("give a preset, or the checkpoint of a run to start from")
        return self


def requested_run(lake: Lake, tokens: Manifest, request: TrainingRequest, fork: bool = False) -> RunConfig:
    """The run that `request` makes of a token artifact; nothing is written. The same request is the same run.

    Raises WrongSetting naming the setting that is wrong; with `fork`, also when another run has the label.
    """
    # torch takes over a second to import, and nothing else in the flow process needs it.
    from model.run.config import run_config
    from model.run.supply import require_supply

    summary = read_summary(lake, tokens)
    try:
        config = run_config(_run_values(lake, tokens, summary, request))
        config = with_inheritance(lake, config, request.training.values())
        require_supply(config, *(_counts(config, summary, suffix) for suffix in ("", VALIDATION)))
    except WrongSetting:
        raise
    except ValueError as error:
        raise WrongSetting(str(error)) from error
    if fork:
        _refuse_label_in_use(lake, request.label, config.key)
    return config


def _run_values(lake: Lake, tokens: Manifest, summary: dict[str, Any], request: TrainingRequest) -> dict[str, Any]:
    base = _of_preset(request, summary) if request.origin is None else _of_origin(lake, tokens, request)
    chosen = {
        "model": merged(base["model"], request.model.values()),
        "training": merged(base["training"], request.training.values()),
    }
    _check_model(chosen["model"], base, summary)
    epochs = {name: request.epochs or base["epochs"].get(name, 1) for name in summary["mixture"]}
    training = chosen["training"]
    validates = training.get("validation") is not None and training.get("split") is None
    return {
        **chosen,
        "sources": _sources(lake, tokens, summary, epochs, ""),
        "validation_sources": _sources(lake, tokens, summary, {}, VALIDATION) if validates else [],
        "seed": base["seed"] if request.seed is None else request.seed,
        "label": request.label,
        "end_of_document": summary["end_of_text"],
        "origin": base["origin"],
    }


def _of_preset(request: TrainingRequest, summary: dict[str, Any]) -> dict[str, Any]:
    assert request.preset is not None
    values = preset(request.preset)
    model = {**values["model"], "vocabulary": padded_vocabulary(values["model"], summary["vocabulary"])}
    return {"model": model, "training": values["training"], "seed": SEED, "epochs": {}, "origin": None}


def padded_vocabulary(model: dict[str, Any], tokens: int) -> int:
    """The vocabulary of a preset's model for a tokenizer of so many tokens, padded as its own system does.

    With the tokenizer of the published models it is the preset's, which depends on the tensor ranks that they had.
    """
    architecture, published = model["architecture"], model["vocabulary"]
    if tokens == PUBLISHED_VOCABULARIES[architecture] and tokens <= published:
        return int(published)
    multiple = VOCABULARY_MULTIPLES[architecture]
    return -(-tokens // multiple) * multiple


def _of_origin(lake: Lake, tokens: Manifest, request: TrainingRequest) -> dict[str, Any]:
    from model.checkpoints.manifest import read_checkpoint
    from model.run.config import read_run

    assert request.origin is not None
    run, _, step = find_origin(lake, request.origin).partition("@")
    config = read_run(lake, run)
    values = config.to_plain()
    wanted = None if request.preset is None else preset(request.preset)["model"]["architecture"]
    if wanted not in (None, values["model"]["architecture"]):
        raise WrongSetting(
            f"the preset {request.preset} is a {wanted} model, but the run {run[:12]} to start from is a "
            f"{values['model']['architecture']}; omit the preset"
        )
    checkpoint = read_checkpoint(lake, run, int(step))
    theirs = next(tokens_with(lake, [part.sha256 for part in config.files]), None)
    if theirs is not None and _tokenizer(theirs) != _tokenizer(tokens):
        raise WrongSetting(
            f"this corpus and that of the run {run[:12]} have different tokenizers, so the model cannot read these "
            "tokens: encode this corpus with the run's tokenizer (`millrace tokenize --tokenizer`)"
        )
    return {
        "model": values["model"],
        "training": values["training"],
        "seed": config.seed,
        "epochs": {source.name: source.epochs for source in config.sources},
        "origin": {"run": run, "step": int(step), "digest": checkpoint.digest, "next_sequence": 0},
    }


def _check_model(model: dict[str, Any], base: dict[str, Any], summary: dict[str, Any]) -> None:
    if base["origin"] is not None and model != base["model"]:
        [name, *_] = [name for name in base["model"] if model.get(name) != base["model"][name]] or [*model]
        raise WrongSetting(
            f"--set model.{name}: a run that starts from a checkpoint keeps its model, where {name} is "
            f"{base['model'].get(name)!r}"
        )
    held = model.get("vocabulary")
    if isinstance(held, int) and held < summary["vocabulary"]:
        raise WrongSetting(
            f"model.vocabulary is {held}, but the tokenizer of this corpus has {summary['vocabulary']} tokens; set at "
            "least that many"
        )


def _sources(lake: Lake, tokens: Manifest, summary: dict[str, Any], epochs: dict[str, int], split: str) -> list[Any]:
    """The sources of the mixture that have files of that split; without any, those that are a split as a whole."""
    files, digests = token_files(tokens, split), token_digests(lake, tokens, split)
    weights = {name: weight for name, weight in summary["mixture"].items() if name in files}
    weights = weights or {name: float(summary["sources"][f"{name}{split}"]["tokens"]) for name in files}
    return [
        {
            "name": name,
            "weight": weight,
            "epochs": epochs.get(name, 1),
            "files": [{"bin": asdict(file.bin), "idx": asdict(file.idx)} for file in files[name]],
            "digest": digests[name],
        }
        for name, weight in weights.items()
    ]


def _counts(config: RunConfig, summary: dict[str, Any], split: str) -> dict[str, Counts]:
    """What the files of that split of the sources hold, by the source's name."""
    from model.order.supply import Counts

    sources = config.validation_sources if split else config.sources
    counted = {source.name: summary["sources"][f"{source.name}{split}"] for source in sources}
    return {name: Counts(counts["documents"], counts["tokens"]) for name, counts in counted.items()}


def _tokenizer(tokens: Manifest) -> str:
    [part] = [part for part in tokens.parts if part.name == TOKENIZER_FILE]
    return part.sha256


def _refuse_label_in_use(lake: Lake, label: str, key: str) -> None:
    from model.checkpoints.manifest import committed_steps

    for other in run_keys(lake):
        if other == key or read_run_record(lake, other).label != label:
            continue
        # One that failed before its first checkpoint holds nothing that anybody could want.
        if committed_steps(lake, other):
            raise WrongSetting(
                f"--new {label}: the run {other[:12]} has that label and another configuration; use another label, or "
                "the settings of that run to resume it"
            )
