"""The card of a corpus, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import yaml

from tasks.cards.facts import CorpusFacts, Left, Size, SourceFacts, StepFacts
from tasks.cards.markdown import escaped, table
from tasks.report.page import percent, size

LARGEST_DOMAINS = 50
_LANGUAGES = 30
_LICENCES = 30
CONDITIONS = ("when", "unless")
# Stages whose columns say what the holders of rights ask for.
RIGHTS_STAGES = ("rights", "robots", "tdmrep", "opt_outs")


def render_card(facts: CorpusFacts) -> str:
    """The card as Markdown. It names documents and does not quote them."""
    return "\n".join(_card(facts))


def filters_of(facts: CorpusFacts, stages: Sequence[str] = ()) -> list[tuple[str, str, str, str, int]]:
    """The rules of each source: source, column, bounds, reason, documents dropped. With `stages`, of these only."""
    names = {(step.source, step.name): step.stage for step in facts.steps}
    dropped = {(one.source, one.outcome): one.documents for one in facts.left}
    found = []
    for source in facts.sources:
        for rule in facts.build.recipe["sources"][source.name]["rules"]:
            step = rule["column"].partition(".")[0]
            stage = names.get((source.name, step)) or names.get(("across", step))
            if not stages or stage in stages:
                count = dropped.get((source.name, f"{step}:dropped:{rule['reason']}"), 0)
                found.append((source.name, rule["column"], _bounds(rule), rule["reason"], count))
    return found


def _card(facts: CorpusFacts) -> Iterator[str]:
    whole = facts.size
    yield f"# {escaped(facts.name)}\n"
    build, recipe = facts.build, escaped(facts.build.recipe["name"])
    yield (
        f"{whole.documents:,} documents, {size(whole.bytes)} of text, {whole.tokens:,} tokens with a vocabulary of "
        f"{facts.vocabulary:,}. Built on {build.created[:10]} from the recipe {recipe}; build {build.key[:12]}, tokens "
        f"{build.digest[:12]}.\n"
    )
    yield "Figures are counted from the artifacts named here; `millrace verify` compares these with their files.\n"
    yield from _sources(facts)
    yield from _sizes("Licences", "licence", facts.together("licences"), whole, _LICENCES, "not stated")
    yield from _sizes("Languages", "language", facts.together("languages"), whole, _LANGUAGES, "not identified")
    yield from _filters(facts)
    yield from _left(facts)
    yield from _rights(facts)
    yield from _contamination(facts)
    yield from _sizes("Domains by size", "domain", facts.together("domains"), whole, LARGEST_DOMAINS, "without a URL")
    yield "## Recipe\n"
    written = yaml.safe_dump(_without_places(build.recipe), sort_keys=False)
    fence = "`" * (1 + max(map(len, re.findall("`+", written)), default=2))
    yield f"Without the places of its files:\n\n{fence}yaml\n{written}{fence}\n"


def _without_places(value: Any) -> Any:
    """A recipe without the paths of its inputs, and with the names of other files: paths tell of a machine only."""
    if isinstance(value, Mapping):
        return {
            key: PurePath(one).name if key in ("file", "model") and isinstance(one, str) else _without_places(one)
            for key, one in value.items()
            if key != "inputs"
        }
    return [_without_places(one) for one in value] if isinstance(value, list | tuple) else value


def _sources(facts: CorpusFacts) -> Iterator[str]:
    yield "## Sources\n"
    yield table(
        [
            "source",
            "reader",
            "files",
            "records",
            "documents",
            "bytes",
            "tokens",
            "share of training",
            "held out",
            "dates",
        ],
        [_source_row(source) for source in facts.sources],
    )
    yield "Share: of the training tokens, by the recipe. Held out: tokens that training does not read.\n"
    yield _from(
        facts, [f"{source.name}/{kind}" for source in facts.sources for kind in ("documents", "corpus", "encode")]
    )


def _source_row(source: SourceFacts) -> list[object]:
    dates = f"{source.first_date} to {source.last_date}" if source.first_date else "none"
    if source.undated and source.first_date:
        dates += f"; {source.undated:,} without"
    return [
        *(source.name, source.reader, source.files, source.read, source.size.documents, source.size.bytes),
        *(source.size.tokens, None if source.share is None else f"{source.share:.2%}", source.held_out, dates),
    ]


def _sizes(
    title: str, column: str, sizes: Mapping[str | None, Size], whole: Size, most: int, nothing: str
) -> Iterator[str]:
    yield f"## {title}\n"
    rows = [
        [nothing if name is None else name, one.documents, one.bytes, one.tokens, percent(one.bytes, whole.bytes)]
        for name, one in list(sizes.items())[:most]
    ]
    yield table([column, "documents", "bytes", "tokens", "of all bytes"], rows)
    if len(sizes) > most:
        yield f"The largest {most} of {len(sizes):,}.\n"


def _filters(facts: CorpusFacts) -> Iterator[str]:
    yield "## Steps and filters\n"
    yield table(
        ["source", "step", "stage", "config", "model", "artifact"],
        [
            [
                step.source,
                step.name,
                f"{step.stage} {step.version}",
                _config(step),
                ", ".join(step.models),
                step.key[:12],
            ]
            for step in facts.steps
        ],
    )
    rules = filters_of(facts)
    if rules:
        yield "A document is dropped by the first rule that it fails:\n"
        yield table(["source", "column", "stays", "reason", "dropped"], rules)


def _config(step: StepFacts) -> str:
    given = ((name, value) for name, value in step.config.items() if value is not None)
    return ", ".join(
        f"{name} {value if str(value).strip() == str(value) != '' else repr(value)}" for name, value in given
    )


def _bounds(rule: Mapping[str, Any]) -> str:
    words = {"at_least": "at least", "at_most": "at most"}
    given = [f"{words[name]} {rule[name]}" for name in words if rule.get(name) is not None]
    given += [f"one of {', '.join(map(str, rule['one_of']))}"] if rule.get("one_of") else []
    conditions = [f"{name} {rule[name]['column']} is {_bounds(rule[name])}" for name in CONDITIONS if rule.get(name)]
    return "; ".join([", ".join(given), *conditions])


def _left(facts: CorpusFacts) -> Iterator[str]:
    yield "## What was left out\n"
    unread = [[source, reason, count] for source, reasons in facts.unread.items() for reason, count in reasons.items()]
    if unread:
        yield "Records that became no document:\n"
        yield table(["source", "reason", "records"], unread)
    if facts.left:
        yield "Documents, with examples and the values that decided:\n"
        yield table(
            ["source", "reason", "documents", "bytes", "examples"],
            [[one.source, reason_of(one), one.documents, one.bytes, _examples(one)] for one in facts.left],
        )
    else:
        yield "No document was left out.\n"
    yield _from(facts, ["outcomes", *(f"{source.name}/rules" for source in facts.sources)])


def reason_of(left: Left) -> str:
    """The reason of an outcome, with the step: ``word_count (heuristics)``."""
    step, _, rest = left.outcome.partition(":")
    return f"{rest.partition(':')[2]} ({step})"


def _examples(left: Left) -> str:
    shown = []
    for example in left.examples:
        values = ", ".join(f"{column.partition('.')[2]} {value}" for column, value in example.values.items())
        shown.append(f"{example.url or example.id}" + (f" ({values})" if values else ""))
    return "; ".join(shown)


def _rights(facts: CorpusFacts) -> Iterator[str]:
    yield "## Opt-outs honoured\n"
    rules = filters_of(facts, RIGHTS_STAGES)
    steps = [step for step in facts.steps if step.stage in RIGHTS_STAGES]
    if rules:
        yield table(["source", "column", "stays", "reason", "dropped"], rules)
    elif steps:
        yield (
            f"The columns of {', '.join(sorted({step.stage for step in steps}))} are in the lake, but no rule of the "
            "recipe drops a document for them.\n"
        )
    else:
        yield "The recipe reads neither statements of rights nor lists of opt-outs.\n"


def _contamination(facts: CorpusFacts) -> Iterator[str]:
    steps = [step for step in facts.steps if step.stage == "contamination"]
    yield "## Evaluation sets\n"
    if not steps:
        yield "The recipe does not look for items of evaluation sets.\n"
        return
    for step in steps:
        rules = [rule for rule in filters_of(facts, ["contamination"]) if step.source in (rule[0], "across")]
        done = "shared words are struck" if step.config.get("cut") else "nothing is struck"
        dropped = sum(rule[-1] for rule in rules)
        sets = escaped(", ".join(step.models))
        yield (
            f"{escaped(step.source)}: items of {sets} are looked for by runs of {step.config['n']} words; {done}, and "
            f"{dropped:,} documents are dropped.\n"
        )


def _from(facts: CorpusFacts, names: Sequence[str]) -> str:
    found = [
        f"{escaped(name)} {facts.artifacts[name].partition('/')[2][:12]}" for name in names if name in facts.artifacts
    ]
    return f"From the artifacts {', '.join(found)}.\n"
