"""The public summary of training content that Regulation (EU) 2024/1689 asks for in Article 53(1)(d).

After the Commission's template (C(2025) 8311), section by section. Every figure is counted from artifacts and names
them; what a provider has to state comes from a file of statements, and is named as missing otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.cards.exposure import Exposure
from tasks.cards.facts import CorpusFacts, Size
from tasks.cards.markdown import escaped, table
from tasks.cards.statements import Statements
from tasks.cards.template import Field, TrainedSource, fields_of, kind_of

# Of the template: the largest tenth of the domains is listed, by a small provider the largest twentieth, or 1,000 where
# that is less.
_DOMAINS, _DOMAINS_OF_SMALL, _MOST_OF_SMALL = 0.10, 0.05, 1000
_LISTED = 1000


@dataclass(frozen=True)
class Disclosure:
    """The summary: its fields in order, sizes of sources, and the domains that it lists, by bytes."""

    title: str
    fields: tuple[Field, ...]
    sources: tuple[TrainedSource, ...]
    domains: Mapping[str, Size]
    all_domains: int
    basis: str
    artifacts: Mapping[str, str]

    @property
    def missing(self) -> list[Field]:
        """The fields without a value."""
        return [field for field in self.fields if field.value is None]


def disclose(facts: CorpusFacts, exposure: Exposure | None, stated: Statements) -> Disclosure:
    """The summary for a corpus, or for a run on it with its passes over each source.

    Raises UnknownSource for statements about a source that the corpus does not have.
    """
    if unknown := set(stated.sources) - {source.name for source in facts.sources}:
        known = ", ".join(source.name for source in facts.sources)
        raise UnknownSource(f"the statements are about a source {min(unknown)}; the corpus has {known}")
    trained = exposure.sources if exposure is not None else {source.name: source.size for source in facts.sources}
    found = exposure.domains if exposure is not None else facts.together("domains")
    named = {name: size for name, size in found.items() if name is not None}
    share = _DOMAINS_OF_SMALL if stated.provider.small else _DOMAINS
    count = math.ceil(share * len(named))
    count = min(count, _MOST_OF_SMALL) if stated.provider.small else count
    sources = tuple(
        TrainedSource(name, kind_of(name, facts, stated), size, None if exposure is None else exposure.passes[name])
        for name, size in trained.items()
    )
    return Disclosure(
        f"Public summary of training content: {facts.name}",
        tuple(fields_of(facts, exposure, stated, sources)),
        sources,
        dict(list(named.items())[:count]),
        len(named),
        _basis(facts, exposure),
        facts.artifacts,
    )


def _basis(facts: CorpusFacts, exposure: Exposure | None) -> str:
    if exposure is None:
        held_out = sum(source.held_out for source in facts.sources)
        words = f", of whose tokens training does not read the {held_out:,} that are held out" if held_out else ""
        return f"one pass over the corpus, build {facts.build.key[:12]}{words}"
    left_out = f", without {exposure.left_out:,} whose update was left out," if exposure.left_out else ""
    return f"the run {exposure.run[:12]}: {exposure.steps:,} steps{left_out} over the tokens {exposure.tokens.key[:12]}"


class UnknownSource(ValueError):
    """Statements about a source that is not there."""


def render_disclosure(found: Disclosure) -> str:
    """The summary as Markdown; at most 1,000 domains are listed in it."""
    lines = [f"# {escaped(found.title)}\n", f"Sizes are those of {escaped(found.basis)}.\n"]
    section = ""
    for field in found.fields:
        if field.section != section:
            section = field.section
            lines.append(f"## {section}\n")
        if field.value is None:
            lines.append(f"**{field.title}**: **missing**: {escaped(field.origin)}\n")
        else:
            lines.append(f"**{field.title}**: {escaped(field.value)}  \n*{escaped(field.origin)}*\n")
    lines.append("## Sizes by source\n")
    rows = [
        [
            *(one.name, one.kind or "not stated", one.size.documents, one.size.bytes, one.size.tokens),
            None if one.passes is None else f"{one.passes:.2f}",
        ]
        for one in found.sources
    ]
    lines.append(table(["source", "kind", "documents", "bytes", "tokens", "passes"], rows))
    lines.append("## The largest domains by size of the content trained on\n")
    listed = list(found.domains.items())
    rows = [[name, size.documents, size.bytes, size.tokens] for name, size in listed[:_LISTED]]
    lines.append(table(["domain", "documents", "bytes", "tokens"], rows))
    more = f" The first {_LISTED:,} are here; domains.csv has all of them." if len(listed) > _LISTED else ""
    lines.append(f"{len(listed):,} of {found.all_domains:,} domains.{more}\n")
    lines.append("## Artifacts\n")
    lines.append("Sizes and domains are counted from the documents, rules, outcomes and tokens of each source.\n")
    lines.append(
        table(
            ["artifact", "manifest in the lake"],
            [[name, f"artifacts/{key}.json"] for name, key in found.artifacts.items()],
        )
    )
    missing = found.missing
    lines.append("## What is missing\n")
    lines.append(
        "Nothing: every field has a value.\n"
        if not missing
        else "".join(f"- {field.section}: {field.title}: {escaped(field.origin)}\n" for field in missing)
    )
    return "\n".join(lines)
