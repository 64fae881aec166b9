"""Headers of licence and copyright go; what a program reads, and what a person wrote about the program, stays."""

from __future__ import annotations

import io
import sysconfig
import tokenize
from pathlib import Path

import pytest

from tasks.sources.repositories import headers

APACHE = """Copyright 2020 The Authors. All rights reserved.

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License."""
MIT = """MIT License

Copyright (c) 2019 A. Person

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction.

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND."""
GPL = """This program is free software; you can redistribute it and/or modify
it under the terms of the GNU General Public License as published by
the Free Software Foundation.

You should have received a copy of the GNU General Public License along
# with this program; if not, write to the Free Software Foundation"""
BSD = """Copyright 2013 The Go Authors. All rights reserved.
Use of this source code is governed by a BSD-style
license that can be found in the LICENSE file."""


def without_header(text: str, path: str) -> str:
    return headers.without_header(text, path)[0]


NOTICES = {"apache": APACHE, "mit": MIT, "gpl": GPL, "bsd": BSD, "spdx": "SPDX-License-Identifier: MIT"}


def lined(notice: str, mark: str) -> str:
    return "".join(f"{mark} {line}".rstrip() + "\n" for line in notice.split("\n"))


def starred(notice: str) -> str:
    return "/*\n" + "".join(f" * {line}".rstrip() + "\n" for line in notice.split("\n")) + " */\n"


STYLES = [
    ("a.py", "#", "import os\n"),
    ("a.rs", "//", "#![allow(x)]\nuse std::io;\n"),
    ("a.cc", "//", '#include <vector>\n#define X "y"\n'),
    ("a.sql", "--", "SELECT 1;\n"),
    ("a.hs", "--", "module Main where\n"),
    ("a.el", ";;", "(defun f ())\n"),
    ("a.tex", "%", "\\section{A}\n"),
    ("a.f90", "!", "program x\n"),
    ("Makefile", "#", "all:\n\tcc x.c\n"),
    ("a.vb", "'", "Module X\n"),
    ("a.bat", "REM", "cd x\n"),
]


@pytest.mark.parametrize("notice", NOTICES.values(), ids=NOTICES)
@pytest.mark.parametrize(("path", "mark", "code"), STYLES)
def test_a_header_of_lines_goes(path: str, mark: str, code: str, notice: str) -> None:
    assert without_header(f"{lined(notice, mark)}\n{code}", path) == code


@pytest.mark.parametrize("notice", NOTICES.values(), ids=NOTICES)
@pytest.mark.parametrize("code", ["#include <stdio.h>\n#define A\n\nint main;\n", "package x;\n", "body { }\n"])
def test_a_header_in_one_comment_goes(code: str, notice: str) -> None:
    assert without_header(f"{starred(notice)}\n\n{code}", "a.c") == code
    assert without_header(f"<!--\n{notice}\n-->\n<p>x</p>\n", "a.html") == "<p>x</p>\n"


STAYS = [
    (
        "a.py",
        "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n# Copyright 2020 X\n\nx = 1\n",
        "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n\nx = 1\n",
    ),
    ("a.sh", "#!/bin/sh\n# vim: set ts=4:\n# License: MIT\nset -e\n", "#!/bin/sh\n# vim: set ts=4:\nset -e\n"),
    ("a.php", "<?php\n/* Copyright (c) 2020 X */\necho 1;\n", "<?php\necho 1;\n"),
    ("a.xml", '<?xml version="1.0"?>\n<!-- Copyright 2020 X -->\n<a/>\n', '<?xml version="1.0"?>\n<a/>\n'),
    ("a.py", "# Reads names.\n# Copyright 2020 X\n#\n# Slowly.\nx = 1\n", "# Reads names.\n# Slowly.\nx = 1\n"),
    ("a.c", "/* Copyright 2020 X\n *\n * Sorts numbers.\n */\nint x;\n", "/*\n * Sorts numbers.\n */\nint x;\n"),
    ("a.c", "/* Sorts numbers.\n * Copyright 2020 X */\nint x;\n", "/* Sorts numbers.\n */\nint x;\n"),
    ("a.go", f"{lined(BSD, '//')}\n//go:build linux\n\npackage x\n", "//go:build linux\n\npackage x\n"),
    ("a.py", "\ufeff# Copyright 2020 X\nx = 1\n", "x = 1\n"),
    ("a.py", "# Copyright 2020 X\r\n# Reads.\r\nx = 1\r\n", "# Reads.\r\nx = 1\r\n"),
]


@pytest.mark.parametrize(("path", "text", "expected"), STAYS)
def test_what_a_program_reads_and_says_of_itself_stays(path: str, text: str, expected: str) -> None:
    assert without_header(text, path) == expected


UNTOUCHED = [
    ("README.md", "# License\n\nCopyright 2020 X. Licensed under the MIT License.\n"),
    ("README", "# My Project\n\nHello\n"),
    ("a.md", "# My Project\n\nHello, under the terms of the MIT license.\n"),
    ("a.c", '#include <a.h>\n#define COPYRIGHT "(c) 2020"\nint main;\n'),
    ("a", '#include <a.h>\n#define LICENSE "licensed under MIT"\n'),
    ("a.py", "x = 1\n# Copyright 2020 X\n"),
    ("a.py", '"""Copyright 2020 X"""\n# Copyright 2020 X\n'),
    ("a.py", "# Copyright detection helpers\nx = 1\n"),
    ("a.py", "# a comment\n\n\n\tx = 1  \r\n\x0c"),
    ("a.rs", "#![license]\n#[derive(X)]\nstruct A;\n"),
    ("a.c", "/* Copyright 2020 X */ int x;\n"),
    ("a.c", "/* Copyright 2020 X"),
    ("a.lua", "--[[ Copyright"),
    ("a", ""),
    ("a.js", "// eslint-disable licensed under\nx\n"),
]


@pytest.mark.parametrize(("path", "text"), UNTOUCHED)
def test_everything_else_is_verbatim(path: str, text: str) -> None:
    assert without_header(text, path) == text


def tokens(text: str) -> list[tuple[int, str]]:
    ignored = (tokenize.COMMENT, tokenize.NL)
    return [
        (one.type, one.string)
        for one in tokenize.generate_tokens(io.StringIO(text).readline)
        if one.type not in ignored
    ]


def test_no_program_of_the_standard_library_changes() -> None:
    changed = 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text = path.read_text("utf-8")
        without = without_header(text, path.name)
        if without != text:
            changed += 1
            assert tokens(without) == tokens(text)
            assert set(without.split("\n")) <= set(text.split("\n"))
    assert changed > 10
