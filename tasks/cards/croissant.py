"""The card of a corpus as Croissant metadata, version 1.0 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html)."""

from __future__ import annotations

from typing import Any

from infra.store.manifest import Manifest
from tasks.cards.facts import CorpusFacts
from tasks.corpus.selection import CORPUS_SCHEMA

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
NO_LICENCE = "https://choosealicense.com/no-permission/"
# The context of the specification. Readers compare it as a whole.
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "@base": "cr_base_iri/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    **{name: {"@id": f"cr:{name}", "@type": "@json"} for name in ("data", "examples")},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{
        name: f"cr:{name}"
        for name in (
            *("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet"),
            *("format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
            *("references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField"),
            "transform",
        )
    },
}
_MEANINGS = {
    "id": "Identity of the document: source, dump and record",
    "text": "The text after all edits",
    "url": "Where the text was published",
    "date": "When it was captured or published",
    "source": "Source of the recipe",
    "licence": "Licence of the document, where one is stated",
    "metadata": "What the reader found beside the text, as JSON",
    "cluster": "Name of the cluster of near-duplicates",
}


def to_croissant(facts: CorpusFacts) -> dict[str, Any]:
    """Croissant metadata: the Parquet files of a corpus, by their paths in the lake, and a record set a source."""
    # Documents that state none are under none.
    licences = [NO_LICENCE if licence is None else licence for licence in facts.together("licences")]
    whole = facts.size
    files = [
        _file(name, number, manifest)
        for name, manifest in facts.corpora.items()
        for number in range(len(manifest.parts))
    ]
    sets = [_set(name, manifest) for name, manifest in facts.corpora.items() if manifest.parts]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": facts.name.replace("/", "-"),
        "description": (
            f"{whole.documents:,} documents of {', '.join(facts.corpora)}: {whole.bytes:,} bytes of text, "
            f"{whole.tokens:,} tokens. Build {facts.build.key} of the recipe {facts.build.recipe['name']}."
        ),
        "license": licences or [NO_LICENCE],
        "url": f"urn:millrace:build:{facts.build.key}",  # where it is published, the card cannot know
        "version": f"1.0.0+{facts.build.digest[:12]}",
        "datePublished": facts.build.created[:10],
        "citeAs": f"Millrace build {facts.build.key}",
        "inLanguage": [language for language in facts.together("languages") if language is not None],
        "distribution": [*files, *sets],
        "recordSet": [_records(name) for name, manifest in facts.corpora.items() if manifest.parts],
    }


def _file(source: str, number: int, manifest: Manifest) -> dict[str, Any]:
    part = manifest.parts[number]
    return {
        "@type": "cr:FileObject",
        "@id": f"{source}/{number:05}",
        "name": f"{source}-{number:05}.parquet",
        "contentUrl": part.path,
        "contentSize": f"{part.bytes} B",
        "encodingFormat": "application/x-parquet",
        "sha256": part.sha256,
    }


def _set(source: str, manifest: Manifest) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{source}/files",
        "name": f"{source}-files",
        "encodingFormat": "application/x-parquet",
        "includes": [part.path for part in manifest.parts],
    }


def _records(source: str) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": source,
        "name": source,
        "description": f"The documents of {source}",
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{source}/{name}",
                "name": name,
                "description": _MEANINGS[name],
                "dataType": "sc:Text",
                "source": {"fileSet": {"@id": f"{source}/files"}, "extract": {"column": name}},
            }
            for name in CORPUS_SCHEMA.names
        ],
    }
