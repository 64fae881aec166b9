"""Publishes the report as Prefect artifacts of a flow run: tables and pictures, with a link to the whole page."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from infra.store.lake import Lake
from tasks.builds import BuildRecord
from tasks.report.charts import loss_chart
from tasks.report.data import ReportData, failure_place
from tasks.report.figures import standalone

FailureRow = dict[str, Any]


def publish_report(data: ReportData, location: str) -> None:
    """Create the artifacts of the current flow run; `location` is the path or URI of the page.

    Their keys are ``RECIPE-report``, ``RECIPE-funnel``, ``RECIPE-reasons`` and, with a training run, ``RECIPE-scores``
    and ``RECIPE-loss``. They are the same for every run of a recipe, so the dashboard shows the history of each.
    """
    name = data.recipe["name"].replace("_", "-")
    create_markdown_artifact(key=f"{name}-report", markdown=summary(data, location), description="Report of the run")
    create_table_artifact(key=f"{name}-funnel", table=funnel_rows(data), description="Documents and text by step")
    create_table_artifact(key=f"{name}-reasons", table=reason_rows(data), description="Removed documents by reason")
    training = data.training
    if training is not None and training.evaluations:
        create_table_artifact(key=f"{name}-scores", table=score_rows(data), description="Scores by checkpoint")
    if training is not None and training.losses:
        picture = base64.b64encode(standalone(loss_chart(training)).encode()).decode()
        # An image artifact prints its whole URL below the picture; Markdown shows only the picture.
        create_markdown_artifact(
            key=f"{name}-loss",
            markdown=f"![Loss by step](data:image/svg+xml;base64,{picture})",
            description=f"Loss by step of the run {training.label or training.key[:12]}",
        )


def publish_ledger(build: BuildRecord, corpus: str, failures: Sequence[FailureRow]) -> None:
    """Create artifacts of the current flow run: a build's funnel, its key numbers, and where records failed.

    `corpus` is the build's name.
    """
    name = build.recipe["name"].replace("_", "-")
    rows = [
        {
            "stage": entry["stage"],
            "in": entry["documents_in"],
            "kept": entry["documents_kept"],
            "dropped": ", ".join(f"{reason} {count:,}" for reason, count in entry["dropped"].items()),
            "failed": ", ".join(f"{reason} {count:,}" for reason, count in entry["failed"].items()),
            "bytes in": entry["bytes_in"],
        }
        for entry in build.ledger
    ]
    create_table_artifact(key=f"{name}-ledger", table=rows, description=f"Ledger of the build {build.key[:12]}")
    markdown = f"**{build.documents:,}** documents, **{build.tokens:,}** tokens. Build `{build.key}`."
    create_markdown_artifact(key=f"{name}-build", markdown=markdown, description=corpus)
    if failures:
        create_table_artifact(key=f"{name}-failures", table=[*failures], description="Where records failed")


def failure_counts(lake: Lake, build: BuildRecord) -> Counter[str]:
    """The failed records of all artifacts of a build, by reason."""
    counts = Counter[str]()
    for name in build.artifacts:
        counts.update(build.manifest(lake, name).account.failed)
    return counts


def failure_rows(lake: Lake, build: BuildRecord) -> list[FailureRow]:
    """Where records and files of a build failed. Each artifact keeps its first failures (`infra.store.ledger`)."""
    return [
        {
            "artifact": name,
            "where": failure_place(failure),
            "reason": failure["reason"],
            "example": failure.get("example", ""),
        }
        for name in build.artifacts
        for failure in build.manifest(lake, name).account.failures
    ]


def summary(data: ReportData, location: str) -> str:
    """The key numbers in Markdown, with a link to the page at `location`."""
    is_file = "://" not in location
    link = Path(location).absolute().as_uri() if is_file else location
    hint = " Browsers do not follow links from a server to a file: copy the address." if is_file else ""
    lines = [
        f"# {data.recipe['name']}",
        "",
        f"**[Open the report](<{link}>)**: `{link}`.{hint}",
        "",
        "| quantity | value |",
        "|---|---:|",
        f"| records read | {data.funnel[0].documents_in:,} |",
        f"| documents in the corpus | {data.documents:,} |",
        f"| bytes of text | {data.text_bytes:,} |",
        f"| tokens | {data.tokens:,} |",
    ]
    training = data.training
    if training is not None and training.losses:
        lines.append(f"| steps trained | {training.steps[-1].step:,} of {training.steps_planned:,} |")
        lines.append(f"| loss, first to last step | {training.losses[0][1]:.3f} → {training.losses[-1][1]:.3f} |")
    if training is not None and training.evaluations:
        first, last = training.evaluations[0], training.evaluations[-1]
        lines.append(f"| held-out perplexity | {first.perplexity:,.1f} → {last.perplexity:,.1f} |")
    lines += ["", f"Build `{data.key}`, digest `{data.digest}`"]
    return "\n".join(lines)


def funnel_rows(data: ReportData) -> list[dict[str, Any]]:
    """One row per ledger entry."""
    return [
        {
            "step": step.stage,
            "documents in": step.documents_in,
            "documents kept": step.documents_kept,
            "dropped": sum(reason.documents for reason in step.reasons if not reason.failed),
            "failed": sum(reason.documents for reason in step.reasons if reason.failed),
            "bytes in": step.bytes_in,
            "bytes kept": step.bytes_kept,
        }
        for step in data.funnel
    ]


def reason_rows(data: ReportData) -> list[dict[str, Any]]:
    """One row per reason of every entry."""
    return [
        {
            "step": step.stage,
            "reason": reason.name,
            "fate": "failed" if reason.failed else "dropped",
            "documents": reason.documents,
            "bytes": reason.bytes,
        }
        for step in data.funnel
        for reason in step.reasons
    ]


def score_rows(data: ReportData) -> list[dict[str, Any]]:
    """One row per checkpoint."""
    evaluations = data.training.evaluations if data.training is not None else ()
    return [
        {
            "step": evaluation.step,
            "held-out perplexity": evaluation.perplexity,
            **{f"{score.task} {score.metric}": score.value for score in evaluation.scores},
        }
        for evaluation in evaluations
    ]
