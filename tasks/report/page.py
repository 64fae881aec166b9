"""The report as one self-contained HTML page that loads nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import yaml

from tasks.forecast.record import Estimate
from tasks.report import charts
from tasks.report.data import ReportData, StageRecord, failure_place
from tasks.report.figures import STYLE
from tasks.report.training import Evaluation

FAILURES_SHOWN = 4
SKIPPED_SHOWN = 20
LANGUAGES_SHOWN = 20
PERPLEXITIES_DRAWN = 6


def write_report(data: ReportData, path: Path) -> None:
    """Write the page to `path`, creating its folder. The same data produce the same bytes.

    Other users cannot read it: it quotes crawled text.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    page = render_report(data)
    with open(path, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o640)) as file:
        file.write(page)


def render_report(data: ReportData) -> str:
    """Render the page. It escapes everything that comes from documents, and contains no script."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tasks.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "percent": percent,
        "size": size,
        "duration": duration,
        "about": about,
        "decimals": decimals,
        "score": score,
        "estimate": estimate,
        "words": lambda name: name.replace("_", " "),
        "day": lambda time: time.replace("T", " ")[:16],
    }
    sections = _sections(data)
    return environment.get_template("report.html.j2").render(
        data=data,
        charts=charts,
        duration=duration,
        size=size,
        count=lambda value: f"{value:,.0f}",
        measured=measured,
        sections=sections,
        place=failure_place,
        numbering={slug: position for position, (slug, _) in enumerate(sections, start=1)},
        chart_style=STYLE,
        recipe=yaml.safe_dump(data.recipe, sort_keys=False, allow_unicode=True),
        failures=_failures(data.stages),
        languages_shown=LANGUAGES_SHOWN,
        skipped_shown=SKIPPED_SHOWN,
        perplexities_drawn=PERPLEXITIES_DRAWN,
        metrics=_metrics(data.training.evaluations) if data.training else [],
        libraries=_libraries(data),
    )


def number(value: int) -> str:
    """Format as 1,234,567."""
    return f"{value:,}"


def decimals(value: float, places: int) -> str:
    """Format as 1,234.50."""
    return f"{value:,.{places}f}"


def percent(part: float, whole: float) -> str:
    """A share to a tenth of a percent; never 0 % or 100 % unless exactly so; a dash if `whole` is 0."""
    if not whole:
        return "–"
    share = f"{100 * part / whole:.1f} %"
    if share == "0.0 %" and part:
        return "< 0.1 %"
    return "> 99.9 %" if share == "100.0 %" and part != whole else share


def size(value: float) -> str:
    """Bytes in the largest unit (powers of 1,000) with a value of at least one."""
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= factor:
            return f"{value / factor:,.1f} {unit}"
    return f"{value:,.0f} B"


def score(value: float) -> str:
    """Four decimals for values below 10, one for larger ones such as perplexities."""
    return decimals(value, 4 if abs(value) < 10 else 1)


def estimate(value: Estimate, shown: Callable[[float], str]) -> str:
    """An expected value with its interval, each as `shown` writes it."""
    return f"{shown(value.value)} ({shown(value.low)} to {shown(value.high)})"


def measured(value: float | None, shown: Callable[[float], str]) -> str:
    """A value as `shown` writes it; a dash if it was not measured."""
    return "–" if value is None else shown(value)


def about(value: float) -> str:
    """An estimate with three significant digits: ≈ 2,530,000."""
    rounded = float(f"{value:.3g}")
    return f"≈ {rounded:,.0f}"


def duration(seconds: float) -> str:
    """Seconds in readable units: 4.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:,.1f} s"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {left} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def _sections(data: ReportData) -> list[tuple[str, str]]:
    """Slug and title of the non-empty sections."""
    training = data.training
    found: list[tuple[str, str, Any]] = [
        ("funnel", "Funnel", data.funnel),
        ("ledger", "Ledger", data.stages),
        ("languages", "Languages", [item for item in data.distributions.languages if item.label is not None]),
        ("perplexity", "Perplexity", data.distributions.perplexities),
        ("rules", "Rules", data.distributions.rules),
        ("near-duplicates", "Near-duplicates", data.near_duplicates),
        ("tokens", "Tokens and mixture", data.sources),
        ("training", "Training", training is not None and training.losses),
        ("scores", "Scores by checkpoint", training is not None and training.evaluations),
        ("cost", "Cost", data.stages),
        ("origin", "Recipe and versions", data.recipe),
    ]
    return [(slug, title) for slug, title, content in found if content]


def _failures(stages: tuple[StageRecord, ...]) -> list[tuple[StageRecord, str, int, list[dict[str, Any]]]]:
    """Stage, reason, count and the first examples of every kind of failure."""
    return [
        (stage, reason, count, [one for one in stage.account.failures if one["reason"] == reason][:FAILURES_SHOWN])
        for stage in stages
        for reason, count in sorted(stage.account.failed.items())
    ]


def _metrics(evaluations: tuple[Evaluation, ...]) -> list[tuple[str, str]]:
    """Task and metric of all scores, in evaluation order."""
    return list(dict.fromkeys((score.task, score.metric) for item in evaluations for score in item.scores))


def _libraries(data: ReportData) -> list[tuple[str, str, list[str]]]:
    """Library, version, and the stages whose results depend on it."""
    found: dict[tuple[str, str], list[str]] = {}
    for stage in data.stages:
        for library in stage.libraries:
            found.setdefault(library, []).append(stage.stage)
    if data.training is not None:
        if data.training.torch:
            found.setdefault(("torch", data.training.torch), []).append("training")
        for library in (library for item in data.training.evaluations for library in item.libraries):
            found.setdefault(library, []).append("evaluation")
    return [(name, version, sorted(set(users))) for (name, version), users in sorted(found.items())]
