"""The fields of the Commission's template for the public summary of training content, C(2025) 8311."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.cards.card import RIGHTS_STAGES, filters_of
from tasks.cards.exposure import Exposure
from tasks.cards.facts import CorpusFacts, Size, SourceFacts
from tasks.cards.statements import Kind, SourceStatement, Statements

_STATED = "stated by the provider"
# What the readers of published data sets and of crawls read; a provider may state otherwise.
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("web_archive", "wet"), "crawled"),
    **dict.fromkeys(("wikipedia", "stack_exchange", "reddit", "arxiv", "github", "books"), "public"),
}
_LARGE = 0.03  # of all public data sets: from there on, one is listed by name
_BILLION, _TEN_TRILLION = 10**9, 10**13
_LANGUAGES = 20


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the template: its value and where that is from; without a value, how it can be supplied."""

    section: str
    title: str
    value: str | None
    origin: str


@dataclass(frozen=True, slots=True)
class TrainedSource:
    """A source, or a part of one, as far as it was trained on; without a run, all of it, and no passes."""

    name: str
    kind: Kind | None
    size: Size
    passes: float | None


def fields_of(
    facts: CorpusFacts,
    exposure: Exposure | None,
    stated: Statements,
    sources: Sequence[TrainedSource],
) -> Iterator[Field]:
    """The fields in the order of the template, for a corpus, or for a run on it with its `exposure`."""
    yield from _general(facts, exposure, stated, sources)
    yield from _data(facts, stated, sources)
    yield from _processing(facts, stated)


def kind_of(name: str, facts: CorpusFacts, stated: Statements) -> Kind | None:
    """The kind of a source, or of a part of one: as stated, or what its reader reads; None where neither says it."""
    about = _statement(name, stated)
    if about is not None and about.kind is not None:
        return about.kind
    return _KINDS.get(_source(name, facts).reader)


def _general(
    facts: CorpusFacts,
    exposure: Exposure | None,
    stated: Statements,
    sources: Sequence[TrainedSource],
) -> Iterator[Field]:
    provider, model = stated.provider, stated.model
    section = "1.1 Provider"
    yield _stated(section, "Name", provider.name, "provider.name")
    yield _stated(section, "Contact", provider.contact, "provider.contact")
    yield _stated(section, "Authorised representative", provider.representative, "provider.representative")
    section = "1.2 Model"
    yield _stated(section, "Versioned names", ", ".join(model.names) or None, "model.names")
    yield _stated(section, "Model dependencies", model.dependencies, "model.dependencies")
    yield _stated(section, "Date of placement on the Union market", model.placed, "model.placed")
    section = "1.3 Modalities and size"
    tokens = sum(one.size.tokens for one in sources)
    origin = f"artifact {_short(facts, 'tokens')}"
    origin += f", losses of the run {exposure.run[:12]}" if exposure is not None else ""
    yield Field(section, "Modality", "text", "every source is text")
    yield Field(section, "Training data size", f"{_range(tokens)}: {tokens:,} tokens", origin)
    if exposure is not None and exposure.unknown is not None:
        yield Field(section, "Earlier training of the run", None, f"it cannot be counted: {exposure.unknown}")
    contents = [f"{name}: {one.content}" for name, one in stated.sources.items() if one.content]
    lacking = [one.name for one in sources if not _about(one.name, stated, "content")]
    if contents:
        yield Field(section, "Types of content", "; ".join(contents), _STATED)
    yield from _lacking(
        section, "Types of content of other sources" if contents else "Types of content", "content", lacking
    )
    last = max((source.last_date for source in facts.sources if source.last_date), default=None)
    yield Field(
        section,
        "Latest date of acquisition",
        last,
        f"dates of the documents, {_artifacts(facts.sources, 'corpus')}" if last else "no document has a date",
    )
    continues = None if model.continues is None else ("yes" if model.continues else "no")
    yield _stated(section, "Trained on newer data after placement", continues, "model.continues")
    languages = facts.together("languages")
    total = facts.size.bytes or 1
    listed = [*languages.items()][:_LANGUAGES]
    words = ", ".join(f"{name or 'not identified'} {size.bytes / total:.1%}" for name, size in listed)
    more = f", and {len(languages) - _LANGUAGES} more" if len(languages) > _LANGUAGES else ""
    steps = ", ".join(f"{step.source}/{step.name}" for step in facts.steps if step.stage == "language")
    known = languages.keys() - {None}
    yield Field(
        section,
        "Linguistic characteristics",
        f"{words}{more} (of the bytes of the corpus)" if known else None,
        f"artifacts {steps}, {_artifacts(facts.sources, 'rules')}"
        if known
        else "no document has a language: add a language step",
    )


