"""The source of code repositories: archives of them, such as GitHub gives, with the licence of each file.

LLaMA keeps files under Apache, BSD and MIT licences, and drops those of low quality by the length of their lines and
their share of alphanumeric characters (Touvron et al. 2023, section 2.1); the thresholds are RedPajama's (v1,
data_prep/github). Copies of a file are the business of the step `exact_duplicates`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

import pydantic

from infra.outcomes import Document, Dropped, Kept, Outcome, Record
from infra.stage import StageConfig, StageKind, stage
from tasks.sources.containers.faults import ContainedFile, Limits
from tasks.sources.containers.files import read_files
from tasks.sources.containers.identity import identity
from tasks.sources.repositories.headers import without_header
from tasks.sources.repositories.licence_files import Licence, LicenceFiles, is_licence_file
from tasks.sources.repositories.licence_texts import licence_in_header, tagged_licence

_TAG_WITHIN = 4096  # characters of a file
_NOT_KEPT = frozenset((".git", ".hg", ".svn", "CVS", "__MACOSX"))


class GithubConfig(StageConfig):
    """`licences` are SPDX identifiers; a file under any other is dropped as `other_licence`.

    The licence of a file is what its tag ``SPDX-License-Identifier`` or its header says, else what the licence files of
    the nearest folder say, else `licence`; without any it is dropped as `no_licence`. `extensions`, such as `.py`,
    limits the files to those whose path ends so. Lengths are in characters.
    """

    source: str = pydantic.Field("github", min_length=1, pattern=r"^[^\s/]+$")
    licences: tuple[str, ...] = ("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT")
    licence: str | None = None
    extensions: tuple[str, ...] = ()
    max_line_length: int = pydantic.Field(1000, ge=1)
    max_mean_line_length: float = pydantic.Field(100.0, gt=0)
    min_alphanumeric_fraction: float = pydantic.Field(0.25, ge=0, le=1)
    # The whole file is one document: see `tasks.sources.jsonl`.
    max_file_bytes: int = pydantic.Field(16 << 20, ge=1 << 10)


@stage("github", version=1, kind=StageKind.source, config=GithubConfig, libraries=["FastWARC", "identify", "isal"])
def read_github(stream: BinaryIO, name: str, config: GithubConfig) -> Iterator[Record | Outcome]:
    """Yield every file of an archive, to be read for its outcome. The text is the file's, but for its licence header.

    The archive is read twice: first its licence files, wherever they stand in it.
    """
    licences = _licences(stream, name, config)
    for found in read_files(stream, name, Limits(config.max_file_bytes), partial(_unwanted, config=config)):
        if isinstance(found, ContainedFile):
            yield Record(found.data, found.offset, partial(_document, found, name, licences, config))
        else:
            yield found


def _licences(stream: BinaryIO, name: str, config: GithubConfig) -> LicenceFiles:
    licences = LicenceFiles()
    for found in read_files(stream, name, Limits(config.max_file_bytes), _no_licence_file):
        if isinstance(found, ContainedFile) and found.path is not None:
            licences.add(found.path, found.data)
    return licences


def _no_licence_file(path: str) -> str | None:
    return None if is_licence_file(path) else "no_licence_file"


def _unwanted(path: str, config: GithubConfig) -> str | None:
    if not _NOT_KEPT.isdisjoint(path.split("/")):
        return "version_control"
    if is_licence_file(path):
        return "licence_file"
    return None if not config.extensions or path.endswith(config.extensions) else "other_extension"


def _document(found: ContainedFile, name: str, licences: LicenceFiles, config: GithubConfig) -> Outcome:
    size = len(found.data)
    where = found.where(name)

    def dropped(reason: str, detail: str = "") -> Dropped:
        return Dropped(reason, size, f"{where}: {detail}" if detail else where)

    if b"\0" in found.data:
        return dropped("binary")
    try:
        text = found.data.decode("utf-8")
    except UnicodeDecodeError as error:
        return dropped("not_utf8", f"{error.reason} at byte {error.start}")
    code, header = without_header(text, found.path or "")
    licence = _licence_of(found, text, header, licences, config)
    if licence is None:
        return dropped("no_licence")
    if not licence.allowed(frozenset(config.licences)):
        return dropped("other_licence", str(licence))
    if not code.strip():
        return dropped("empty_text")
    lengths = [len(line) for line in code.splitlines()]
    longest, mean = max(lengths), sum(lengths) / len(lengths)
    alphanumeric = sum(map(str.isalnum, code)) / len(code)
    if longest > config.max_line_length:
        return dropped("long_line", f"{longest} characters")
    if mean > config.max_mean_line_length:
        return dropped("long_lines", f"{mean:.1f} characters on average")
    if alphanumeric < config.min_alphanumeric_fraction:
        return dropped("few_alphanumeric", f"{alphanumeric:.3f} of the characters")
    metadata: dict[str, str | int | float | None] = {
        "path": found.path,
        "offset": found.offset,
        "max_line_length": longest,
        "mean_line_length": round(mean, 2),
        "alphanumeric_fraction": round(alphanumeric, 4),
        "header_characters": len(text) - len(code),
    }
    own = f"{config.source}/{identity(found.path, found.data)}"
    return Kept(Document(own, code, None, None, config.source, str(licence), metadata), size)


def _licence_of(
    found: ContainedFile, text: str, header: str, licences: LicenceFiles, config: GithubConfig
) -> Licence | None:
    own = tagged_licence(text[:_TAG_WITHIN]) or licence_in_header(header)
    if own is not None:
        return Licence.parsed(own)
    near = licences.of(found.path) if found.path is not None else None
    if near is not None:
        return near
    return None if config.licence is None else Licence.parsed(config.licence)
