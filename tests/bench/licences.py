"""Licences found in the licence files of installed packages, beside what their metadata say.

    python -m tests.bench.licences

Prints a line for each package where the two differ: by hand, each is then judged by the text.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections import Counter
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
    r"psf|python software": "LicenseRef-other",
    r"\bisc\b": "ISC",
    r"unlicense": "Unlicense",
    r"zlib": "Zlib",
}


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
    counts = Counter[str]()
    for distribution in sorted(importlib.metadata.distributions(), key=lambda one: one.metadata["Name"].lower()):
        files = [
            file
            for file in distribution.files or []
            if is_licence_file(file.name) and "dist-info" in str(file) and "_vendor" not in str(file)
        ]
        licences = LicenceFiles()
        for file in files:
            licences.add(file.name, Path(str(file.locate())).read_bytes())
        licence = licences.of("any")
        found = sorted(licence.names) if licence else []
        said = declared(distribution)
        if not found or not said:
            counts["no licence file" if not files else "no licence found" if not found else "nothing declared"] += 1
            if files:
                print(f"{distribution.metadata['Name']:32} {said or '(nothing)':44} {' '.join(found) or '(none)'}")
            continue
        wanted = {
            name for pattern, names in NAMES.items() if re.search(pattern, said.lower()) for name in names.split("|")
        }
        agrees = bool(wanted & set(found)) and set(found) <= wanted
        counts["agree" if agrees else "differ"] += 1
        if not agrees:
            print(f"{distribution.metadata['Name']:32} {said:44} {' '.join(found)}")
    print(dict(counts))


if __name__ == "__main__":
    main()
