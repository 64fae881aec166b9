"""Licences found in the licence files of installed packages, beside what their metadata say.

    python -m tests.bench.licences

Prints a line for each package where the two differ. Each is judged by its text in
tests/tasks/sources/repositories/test_licences.py.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.sources.repositories.licence_files import LicenceFiles, is_licence_file

# Words of metadata, and the identifiers that they may stand for.
NAMES = {
    r"apache": "Apache-2.0",
    r"\bmit\b": "MIT",
    r"bsd|3-clause": "BSD-3-Clause|BSD-2-Clause",
    r"mpl|mozilla": "MPL-2.0",
    r"\blgpl|lesser": "LGPL-2.1|LGPL-3.0",
    r"(?<!l)gpl|general public(?!.*lesser)": "GPL-2.0|GPL-3.0",
    r"\bisc\b": "ISC",
    r"unlicense": "Unlicense",
    r"zlib": "Zlib",
}


@dataclass(frozen=True)
class Compared:
    """What the metadata of a package say, and what its licence files are; `agrees` if these are the same licences."""

    name: str
    said: str
    found: tuple[str, ...]
    agrees: bool


def compare_packages() -> Iterator[Compared]:
    """The installed packages that have licence files, by name. Files of packages that they carry do not count."""
    for distribution in sorted(importlib.metadata.distributions(), key=lambda one: one.metadata["Name"].lower()):
        licences = LicenceFiles()
        for file in distribution.files or []:
            if is_licence_file(file.name) and ".dist-info/" in str(file) and "/_vendor/" not in str(file):
                licences.add(file.name, Path(str(file.locate())).read_bytes())
        licence = licences.of("any")
        if licence is not None:
            said, found = declared(distribution), tuple(sorted(licence.names))
            words = said.lower()
            wanted = {one for pattern, names in NAMES.items() if re.search(pattern, words) for one in names.split("|")}
            agrees = bool(wanted & licence.names) and licence.names <= wanted
            yield Compared(distribution.metadata["Name"], said, found, agrees)


def declared(distribution: importlib.metadata.Distribution) -> str:
    """What the metadata say: the expression, or the field and the classifiers."""
    fields = distribution.metadata
    expression = fields.get("License-Expression")
    if expression:
        return expression
    own = (fields.get("License") or "").split("\n")[0][:80]
    classifiers = [
        line.rpartition("::")[2].strip() for line in fields.get_all("Classifier") or [] if "License ::" in line
    ]
    return "; ".join(dict.fromkeys(filter(None, [own, *classifiers])))


def main() -> None:
    """Print the disagreements and the counts."""
    counts = Counter[str]()
    for one in compare_packages():
        counts["agree" if one.agrees else "differ"] += 1
        if not one.agrees:
            print(f"{one.name:24} {one.said or '(nothing)':60.60} {' '.join(one.found)}")
    print(dict(counts))


if __name__ == "__main__":
    main()
