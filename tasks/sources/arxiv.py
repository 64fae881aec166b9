"""The source of arXiv's papers: archives of papers, each a gzip of one file or of a tar, and LaTeX files.

As LLaMA's data was made (Touvron et al. 2023, section 2.1, after Lewkowycz et al. 2022): what stands before the first
section goes, and so do the bibliography and comments; macros of the author are expanded.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import BinaryIO, Literal

import pydantic

from infra.outcomes import Document, Dropped, Failed, Kept, Outcome, Record
from infra.stage import StageConfig, StageKind, stage
from tasks.sources.charset import decode_page
from tasks.sources.containers.faults import ContainedFile, Limits
from tasks.sources.containers.files import read_files
from tasks.sources.containers.identity import identity
from tasks.sources.extraction import storable
from tasks.sources.latex.comments import remove_comments
from tasks.sources.latex.expansion import EndlessMacro
from tasks.sources.latex.inputs import TooLong
from tasks.sources.latex.paper import TEX, main_files, paper_text

_MOST_REPLACED = 0.1
_SUPPORT = (".sty", ".bbl", ".txt", ".inc", ".tikz", ".pgf", ".def", ".cfg", ".clo", ".cls", ".bst", ".bib")
_READ = (*TEX, ".sty", ".bbl", ".inc", ".def")
_ARCHIVE = re.compile(rb"\x1f\x8b\x08|BZh[1-9]1AY&SY|\xfd7zXZ\0|\x28\xb5\x2f\xfd|PK\x03\x04|.{257}ustar", re.DOTALL)
_FORMATS = {b"%PDF": "pdf", b"%!PS": "postscript", b"<!DO": "html", b"<!do": "html", b"<htm": "html", b"<HTM": "html"}
_LATEX = re.compile(rb"\\(?:document(?:class|style)|begin|section|chapter|input|def|newcommand|magnification|bye)\b")
_NEW_ID = re.compile(r"(\d{2})(0[1-9]|1[0-2])\.\d{4,5}(?:v\d+)?")
_OLD_ID = re.compile(r"([a-z]+(?:-[a-z]+)?(?:\.[A-Z]{2})?)[/_]?((\d{2})(0[1-9]|1[0-2])\d{3}(?:v\d+)?)")
_SUFFIXES = re.compile(r"(?:\.(?:tar|tgz|gz|tex|zip|bz2|xz|zst))+\Z")
_ENCODING = re.compile(rb"\\(?:usepackage|inputencoding)(?:\[([A-Za-z0-9, ]{1,60})\])?\{(inputenc|[a-z0-9]{4,12})\}")
# Names of the package inputenc, and the labels that browsers have for them.
_LABELS = {
    **{"latin1": "iso-8859-1", "latin2": "iso-8859-2", "latin3": "iso-8859-3", "latin4": "iso-8859-4"},
    **{"latin5": "iso-8859-9", "latin9": "iso-8859-15", "latin10": "iso-8859-16", "ansinew": "windows-1252"},
    **{"cp1250": "windows-1250", "cp1251": "windows-1251", "cp1252": "windows-1252", "cp1257": "windows-1257"},
    **{"koi8-r": "koi8-r", "koi8-ru": "koi8-u", "cp866": "ibm866", "utf8": "utf-8", "utf8x": "utf-8"},
    **{"applemac": "macintosh"},
}
# Of loose files that may belong together, this many bytes are held.
_HELD = 64 << 20
_LONGEST_LIST = 1000  # characters of the names of documents that a paper brings along


class ArxivConfig(StageConfig):
    """`licence` is that of all documents: the sources of papers do not state theirs.

    `without_sections`: a paper without any sectioning command is dropped, or kept from the beginning of its document.
    A paper is at most `max_paper_bytes` long, stored, and unpacked, and with its inputs in place.
    """

    source: str = pydantic.Field("arxiv", min_length=1, pattern=r"^[^\s/]+$")
    licence: str | None = None
    min_characters: int = pydantic.Field(1, ge=1)
    without_sections: Literal["drop", "keep"] = "drop"
    max_paper_bytes: int = pydantic.Field(16 << 20, ge=1 << 10)


@stage("arxiv", version=1, kind=StageKind.source, config=ArxivConfig, libraries=["FastWARC", "isal", "Resiliparse"])
def read_arxiv(stream: BinaryIO, name: str, config: ArxivConfig) -> Iterator[Record | Outcome]:
    r"""Yield every paper, to be read for its outcome, and an outcome for everything else in an archive.

    A compressed file in an archive is a paper. Files that lie open in it belong together by their first folder, and
    each that makes a document is a paper. Bytes count members of the archive.
    """
    loose: dict[str, ContainedFile] = {}
    held = 0
    for found in read_files(stream, name, Limits(4 * config.max_paper_bytes), _unwanted):
        if not isinstance(found, ContainedFile):
            yield found
            continue
        kind = _FORMATS.get(found.data[:4])
        where = found.where(name)
        if kind is not None:
            yield Dropped(kind, len(found.data), where)
        elif found.path is not None and _ARCHIVE.match(found.data[:512]):
            yield Record(found.data, found.offset, partial(_packed, found, where, config))
        elif not _is_latex(found):
            yield Dropped("not_latex", len(found.data), where)
        else:
            loose[_as_tex(found.path or "paper")] = found
            held += len(found.data)
            if held > _HELD:
                yield from _loose(loose, name, config)
                loose, held = {}, 0
    yield from _loose(loose, name, config)


def _unwanted(path: str) -> str | None:
    return "pdf" if path.lower().endswith(".pdf") else None


def _is_latex(found: ContainedFile) -> bool:
    path = (found.path or "").lower()
    return path.endswith(_READ) or (not path.endswith(_SUPPORT) and _looks_like_latex(found.data))


def _looks_like_latex(data: bytes) -> bool:
    # UTF-16 has a NUL beside each of these characters.
    return _LATEX.search(data[: 1 << 16].replace(b"\0", b"")) is not None


def _loose(loose: Mapping[str, ContainedFile], name: str, config: ArxivConfig) -> Iterator[Record | Outcome]:
    """The papers among files that lie open: one folder is one paper, if none lies outside the folders."""
    every = _texts({path: file.data for path, file in loose.items()})
    folders = {path.partition("/")[0] for path in loose}
    if any("/" not in path and path.lower().endswith(TEX) for path in loose):
        folders = {""}
    for folder in sorted(folders):
        texts = {path: text for path, text in every.items() if not folder or path.startswith(f"{folder}/")}
        mains = main_files(texts)
        for path in (path for path in loose if not folder or path.startswith(f"{folder}/")):
            file = loose[path]
            where = file.where(name)
            if path not in texts:
                yield _undecodable(file, where)
            elif path in mains:
                yield Record(file.data, file.offset, partial(_paper, texts, path, file, where, config))
            else:
                yield Dropped("part_of_paper", len(file.data), where)


def _packed(found: ContainedFile, where: str, config: ArxivConfig) -> Outcome:
    """The paper in a compressed file of the archive."""
    limits = Limits(config.max_paper_bytes, free_bytes=16 * config.max_paper_bytes)
    files: dict[str, bytes] = {}
    size = 0
    kind = "not_latex"
    for item in read_files(io.BytesIO(found.data), where, limits, _unread):
        if isinstance(item, Failed):
            return Failed(item.reason, len(found.data), item.example, found.offset)
        if not isinstance(item, ContainedFile):
            continue
        kind = _FORMATS.get(item.data[:4], kind)
        if item.data[:4] in _FORMATS or not (item.path is None or _is_latex(item)):
            continue
        files[_as_tex(item.path or "paper.tex")] = item.data
        size += len(item.data)
        if size > config.max_paper_bytes:
            detail = f"{where}: its files have more than {config.max_paper_bytes} bytes"
            return Failed("paper_too_large", len(found.data), detail, found.offset)
    if not any(path.lower().endswith(TEX) for path in files) or not any(map(_looks_like_latex, files.values())):
        return Dropped(kind, len(found.data), where)
    texts = _texts(files)
    if not any(path.lower().endswith(TEX) for path in texts):
        return _undecodable(found, where)
    # A paper may come with letters or supplements that are documents too: they are told.
    main, *others = main_files(texts)
    outcome = _paper(texts, main, found, where, config)
    if isinstance(outcome, Kept) and others:
        told = {**outcome.document.metadata, "other_documents": ", ".join(sorted(others))[:_LONGEST_LIST]}
        return replace(outcome, document=replace(outcome.document, metadata=told))
    return outcome


def _unread(path: str) -> str | None:
    return None if path.lower().endswith(_READ) or "." not in path.rpartition("/")[2] else "support"


def _as_tex(path: str) -> str:
    """The path, with `.tex` if it has no known ending: old papers have none."""
    return path if path.lower().endswith(_READ) else f"{path}.tex"


def _texts(files: Mapping[str, bytes]) -> dict[str, str]:
    """The files that can be decoded, without comments. One that cannot be is no reason to lose a paper."""
    declared = next(filter(None, map(_declared, files.values())), None)
    texts: dict[str, str] = {}
    for path, data in files.items():
        label = _declared(data) or declared
        page = decode_page(data, f"text/plain; charset={label}" if label else None)
        if page.replaced <= _MOST_REPLACED * len(page.text):
            texts[path] = remove_comments(page.text.replace("\r\n", "\n").replace("\r", "\n"))
    return texts


def _undecodable(found: ContainedFile, where: str) -> Failed:
    return Failed("undecodable", len(found.data), f"{where} is in no encoding that is known", found.offset)


def _declared(data: bytes) -> str | None:
    for found in _ENCODING.finditer(data[: 1 << 16]):
        names = (found[1] or b"").decode() if found[2] == b"inputenc" else found[2].decode()
        labels = [_LABELS[name] for one in names.split(",") if (name := one.strip().lower()) in _LABELS]
        if labels:
            return labels[-1]
    return None


def _paper(texts: Mapping[str, str], main: str, found: ContainedFile, where: str, config: ArxivConfig) -> Outcome:
    size = len(found.data)
    try:
        paper = paper_text(texts, main, config.max_paper_bytes, config.without_sections == "keep")
    except EndlessMacro as error:
        return Failed("endless_macro", size, f"{where}: {error}", found.offset)
    except TooLong as error:
        return Failed("paper_too_large", size, f"{where}: {error}", found.offset)
    if paper.text is None:
        return Dropped("no_section", size, where)
    text = storable(paper.text)
    if len(text) < config.min_characters:
        return Dropped("short_text" if text else "empty_text", size, where)
    number = _number(found.path)
    metadata: dict[str, str | int | float | None] = {
        "path": found.path,
        "main_file": main,
        "title": storable(paper.title or "") or None,
        "macros_expanded": paper.calls,
        "macros_left": paper.left,
        "inputs_missing": paper.missing,
        "offset": found.offset,
    }
    own = number or identity(found.path, found.data)
    url = f"https://arxiv.org/abs/{number}" if number else None
    document = Document(f"{config.source}/{own}", text, url, _month(number), config.source, config.licence, metadata)
    return Kept(document, size)


def _number(path: str | None) -> str | None:
    """The number of a paper that a part of its path is named by, the last such part."""
    for part in reversed((path or "").split("/")):
        bare = _SUFFIXES.sub("", part)
        if _NEW_ID.fullmatch(bare):
            return bare
        old = _OLD_ID.fullmatch(bare)
        if old:
            return f"{old[1]}/{old[2]}"
    return None


def _month(number: str | None) -> str | None:
    """The first day of the month in which a paper with this number was submitted."""
    found = _NEW_ID.fullmatch(number or "") or re.fullmatch(r"[^/]+/(\d{2})(\d{2})\d{3}(?:v\d+)?", number or "")
    if found is None:
        return None
    century = 19 if int(found[1]) > 90 else 20
    return f"{century}{found[1]}-{found[2]}-01"
