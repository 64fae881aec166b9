"""Licences by their texts: equal to what packages say of themselves, and careful where a text says more."""

from __future__ import annotations

import re

import pytest
from identify.vendor.licenses import LICENSES

from tasks.sources.repositories.licence_files import Licence, LicenceFiles, is_licence_file
from tasks.sources.repositories.licence_texts import OTHER, licence_in_header, licences_in, tagged_licence
from tests.bench.licences import compare_packages

TEXTS = dict(LICENSES)
ADVERTISING = """
3. All advertising materials mentioning features or use of this software must display the following
   acknowledgement: This product includes software developed by the organization.
"""
COMMONS = """
The Software is provided to you by the Licensor under the License, as defined below, subject to the following
condition. The grant of rights under the License will not include, and the License does not grant to you, the right to
Sell the Software.
"""


@pytest.mark.parametrize("licence", TEXTS)
def test_every_text_is_its_licence(licence: str) -> None:
    assert licences_in(TEXTS[licence]) == (licence,)


@pytest.mark.parametrize("licence", ["Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT", "ISC", "MPL-2.0", "GPL-3.0"])
def test_form_makes_no_difference(licence: str) -> None:
    text = TEXTS[licence].replace("[year]", "1999-2024").replace("[fullname]", "A. Person <a@example.org>")
    rewrapped = " ".join(text.split())
    commented = "".join(f" * {line}\n" for line in text.split("\n"))
    quoted = text.replace('"', "``").replace("'", "’")
    titled = f"# Project X\n\nCopyright (c) 2020, Someone\nAll rights reserved.\n\n{text}"
    for variant in (rewrapped, commented, quoted, titled, text.replace("\n", "\r\n"), text.upper()):
        assert licences_in(variant) == (licence,)


def test_the_name_of_an_organisation_makes_no_difference() -> None:
    text = TEXTS["BSD-3-Clause"].replace(
        "the copyright holder nor the names of its", "Example Labs, Inc. nor the names of its"
    )
    assert licences_in(text) == ("BSD-3-Clause",)


def test_a_licence_with_a_clause_more_or_less_is_another() -> None:
    assert licences_in(TEXTS["BSD-2-Clause"] + ADVERTISING) == ("BSD-2-Clause", OTHER)
    assert licences_in(COMMONS + TEXTS["MIT"]) == (OTHER, "MIT")
    without_notice = re.sub(r"(?s), subject to the following.*portions of the\s+Software\.", ".", TEXTS["MIT"])
    assert without_notice != TEXTS["MIT"]
    assert "MIT" not in licences_in(without_notice)


def test_two_texts_in_one_file_are_two_licences() -> None:
    assert licences_in(TEXTS["MIT"] + "\n\n" + TEXTS["Apache-2.0"]) == ("Apache-2.0", "MIT")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("This project is licensed under the terms of the MIT license.", ("MIT",)),
        (
            "Licensed under the Apache License, Version 2.0; see http://www.apache.org/licenses/LICENSE-2.0",
            ("Apache-2.0",),
        ),
        ("SPDX-License-Identifier: GPL-2.0-only", ("GPL-2.0-only",)),
        ("You need our permission for every use.", (OTHER,)),
        ("Distributed under the MIT license or the Apache License, Version 2.0.", (OTHER,)),
        ("", ()),
        ("A shopping list.", ()),
    ],
)
def test_a_short_text_names_its_licence(text: str, expected: tuple[str, ...]) -> None:
    assert licences_in(text) == expected


UNKNOWN = "its text is none of those that are known here, and is other"
MORE = "its files have licences of code that it carries besides, which the metadata leave out"
# Packages whose metadata differ from what was found, each judged by reading its licence files.
JUDGED = {
    "aiohappyeyeballs": UNKNOWN,
    "awkward_cpp": MORE,
    "backports.zstd": UNKNOWN,
    "certifi": UNKNOWN,
    "cffi": UNKNOWN,
    "defusedxml": UNKNOWN,
    "exceptiongroup": MORE,
    "gitdb": MORE,
    "grpcio": MORE,
    "hjson": UNKNOWN,
    "isal": UNKNOWN,
    "icu4py": MORE,
    "kenlm": "its files have LGPL and GPL and more, and the metadata say nothing",
    "librt": MORE,
    "lxml": MORE,
    "mypy": MORE,
    "numba": MORE,
    "numpy": MORE,
    "pandas": MORE,
    "pillow": UNKNOWN,
    "pyarrow": MORE,
    "python-dateutil": "its text has BSD for all code and Apache for a part, and the metadata a choice",
    "ray": MORE,
    "rich-rst": MORE,
    "scikit-learn": MORE,
    "scipy": MORE,
    "sympy": MORE,
    "tensorboard": MORE,
    "text-unidecode": UNKNOWN,
    "tld": UNKNOWN,
    "torch": MORE,
    "tqdm": UNKNOWN,
    "types-pyyaml": MORE,
    "typing_extensions": UNKNOWN,
}


