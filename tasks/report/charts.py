"""The charts of a report: the figure for each kind of data, with a text description for accessibility."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from tasks.report.data import FunnelStep, Reason
from tasks.report.distributions import Count, LanguagePerplexity, RuleView
from tasks.report.duplicates import NearDuplicates
from tasks.report.figures import Curve, Segment, bar, histogram_chart, line_chart
from tasks.report.training import Evaluation, Score, Training

# Shades of `figures.STYLE` for buckets, and for kept, removed and failed documents.
BUCKET_SHADES = {"head": "a", "middle": "b", "tail": "c", "all": "d"}
_KEPT, _OUT, _FAILED = "a", "b", "c"


def funnel_bar(step: FunnelStep, widest: int) -> Markup:
    """Documents of an entry: kept, dropped, failed, relative to the `widest` entry."""
    dropped = sum(reason.documents for reason in step.reasons if not reason.failed)
    failed = sum(reason.documents for reason in step.reasons if reason.failed)
    parts = ((_KEPT, step.documents_kept, "kept"), (_OUT, dropped, "dropped"), (_FAILED, failed, "failed"))
    return _bar(parts, widest)


def bytes_bar(step: FunnelStep, widest: int) -> Markup:
    """Bytes of an entry: kept, with documents, struck by edits."""
    out = step.bytes_in - step.bytes_kept - step.bytes_struck
    parts = (
        (_KEPT, step.bytes_kept, "kept"),
        (_OUT, out, "with documents"),
        ("d", step.bytes_struck, "struck"),
    )
    return _bar(parts, widest)


def reason_bar(reason: Reason, widest: int) -> Markup:
    """Documents removed for a reason."""
    return _bar(((_FAILED if reason.failed else _OUT, reason.documents, reason.name),), widest)


def count_bar(count: Count, widest: int) -> Markup:
    """Documents kept and removed."""
    return _bar(((_KEPT, count.kept, "kept"), (_OUT, count.documents - count.kept, "out")), widest)


def share_bar(value: float, widest: float, title: str) -> Markup:
    """A single value, relative to `widest`."""
    return bar([Segment(_KEPT, value / widest if widest else 0.0, title)])


def perplexity_chart(item: LanguagePerplexity) -> Markup:
    """The perplexities of a language, by bucket."""
    said = ", ".join(f"{bucket} {count.documents:,}" for bucket, count in item.buckets)
    return histogram_chart(
        item.histogram,
        title=f"Perplexity of documents in {item.language}",
        description=f"Documents: {said}",
        shades=[BUCKET_SHADES[name] for name, _ in item.histogram.series],
        x_label="perplexity",
    )


def rule_chart(rule: RuleView) -> Markup:
    """The values that a rule checks, and its limits."""
    bounds = (("≥", rule.at_least), ("≤", rule.at_most))
    limits = [(f"{sign} {value:,g}", value) for sign, value in bounds if value is not None]
    return histogram_chart(
        rule.histogram,
        title=f"{rule.step}.{rule.column}",
        description=f"{rule.fails:,} documents fail the rule {rule.reason}",
        shades=[_KEPT, _OUT],
        x_label=rule.column.replace("_", " "),
        limits=limits,
        height=180,
    )


def similarity_chart(found: NearDuplicates) -> Markup:
    """How similar each compared document is to its match."""
    name = "Jaccard index" if found.similarity == "jaccard" else "share of 3-grams"
    return histogram_chart(
        found.histogram,
        title="Similarity of compared documents",
        description=f"{found.gone:,} of {found.compared:,} documents reach the threshold {found.threshold:g}",
        shades=[_OUT, _KEPT],
        x_label=name,
        limits=[("threshold", found.threshold)],
        y_label="documents",
    )


def loss_chart(training: Training) -> Markup:
    """Loss in training, on validation sequences, and on held-out text (the logarithm of its perplexity)."""
    curves = [Curve("training", "a", training.losses)]
    if training.validation_losses:
        curves.append(Curve("validation", "b", training.validation_losses, dots=True))
    held_out = held_out_losses(training.evaluations)
    if held_out:
        curves.append(Curve("held out", "c", held_out, dots=True))
    (first_step, first), (last_step, last) = training.losses[0], training.losses[-1]
    return line_chart(
        curves,
        title="Loss by step",
        description=f"From {first:.3f} at step {first_step:,} to {last:.3f} at step {last_step:,}",
        x_label="step",
        y_label="loss, nats per token",
        marks=[("restart", step) for step in training.restarted_at],
        width=900,
        height=330,
    )


def perplexity_curve(evaluations: Sequence[Evaluation]) -> Markup:
    """Held-out perplexity by checkpoint."""
    first, last = evaluations[0], evaluations[-1]
    return line_chart(
        [Curve("held-out perplexity", "c", tuple((item.step, item.perplexity) for item in evaluations), dots=True)],
        title="Held-out perplexity by checkpoint",
        description=f"From {first.perplexity:,.1f} at step {first.step:,} to {last.perplexity:,.1f} at {last.step:,}",
        x_label="step",
        y_label="held-out perplexity",
        logarithmic_y=True,
    )


def score_chart(task: str, metric: str, evaluations: Sequence[Evaluation]) -> Markup:
    """A metric of a task by checkpoint, with error bars of one standard error."""
    scores = [(item.step, score_of(item, task, metric)) for item in evaluations]
    known = [(step, score) for step, score in scores if score is not None]
    (first_step, first), (last_step, last) = known[0], known[-1]
    curve = Curve(
        f"{task} {metric}",
        "a",
        tuple((step, score.value) for step, score in known),
        dots=True,
        errors=tuple(score.standard_error or 0.0 for _, score in known),
    )
    return line_chart(
        [curve],
        title=f"{task}, {metric}, by checkpoint",
        description=f"From {first.value:.4g} at step {first_step:,} to {last.value:.4g} at {last_step:,}",
        x_label="step",
        y_label=f"{task} · {metric}",
    )


def score_of(evaluation: Evaluation, task: str, metric: str) -> Score | None:
    """The score of a checkpoint for this task and metric; None if it has none."""
    return next((score for score in evaluation.scores if (score.task, score.metric) == (task, metric)), None)


def held_out_losses(evaluations: Sequence[Evaluation]) -> tuple[tuple[float, float], ...]:
    """(step, ln perplexity) of every evaluated checkpoint, in nats per token."""
    return tuple((item.step, math.log(item.perplexity)) for item in evaluations)


def _bar(parts: Sequence[tuple[str, int, str]], widest: int) -> Markup:
    return bar(
        [Segment(shade, number / widest if widest else 0.0, f"{number:,} {name}") for shade, number, name in parts]
    )
