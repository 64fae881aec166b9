"""Adapts our models to the harness's `LM` interface, in this process, and scores tasks."""

from __future__ import annotations

import contextlib
import io
import math
import time
from dataclasses import dataclass
from typing import Any

import tokenizers
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.evaluator import evaluate
from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch import nn

from model.analysis.scoring import loglikelihood
from tasks.evaluation.definitions import LoadedTask
from tasks.evaluation.local_tasks import LocalTask
from tasks.tokenizer import END_OF_TEXT

BOOTSTRAPS = 1000  # for the harness's standard error of a perplexity; that of a mean has a closed form
DECIMALS = 6


@dataclass(frozen=True, slots=True)
class TaskScore:
    """Metrics over `items` items, each with its standard error (None for a single item), rounded to 6 decimals."""

    name: str
    kind: str
    items: int
    metrics: dict[str, float]
    standard_errors: dict[str, float | None]
    seconds: float


class NativeModel(TemplateLM):
    """A model and its tokenizer behind the harness's interface, with `batch` sequences computed at a time.

    `end_of_document` is the token behind every document in training.

    Rows of a batch are padded on the right, outside the causal attention, so the other rows change a score only by
    rounding (compare lm-evaluation-harness, issue 3357). Texts get no special tokens; an empty context is
    `end_of_document`, which precedes every document in training. Raises ValueError if the tokenizer has more tokens
    than the model.
    """

    def __init__(
        self, model: nn.Module, tokenizer: tokenizers.Tokenizer, batch: int = 1, end_of_document: str = END_OF_TEXT
    ) -> None:
        super().__init__()
        self.model, self.tokenizer, self.batch = model, tokenizer, batch
        self.max_length: int = model.config.positions  # type: ignore[assignment,union-attr]
        vocabulary, end = tokenizer.get_vocab_size(with_added_tokens=True), tokenizer.token_to_id(end_of_document)
        if end is None or vocabulary > model.config.vocabulary:  # type: ignore[operator,union-attr]
            raise ValueError(
                f"the tokenizer has {vocabulary} tokens, {end_of_document} as number {end}, but the model has "
                f"{model.config.vocabulary}; "  # type: ignore[union-attr]
                "use the tokenizer of the run's tokens"
            )
        self._end_of_text: int = end

    @property
    def eot_token_id(self) -> int:
        """The id of the end-of-text token."""
        return self._end_of_text

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """The token ids of a text, without special tokens."""
        return list(self.tokenizer.encode(string, add_special_tokens=False).ids)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """The log-probability in nats of each continuation, and whether greedy decoding would produce it.

        A context that does not fit loses its oldest tokens. Raises ValueError if a continuation has no tokens, or more
        tokens than the model has positions.
        """
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """The log-probability in nats of each whole text, in disjoint windows of the model's length."""
        totals = []
        for (text,) in (request.args for request in requests):
            windows = get_rolling_token_windows(self.tok_encode(text), self.eot_token_id, self.max_length, 1)
            pairs = [make_disjoint_window(window) for window in windows]
            scored = self._loglikelihood_tokens([((text[:60], ""), *pair) for pair in pairs])
            totals.append(sum(value for value, _ in scored))
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """The greedy continuation of each context up to a stop text, the end-of-text token or the length limit.

        Raises ValueError for sampling, and for more tokens than the model has positions.
        """
        return [self._generate(*request.args) for request in requests]

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        for (context, continuation), _context, ids in requests:
            if not 0 < len(ids) <= self.max_length:
                raise ValueError(
                    f"the continuation {continuation[:60]!r} of {context[-60:]!r} has {len(ids)} tokens; "
                    f"the model scores 1 to {self.max_length}; remove the item"
                )
        # The harness moves trailing spaces of a context to the continuation, so a context of spaces is now empty.
        pairs = [(context or [self.prefix_token_id], continuation) for _, context, continuation in requests]
        scored = loglikelihood(self.model, pairs, self.batch)
        for (texts, _context, _continuation), one in zip(requests, scored, strict=True):
            if not math.isfinite(one.log_probability):
                raise ValueError(f"the log-probability of {texts!r} is {one.log_probability}; the checkpoint diverged")
        return [(one.log_probability, one.greedy) for one in scored]

    def _generate(self, context: str, arguments: dict[str, Any]) -> str:
        wanted: dict[str, Any] = dict(normalize_gen_kwargs(arguments))
        if wanted["do_sample"]:
            raise ValueError(f"generation arguments {arguments} request sampling; only greedy decoding is supported")
        room = self.max_length - wanted["max_gen_toks"]
        if room < 1:
            raise ValueError(
                f"max_gen_toks is {wanted['max_gen_toks']}; it must be below the model's {self.max_length} positions"
            )
        ids = (self.tok_encode(context) or [self.prefix_token_id])[-room:]
        generated: list[int] = []
        text = ""
        while len(generated) < wanted["max_gen_toks"] and not any(stop in text for stop in wanted["until"] if stop):
            with torch.no_grad():
                token = int(self.model(torch.tensor([ids + generated]))[0, -1].argmax())
            if token == self.eot_token_id:
                break
            generated.append(token)
            text = self.tokenizer.decode(generated)
        return postprocess_generated_text(text, wanted["until"], None)


def score(model: NativeModel, task: LoadedTask) -> TaskScore:
    """Score one task with the harness's evaluator."""
    began = time.monotonic()
    # The harness prints bootstrap progress.
    with contextlib.redirect_stdout(io.StringIO()):
        results = evaluate(
            model, {"tasks": {task.definition.name: LocalTask(task)}}, bootstrap_iters=BOOTSTRAPS, log_samples=False
        )
    found = results["results"][task.definition.name]
    metrics = {name.removesuffix(",none"): value for name, value in found.items() if name.endswith(",none")}
    names = [name for name in metrics if not name.endswith("_stderr")]
    errors = {name: metrics[f"{name}_stderr"] for name in names}
    return TaskScore(
        name=task.definition.name,
        kind=task.definition.kind,
        items=int(found["sample_len"]),
        metrics={name: round(float(metrics[name]), DECIMALS) for name in names},
        standard_errors={
            name: None if error == "N/A" else round(float(error), DECIMALS) for name, error in errors.items()
        },
        seconds=round(time.monotonic() - began, 3),
    )
