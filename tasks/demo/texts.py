"""Texts that every machine with this Python has: the documentation of its standard library and its help topics.

Installed packages have no effect, because none is read.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tasks.demo.rendering import Block, Page

_LEAST_CHARACTERS = 600
_MOST_CHARACTERS = 12_000
_MOST_PAGES = 12
_UNUSED_FOLDERS = {"__pycache__", "test", "tests", "site-packages", "dist-packages"}
_DECORATION = re.compile(r"\[!\[|!\[|<|\.\. |\||[-=~^#*+]{4,}")
# Three or more lines that contain only a comment.
_COMMENT = re.compile(r"(?:^[ \t]*#[^\n]*\n){3,}", re.MULTILINE)
# Linux distributions omit these, or ship them in separate packages.
_SPLIT_OFF = {"distutils", "ensurepip", "idlelib", "lib2to3", "tkinter", "turtle", "turtledemo"}


def module_pages() -> Iterator[Page]:
    """Docstrings and comments of the standard library's single-file modules, by name."""
    yield from _library_pages(packages=False)


def package_pages() -> Iterator[Page]:
    """Docstrings and comments of the modules in the standard library's packages, by name."""
    yield from _library_pages(packages=True)


def topic_pages() -> Iterator[Page]:
    """Python's help topics, if this machine has them."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return
    seen: set[str] = set()
    for name, text in sorted(topics.items()):
        if text not in seen:
            seen.add(text)
            yield from _pages_of(f"{name}: a help topic of Python", list(_blocks(text)), _MOST_PAGES)


def _library_pages(packages: bool) -> Iterator[Page]:
    # Sources are parsed, never imported. Modules without sources on this machine are skipped.
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        relative = path.relative_to(library)
        top = relative.parts[0].removesuffix(".py")
        if top not in sys.stdlib_module_names or top in _SPLIT_OFF or _UNUSED_FOLDERS.intersection(relative.parts):
            continue
        if packages == (len(relative.parts) > 1):
            name = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
            yield from _pages_of(f"{name}: documentation of the module", list(_module_blocks(path)), _MOST_PAGES)


def _module_blocks(path: Path) -> Iterator[Block]:
    try:
        with tokenize.open(path) as file:
            source = file.read()
        module = ast.parse(source)
    except (SyntaxError, ValueError):
        # Some distributions ship templates, and files for other versions, with the library.
        return
    yield from _blocks(ast.get_docstring(module) or "")
    for node in module.body:
        yield from _definition_blocks(node, "")
    for comment in _COMMENT.findall(source):
        yield from _blocks("\n".join(line.strip().lstrip("#").removeprefix(" ") for line in comment.splitlines()))


def _definition_blocks(node: ast.stmt, prefix: str) -> Iterator[Block]:
    if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return
    name = prefix + node.name
    documented = list(_blocks(ast.get_docstring(node) or ""))
    if documented:
        signature = "" if isinstance(node, ast.ClassDef) else f"({ast.unparse(node.args)})"
        yield Block(name + signature, "h2")
        yield from documented
    if isinstance(node, ast.ClassDef):
        for member in node.body:
            yield from _definition_blocks(member, f"{name}.")


def _blocks(text: str) -> Iterator[Block]:
    """Paragraphs, each joined to one line; indented text and interactive sessions keep their lines."""
    for run in re.split(r"\n[ \t]*\n", inspect.cleandoc(text.replace("\r\n", "\n"))):
        lines = [line.rstrip() for line in run.strip("\n").split("\n")]
        if not any(lines) or _DECORATION.match(lines[0].lstrip()):
            continue
        if lines[0].startswith(("    ", ">>>")):
            yield Block("\n".join(lines), "pre")
        else:
            for item in re.split(r"\n(?=[ \t]*[-*+][ \t])|\n[-=~^]{3,}(?=\n|$)", "\n".join(lines)):
                if joined := " ".join(item.split()):
                    yield Block(joined)


def _pages_of(title: str, blocks: list[Block], most_pages: int) -> Iterator[Page]:
    """Pages of up to `_MOST_CHARACTERS` (exceeded by at most one block); a remainder that is too short is dropped."""
    start = size = number = 0
    for position, block in enumerate(blocks, start=1):
        size += len(block.text)
        if size >= _MOST_CHARACTERS or (position == len(blocks) and size >= _LEAST_CHARACTERS):
            number += 1
            if number <= most_pages:
                yield Page(title if number == 1 else f"{title}, part {number}", tuple(blocks[start:position]))
            start, size = position, 0