def _data(facts: CorpusFacts, stated: Statements, sources: Sequence[TrainedSource]) -> Iterator[Field]:
    unstated = [one.name for one in sources if one.kind is None]
    if unstated:
        yield Field(
            "2 Data sources",
            "Kind of each source",
            None,
            f"state sources.{unstated[0]}.kind, and so on: {', '.join(unstated)}",
        )
    yield from _public("2.1 Publicly available datasets", facts, stated, sources)
    for section, kind in (
        ("2.2.1 Commercially licensed datasets", "licensed"),
        ("2.2.2 Other private datasets", "private"),
    ):
        yield _listed(section, kind, facts, stated, sources, unstated)
    section = "2.3 Data crawled and scraped"
    crawled = [source for source in facts.sources if kind_of(source.name, facts, stated) == "crawled"]
    crawlers = stated.crawlers
    yield _listed(section, "crawled", facts, stated, sources, unstated)
    if crawled:
        whose = None if crawlers.by_provider is None else ("the provider" if crawlers.by_provider else "others")
        yield _stated(section, "Crawled by", whose, "crawlers.by_provider")
        yield _stated(section, "Crawlers", ", ".join(crawlers.names) or None, "crawlers.names")
        yield _stated(section, "Purposes", crawlers.purposes, "crawlers.purposes")
        yield _stated(section, "Behaviour", crawlers.behaviour, "crawlers.behaviour")
        dated = [source for source in crawled if source.first_date]
        period = "; ".join(f"{source.name}: {source.first_date} to {source.last_date}" for source in dated)
        yield Field(
            section,
            "Period of collection",
            period or None,
            f"dates of the documents, {_artifacts(dated, 'corpus')}" if dated else "no document has a date",
        )
        yield Field(
            section,
            "Most relevant domains",
            "the list below",
            f"URLs of the documents, {_artifacts(crawled, 'corpus')}",
        )
    yield _stated("2.4 User data", "Use", stated.user_data, "user_data")
    yield _stated("2.5 Synthetic data", "Use", stated.synthetic_data, "synthetic_data")
    yield _stated("2.6 Other sources", "Description", stated.other_data, "other_data")


def _public(
    section: str,
    facts: CorpusFacts,
    stated: Statements,
    sources: Sequence[TrainedSource],
) -> Iterator[Field]:
    public = [(one.name, one.size) for one in sources if one.kind == "public"]
    total = sum(size.bytes for _, size in public)
    if not public:
        yield Field(section, "Used", "no", "no source is of this kind")
        return
    large = [name for name, size in public if size.bytes >= _LARGE * total]
    lacking = [name for name in large if not (_about(name, stated, "title") and _about(name, stated, "link"))]
    words = "; ".join(_words(name, facts, stated) for name in large)
    yield Field(section, "Large datasets", words, _counted(large, facts))
    yield from _lacking(section, "Titles and links of large datasets", "title and link", lacking)
    small = [name for name, _ in public if name not in large]
    yield Field(section, "Other datasets", ", ".join(small) or "none", "sources of the recipe")