def test_installed_packages_have_the_licence_that_they_declare() -> None:
    compared = list(compare_packages())
    differ = [one for one in compared if not one.agrees]
    assert len(compared) > 100 and len(differ) < 0.2 * len(compared)
    unjudged = [one for one in differ if one.name.lower() not in JUDGED]
    assert not unjudged, "read the licence files of these packages, and judge them in JUDGED"
    # None is taken for a single licence that it is not under alone.
    assert [one.name for one in differ if len(one.found) == 1 and one.found != (OTHER,)] == []


@pytest.mark.parametrize(
    "name",
    [
        *("LICENSE", "LICENCE", "license.txt", "License.md", "LICENSE-MIT", "LICENSE.APACHE", "COPYING", "UNLICENSE"),
        *("COPYING.LESSER", "MIT-LICENSE.txt", "LICENSE-2.0", "LICENSES/MIT.txt", "licenses.rst"),
    ],
)
def test_names_of_licence_files(name: str) -> None:
    assert is_licence_file(f"repo/{name}") and is_licence_file(name)


@pytest.mark.parametrize(
    "name", ["license.py", "licenses.js", "LICENSE.go", "copying.c", "README.md", "relicense", "licensed"]
)
def test_names_of_other_files(name: str) -> None:
    assert not is_licence_file(f"repo/{name}")


ALLOWED = frozenset(("MIT", "Apache-2.0"))
EITHER = b"This software is made available under the terms of either of the licenses found in LICENSE.A or LICENSE.B."


@pytest.mark.parametrize(
    ("files", "expression", "allowed"),
    [
        ({"LICENSE": "MIT"}, "MIT", True),
        ({"LICENSE": "GPL-3.0"}, "GPL-3.0", False),
        ({"LICENSE": ""}, OTHER, False),
        ({"LICENSE": "long"}, OTHER, False),
        ({"LICENSE-MIT": "MIT", "LICENSE-APACHE": "Apache-2.0"}, "Apache-2.0 OR MIT", True),
        ({"LICENSE-MIT": "MIT", "LICENSE-GPL": "GPL-3.0"}, "GPL-3.0 OR MIT", True),
        ({"LICENSE": "MIT", "COPYING": "GPL-3.0"}, "GPL-3.0 AND MIT", False),
        ({"LICENSE": None, "LICENSE.B": "GPL-3.0", "LICENSE.A": "MIT"}, "GPL-3.0 OR MIT", True),
    ],
)
def test_several_licence_files(files: dict[str, str | None], expression: str, allowed: bool) -> None:
    licences = LicenceFiles()
    for name, licence in files.items():
        licences.add(
            name,
            EITHER
            if licence is None
            else TEXTS.get(licence, "Copyright X" if not licence else TEXTS["MIT"] * 2000).encode(),
        )
    found = licences.of("src/a.py")
    assert found is not None and (str(found), found.allowed(ALLOWED)) == (expression, allowed)


def test_the_nearest_folder_decides() -> None:
    licences = LicenceFiles()
    for folder, licence in {"r": "MIT", "r/vendor/x": "GPL-3.0", "s/LICENSES": "ISC"}.items():
        licences.add(f"{folder}/LICENSE", TEXTS[licence].encode())
    found = [licences.of(path) for path in ("r/a", "r/vendor/x/y/a", "r/vendor/a", "s/deep/a", "t/a", "a")]
    assert [str(one) if one else None for one in found] == ["MIT", "GPL-3.0", "MIT", "ISC", None, None]


def test_expressions() -> None:
    assert Licence.parsed("MIT OR GPL-2.0-only").allowed(ALLOWED)
    assert not Licence.parsed("MIT AND GPL-2.0-only").allowed(ALLOWED)
    assert not Licence.parsed("Apache-2.0 WITH LLVM-exception").allowed(ALLOWED)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("# Copyright 2020 X\n", None),
        (
            "// Use of this source is governed by a BSD-style\n// license that can be found in the LICENSE file.\n",
            None,
        ),
        ("# This file is part of X, see the LICENSE file.\n", None),
        ('/* Licensed under the Apache License, Version 2.0 (the "License"); */', "Apache-2.0"),
        ("# Released under the MIT license.", "MIT"),
        ("/*\n" + "".join(f" * {line}\n" for line in TEXTS["BSD-3-Clause"].split("\n")) + " */", "BSD-3-Clause"),
        ("# This program is free software under the terms of the GNU General Public License.", OTHER),
        ("/* Dual licensed under the MIT or GPL Version 2 licenses. */", f"MIT OR {OTHER}"),
        ("// Proprietary and confidential; permission is needed.", OTHER),
    ],
)
def test_a_header_states_a_licence_or_refers_to_one(header: str, expected: str | None) -> None:
    assert licence_in_header(header) == expected


@pytest.mark.parametrize("form", ["# {}\n", "/* {} */", "<!-- {} -->", "-- {}", "// {}\r\n"])
def test_a_tag_ends_with_its_expression(form: str) -> None:
    assert tagged_licence(form.format("SPDX-License-Identifier: MIT OR Apache-2.0")) == "MIT OR Apache-2.0"
