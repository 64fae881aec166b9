"""Texts that every machine with Python has: its library's documentation, package descriptions, licences."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from infra.demo.rendering import Block, Page

_LEAST_CHARACTERS = 600
_MOST_CHARACTERS = 12_000
_MOST_LICENCES = 40
_UNUSED_FOLDERS = {"__pycache__", "test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages"}
_DECORATION = re.compile(r"\[!\[|!\[|<|\.\. |\||[-=~^#*+]{4,}")
_LICENCE_NAME = re.compile(r"(licen[cs]e|copying|notice)[^/]*$", re.IGNORECASE)


def library_pages() -> Iterator[Page]:
    """The documentation strings of the standard library, module by module, and Python's own help topics.

    Sources are parsed and never imported. Modules without sources on this machine are left out.
    """
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        relative = path.relative_to(library)
        name = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        public = name.partition(".")[0] in sys.stdlib_module_names and not name.startswith("_")
        if public and not _UNUSED_FOLDERS.intersection(relative.parts):
            yield from _pages_of(f"{name}: documentation of the module", list(_module_blocks(path)), most_pages=3)
    yield from _topic_pages()


def package_pages() -> Iterator[Page]:
    """What the packages that are installed say about themselves."""
    for name, package in _packages():
        metadata = package.metadata.json
        description = metadata.get("description", "")
        blocks = list(_blocks(description)) if isinstance(description, str) else []
        yield from _pages_of(f"{name}: {metadata.get('summary', 'a package')}", blocks, most_pages=1)


def licence_pages() -> Iterator[Page]:
    """The different licence texts that come with those packages, at most `_MOST_LICENCES` of them."""
    seen: set[str] = set()
    for name, package in _packages():
        for file in sorted(package.files or [], key=str):
            if ".dist-info" not in str(file) or not _LICENCE_NAME.search(str(file)):
                continue
            path = Path(str(package.locate_file(file)))
            text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
            digest = hashlib.sha256(" ".join(text.split()).encode()).hexdigest()
            if digest not in seen and len(seen) < _MOST_LICENCES:
                seen.add(digest)
                yield from _pages_of(f"The licence of {name}", list(_blocks(text)))


def _packages() -> list[tuple[str, importlib.metadata.Distribution]]:
    found: dict[str, importlib.metadata.Distribution] = {}
    for package in importlib.metadata.distributions():
        name = package.metadata["Name"]
        if name and name.lower() != "millrace":
            found.setdefault(name.lower(), package)
    return sorted(found.items())


def _topic_pages() -> Iterator[Page]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return
    seen: set[str] = set()
    for name, text in sorted(topics.items()):
        if text not in seen:
            seen.add(text)
            yield from _pages_of(f"{name}: a help topic of Python", list(_blocks(text)))


def _module_blocks(path: Path) -> Iterator[Block]:
    try:
        module = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        # Some distributions ship templates and files for other versions beside the library.
        return
    yield from _blocks(ast.get_docstring(module) or "")
    for node in module.body:
        yield from _definition_blocks(node, "")


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
    """Paragraphs, each on one line; what is indented or a dialogue keeps its lines."""
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


def _pages_of(title: str, blocks: list[Block], most_pages: int = 2) -> Iterator[Page]:
    """Pages of up to `_MOST_CHARACTERS` (a block more); what is left at the end and too short is no page."""
    start = size = number = 0
    for position, block in enumerate(blocks, start=1):
        size += len(block.text)
        if size >= _MOST_CHARACTERS or (position == len(blocks) and size >= _LEAST_CHARACTERS):
            number += 1
            if number <= most_pages:
                yield Page(title if number == 1 else f"{title}, part {number}", tuple(blocks[start:position]))
            start, size = position, 0
