"""The lock files in infra/setup/lock: exact versions, and the SHA-256 of every file allowed for each package.

They are requirement files for both pip and uv, and together they are complete: an install resolves no dependencies.
`infra/setup/lock.py` makes them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent / "lock"
# The installer; build tools; wheels for running; wheels for tests only; packages built here; such for tests only.
TOOLS, BUILD, RUNTIME, DEV, SOURCE, DEV_SOURCE = (
    FOLDER / f"{name}.txt" for name in ("tools", "build", "runtime", "dev", "source", "dev-source")
)
# One of these: the CPU build from a local folder, or the registry's build with the CUDA libraries that it needs.
TORCH_CPU, TORCH_REGISTRY = FOLDER / "torch-cpu.txt", FOLDER / "torch-registry.txt"
_HEAD = "# Made by `make lock`; not to be edited.\n"


@dataclass(frozen=True, slots=True)
class Locked:
    """A package at one version. `marker` is a PEP 508 environment marker, empty for all machines."""

    name: str
    version: str
    hashes: frozenset[str]
    marker: str = ""
    via: frozenset[str] = field(default=frozenset(), compare=False)


class NotLocked(Exception):
    """A file in a local folder is not in the lock; the message names it and states the remedy."""


def normalised(name: str) -> str:
    """A package's name, normalized as in PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(text: str) -> list[Locked]:
    """The packages of a requirement file with hashes, in file order. Raises ValueError for any other line."""
    found: list[Locked] = []
    for line in text.splitlines():
        line = line.strip().removesuffix("\\").strip()
        if line.startswith("--hash=sha256:"):
            last = found[-1]
            hashes = last.hashes | {line.removeprefix("--hash=sha256:")}
            found[-1] = Locked(last.name, last.version, hashes, last.marker, last.via)
        elif line.startswith("#"):
            name = re.fullmatch(r"#\s+(?:via\s+)?(?!via$)([A-Za-z0-9][\w.\[\],-]*)(?: \(.*\))?", line)
            if found and name:
                last = found[-1]
                via = last.via | {normalised(name[1].partition("[")[0])}
                found[-1] = Locked(last.name, last.version, last.hashes, last.marker, via)
        elif line:
            pinned = re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])?==([\w.!+-]+)(?:\s*;\s*(.+))?", line)
            if pinned is None:
                raise ValueError(f"not a package with an exact version: {line!r}")
            found.append(Locked(normalised(pinned[1]), pinned[2], frozenset(), pinned[3] or ""))
    return found


def write_lock(file: Path, packages: Iterable[Locked]) -> None:
    """Write a lock file, sorted by name."""
    lines = [_HEAD]
    for package in sorted(packages, key=lambda one: one.name):
        marker = f" ; {package.marker}" if package.marker else ""
        parts = [f"{package.name}=={package.version}{marker}"]
        parts += [f"    --hash=sha256:{digest}" for digest in sorted(package.hashes)]
        lines.append(" \\\n".join(parts) + "\n")
    file.write_text("".join(lines), encoding="utf-8")


def refuse_other_wheels(folders: Iterable[Path], locked: Iterable[Locked]) -> None:
    """Raise NotLocked when a folder has a file of a locked package version whose hash is not in the lock.

    Installers would silently skip such a file and download another from the registry, for torch one of several
    gigabytes. Other packages and versions in the folders are ignored.
    """
    hashes: dict[tuple[str, str], set[str]] = {}
    for package in locked:
        hashes.setdefault((package.name, package.version.partition("+")[0]), set()).update(package.hashes)
    for folder in folders:
        for file in sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")]):
            name, version = _name_and_version(file)
            allowed = hashes.get((name, version.partition("+")[0]))
            if allowed is None:
                continue
            digest = sha256(file)
            if digest not in allowed:
                raise NotLocked(
                    f"{file}: the lock does not name this file (sha256 {digest}) for {name} {version}, so it is not "
                    f"installed. Take it out of {folder}, or leave {folder} out of PIP_FIND_LINKS, UV_FIND_LINKS and "
                    "pip's configuration; or, where you trust the file, run `make lock`, which adds torch's CPU wheels "
                    "from such folders, and look at what it changed."
                )


def cpu_wheels(folders: Iterable[Path], version: str) -> list[Path]:
    """The wheels of torch's CPU build of that version in these folders, for any machine."""
    return [file for folder in folders for file in sorted(folder.glob(f"torch-{version}-*.whl"))]


def sha256(file: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _name_and_version(file: Path) -> tuple[str, str]:
    if file.suffix == ".whl":
        name, version = file.name.split("-")[:2]
    else:
        name, _, version = file.name.removesuffix(".tar.gz").rpartition("-")
    return normalised(name), version
