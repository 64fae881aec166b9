"""Archives of repositories: files verbatim with their licence, each other one an entry with its reason."""

from __future__ import annotations

import io
import tarfile
from collections import Counter

import pytest
from identify.vendor.licenses import LICENSES

from infra.outcomes import Document, Dropped, Kept, Outcome, read_all
from tasks.sources.github import GithubConfig, read_github
from tests.tasks.sources.containers.made import COMPRESSIONS, member, tar, zipped

MIT, GPL = (dict(LICENSES)[name].encode() for name in ("MIT", "GPL-3.0"))
CODE = b"#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n# Copyright 2020 X\n\ndef f():\n\treturn 1  \r\n\x0c\n"
TEXT = "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n\ndef f():\n\treturn 1  \r\n\x0c\n"


def read(data: bytes, **config: object) -> list[Outcome]:
    return list(read_all(read_github(io.BytesIO(data), "x", GithubConfig.model_validate(config))))


def documents(outcomes: list[Outcome]) -> list[Document]:
    return [outcome.document for outcome in outcomes if isinstance(outcome, Kept)]


def reasons(outcomes: list[Outcome]) -> dict[str, str]:
    left = [outcome for outcome in outcomes if not isinstance(outcome, Kept)]
    return {outcome.example.partition(": ")[2].partition(":")[0].strip("'"): str(outcome.reason) for outcome in left}


FILES = {
    "r/a.py": CODE,
    "r/inc.c": b"/* Copyright 2020 X */\n#include <a.h>\n\nint x;\n",
    "r/README.md": b"# My Project\n\nHello.\n",
    "r/LICENSE": MIT,
    "r/logo.png": b"\x89PNG\0\0",
    "r/latin.py": "# caf\xe9\nx = 'na\xefve'\n".encode("latin-1"),
    "r/min.js": b"var x=1;" * 200,
    "r/long.txt": (b"word " * 30 + b"\n") * 5,
    "r/art.txt": b"+-+-+ " * 9 + b"a\n",
    "r/empty.py": b" \n",
    "r/header.py": b"# Copyright 2020 X\n",
    "r/vendor/LICENSE": GPL,
    "r/vendor/g.py": b"x = 1\n",
    "r/own.c": b"// SPDX-License-Identifier: GPL-2.0-only\nint y;\n",
    "r/gpl.c": b"/* under the terms of the GNU General Public License */\nint z;\n",
    "r/.git/config": b"[core]\n",
    "alone/b.py": b"x = 1\n",
}
REASONS = {
    "r/LICENSE": "licence_file",
    "r/logo.png": "binary",
    "r/latin.py": "not_utf8",
    "r/min.js": "long_line",
    "r/long.txt": "long_lines",
    "r/art.txt": "few_alphanumeric",
    "r/empty.py": "empty_text",
    "r/header.py": "empty_text",
    "r/vendor/LICENSE": "licence_file",
    "r/vendor/g.py": "other_licence",
    "r/own.c": "other_licence",
    "r/gpl.c": "other_licence",
    "r/.git/config": "version_control",
    "alone/b.py": "no_licence",
}


@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)
def test_files_of_a_repository(compress: object) -> None:
    for archive in (compress(tar(FILES)), zipped(FILES)):  # type: ignore[operator]
        outcomes = read(archive)
        assert [(one.metadata["path"], one.text, one.licence) for one in documents(outcomes)] == [
            ("r/a.py", TEXT, "MIT"),
            ("r/inc.c", "#include <a.h>\n\nint x;\n", "MIT"),
            ("r/README.md", "# My Project\n\nHello.\n", "MIT"),
        ]
        assert reasons(outcomes) == REASONS
        assert sum(outcome.bytes for outcome in outcomes) == sum(map(len, FILES.values()))


def test_text_is_verbatim() -> None:
    odd = "\ufeffx\t=\t1   \r\n\n\n\x0b\x0c\x1b\u2028 and_more_words = '\U0010ffff\ud7ff'\r".encode()
    [document] = documents(read(tar({"LICENSE": MIT, "a.py": odd})))
    assert document.text.encode() == odd


def test_metrics_are_columns_and_thresholds_are_inclusive() -> None:
    data = b"x" * 1000 + b"\n" + b"y\n" * 9
    [document] = documents(read(tar({"LICENSE": MIT, "a": data}), max_mean_line_length=100.9))
    assert document.metadata["max_line_length"] == 1000 and document.metadata["mean_line_length"] == 100.9
    assert document.metadata["alphanumeric_fraction"] == round(1009 / 1019, 4)


def test_the_licence_may_stand_behind_the_files() -> None:
    [document] = documents(read(tar({"r/a.py": b"x = 1\n", "r/zz/b.bin": b"\0", "r/LICENSE.txt": MIT})))
    assert document.licence == "MIT"


def test_the_recipe_may_name_the_licence_of_what_has_none() -> None:
    for data in (b"x = 1\n", tar({"a.py": b"x = 1\n"})):
        assert reasons(read(data)).popitem()[1] == "no_licence"
        [document] = documents(read(data, licence="MIT"))
        assert document.licence == "MIT" and document.text == "x = 1\n"
    [document] = documents(read(b"# SPDX-License-Identifier: Apache-2.0\nx = 1\n"))
    assert (document.text, document.licence) == ("x = 1\n", "Apache-2.0")


def test_other_licences_and_extensions_are_the_recipes() -> None:
    outcomes = read(
        tar({"LICENSE": GPL, "a.py": b"x = 1\n", "b.c": b"int x;\n"}), licences=["GPL-3.0"], extensions=[".py"]
    )
    assert [one.metadata["path"] for one in documents(outcomes)] == ["a.py"]
    assert reasons(outcomes)["b.c"] == "other_extension"


def test_ids_tell_files_of_one_path_apart_and_are_those_of_their_content() -> None:
    one, two = (read(tar({"LICENSE": MIT, "README.md": text})) for text in (b"first\n", b"second\n"))
    assert documents(one)[0].id != documents(two)[0].id
    assert documents(one)[0].id.startswith("github/README.md@")
    assert documents(one)[0].id == documents(read(zipped({"README.md": b"first\n", "LICENSE": MIT})))[0].id


def test_what_is_no_file_or_is_broken_costs_itself() -> None:
    odd = (member("r/link", tarfile.SYMTYPE, "a.py"), member("r/../../x", tarfile.REGTYPE))
    outcomes = read(tar({"LICENSE": MIT, "a.py": b"x = 1\n"}, members=odd))
    left = Counter(str(outcome.reason) for outcome in outcomes if not isinstance(outcome, Kept))
    assert left == {"licence_file": 1, "link": 1, "unsafe_path": 1} and len(documents(outcomes)) == 1


def test_a_large_file_and_a_long_line_cost_themselves() -> None:
    files = {"LICENSE": MIT, "big.txt": b"x" * (2 << 20), "a.py": b"x = 1\n"}
    outcomes = read(tar(files), max_file_bytes=1 << 20)
    assert (
        reasons(outcomes)["big.txt' has 2097152 bytes, more than 1048576"[:7]]
        if False
        else len(documents(outcomes)) == 1
    )
    assert [outcome.reason for outcome in outcomes if not isinstance(outcome, Kept | Dropped)] == ["file_too_large"]