def _listed(
    section: str,
    kind: str,
    facts: CorpusFacts,
    stated: Statements,
    sources: Sequence[TrainedSource],
    unstated: Sequence[str],
) -> Field:
    own = [one.name for one in sources if one.kind == kind]
    if not own:
        doubt = f"; the kind of {', '.join(unstated)} is not stated" if unstated else ""
        return Field(section, "Used", "no", f"no source is of this kind{doubt}")
    return Field(section, "Used", "; ".join(_words(name, facts, stated) for name in own), _counted(own, facts))


def _processing(facts: CorpusFacts, stated: Statements) -> Iterator[Field]:
    section = "3.1 Reservations of rights"
    signatory = stated.provider.signatory
    yield _stated(
        section,
        "Signatory of the Code of Practice",
        None if signatory is None else ("yes" if signatory else "no"),
        "provider.signatory",
    )
    rules = filters_of(facts, RIGHTS_STAGES)
    measures = [f"{source}: {reason}, {count:,} documents dropped" for source, _, _, reason, count in rules]
    if stated.reservations:
        measures.append(stated.reservations)
    origin = f"rules of the recipe, counted in the artifact {_short(facts, 'outcomes')}" + (
        f"; {_STATED}" if stated.reservations else ""
    )
    lacking = "the recipe has no rule on rights: add one, or state reservations"
    yield Field(section, "Measures", "; ".join(measures) or None, origin if measures else lacking)
    yield _stated("3.2 Illegal content", "Measures", stated.illegal_content, "illegal_content")
    counted: dict[str, int] = {}
    for one in facts.left:
        reason = one.outcome.rpartition(":")[2]
        counted[reason] = counted.get(reason, 0) + one.documents
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(counted.items(), key=lambda item: -item[1]))
    words = f"documents left out by reason: {reasons}" if reasons else "no document was left out"
    yield Field("3.3 Other processing", "Filters", words, f"artifact {_short(facts, 'outcomes')}")
    if stated.further:
        yield Field("3.3 Other processing", "Further", stated.further, _STATED)


def _source(name: str, facts: CorpusFacts) -> SourceFacts:
    """The source of that name, or the source of a part ``SOURCE.PART``."""
    return next(one for one in facts.sources if name == one.name or name.partition(".")[0] == one.name)


def _statement(name: str, stated: Statements) -> SourceStatement | None:
    return stated.sources.get(name.partition(".")[0])


def _about(name: str, stated: Statements, field: str) -> str | None:
    about = _statement(name, stated)
    found: str | None = None if about is None else getattr(about, field)
    return found


def _words(name: str, facts: CorpusFacts, stated: Statements) -> str:
    source = _source(name, facts)
    title, link = _about(name, stated, "title"), _about(name, stated, "link")
    return f"{title or name}{f', {link}' if link else ''} ({source.files:,} files, {source.read:,} records read)"


def _short(facts: CorpusFacts, artifact: str) -> str:
    return f"{artifact} {facts.artifacts[artifact].partition('/')[2][:12]}"


def _artifacts(sources: Sequence[SourceFacts], kind: str) -> str:
    return f"artifacts {', '.join(f'{source.name}/{kind}' for source in sources)}"


def _counted(names: Sequence[str], facts: CorpusFacts) -> str:
    sources = {source.name: source for source in (_source(name, facts) for name in names)}
    return f"sources of the recipe, and statements; counted in the {_artifacts([*sources.values()], 'documents')}"


def _lacking(section: str, title: str, what: str, names: Sequence[str]) -> Iterator[Field]:
    if names:
        yield Field(section, title, None, f"state {what} of {', '.join(names)}")


def _stated(section: str, title: str, value: str | None, key: str) -> Field:
    return Field(section, title, value, _STATED if value is not None else f"state {key}")


def _range(tokens: int) -> str:
    if tokens < _BILLION:
        return "less than 1 billion tokens"
    return "1 billion to 10 trillion tokens" if tokens <= _TEN_TRILLION else "more than 10 trillion tokens"
