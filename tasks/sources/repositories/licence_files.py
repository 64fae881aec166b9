"""The licence of each file of a repository: that of the nearest folder with a licence file, or of its own tag."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from tasks.sources.repositories.licence_texts import OTHER, licences_in

_NAME = re.compile(
    r"(?:[a-z0-9]{1,20}[-_.])?(?:li[cs]en[cs]es?|copying|unlicen[cs]e)(?P<which>[-_.][a-z0-9.+_-]{1,40})?",
    re.IGNORECASE,
)
_ENDINGS = frozenset(("txt", "md", "markdown", "rst", "text", "html", "lesser", "mit", "apache", "bsd", "gpl", "lgpl"))
# https://reuse.software/spec-3.3: the texts of all licences of a project.
_REUSE = "LICENSES"


def is_licence_file(path: str) -> bool:
    """Whether a file is named as a licence, such as ``LICENSE``, ``COPYING.LESSER``, ``LICENSE-MIT``; not as code."""
    folder, _, name = path.rpartition("/")
    if folder.rpartition("/")[2] == _REUSE:
        return True
    found = _NAME.fullmatch(name)
    ending = name.rpartition(".")[2].lower() if "." in name else "txt"
    return found is not None and (ending in _ENDINGS or not ending.isalpha())


# "This software is made available under the terms of either of the licenses found in LICENSE.APACHE or LICENSE.BSD."
_CHOICE = re.compile(r"\beither\b.{0,60}\blicen[cs]es?\b|\byour (?:choice|option)\b", re.IGNORECASE | re.DOTALL)
_LONGEST_CHOICE = 500  # characters
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Licence:
    """The licences of a folder. `choice`: one of them suffices, as of files ``LICENSE-MIT`` and ``LICENSE-APACHE``."""

    names: frozenset[str]
    choice: bool

    @classmethod
    def parsed(cls, expression: str) -> Licence:
        """The licence of an SPDX expression of names with AND or OR between them; any other is one name."""
        words = expression.replace("(", " ").replace(")", " ").split()
        joints = set(words[1::2])
        if len(words) % 2 and len(joints) == 1 and joints <= {"AND", "OR"}:
            return cls(frozenset(words[::2]), joints == {"OR"})
        return cls(frozenset((" ".join(words),)), False)

    def __str__(self) -> str:
        return (" OR " if self.choice else " AND ").join(sorted(self.names))

    def allowed(self, licences: frozenset[str]) -> bool:
        """Whether a file may be used under these licences."""
        return bool(self.names & licences) if self.choice else bool(self.names) and self.names <= licences


@dataclass
class LicenceFiles:
    """The licence files of an archive, by folder."""

    _found: dict[str, list[tuple[str, tuple[str, ...]]]] = field(default_factory=dict)
    _known: dict[bytes, tuple[str, ...]] = field(default_factory=dict)

    def add(self, path: str, data: bytes) -> None:
        """Add a licence file. One that is longer than a MiB is `OTHER`."""
        folder, _, name = path.rpartition("/")
        digest = hashlib.sha1(data).digest()
        if digest not in self._known:
            self._known[digest] = _stated(data)
        self._found.setdefault(folder, []).append((name, self._known[digest]))

    def of(self, path: str) -> Licence | None:
        """The licence of a file; None if no folder around it has a licence file."""
        folder = path
        while folder:
            folder = folder.rpartition("/")[0]
            for own in (folder, f"{folder}/{_REUSE}" if folder else _REUSE):
                if own in self._found:
                    return _joined(self._found[own])
        return None


def _stated(data: bytes) -> tuple[str, ...]:
    """What a licence file says; nothing if it only says that others are a choice."""
    if len(data) > _LARGEST:
        return (OTHER,)
    text = data.decode("utf-8", "replace")
    if len(text) <= _LONGEST_CHOICE and _CHOICE.search(text):
        return ()
    return licences_in(text) or (OTHER,)


def _joined(files: list[tuple[str, tuple[str, ...]]]) -> Licence:
    """One licence for all. They are a choice where each file has one and is named for it, or where a file says so."""
    texts = [(name, found) for name, found in files if found]
    said = len(texts) < len(files)
    named = all((kind := _NAME.fullmatch(name)) and kind["which"] for name, _ in texts)
    distinct = {found for _, found in texts}
    choice = (
        len(texts) > 1 and (said or (named and len(distinct) == len(texts))) and all(len(one) == 1 for one in distinct)
    )
    return Licence(frozenset(name for _, found in texts for name in found), choice)
