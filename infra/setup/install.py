"""`python -m infra.setup.install [dev]`: make .venv from the lock files, with uv, or with pip if uv is unavailable.

Every file, including sources that are compiled here, is checked against the lock's SHA-256 before any of it runs.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.setup import lockfile
from infra.setup.indexes import find_links, local_folders, pip_environment, pip_settings, uv_environment
from infra.setup.lockfile import NotLocked, cpu_wheels, read_lock, refuse_other_wheels

ROOT = Path(__file__).resolve().parents[2]
# What commands import: the line, training, and the server that both start.
USED = (
    "flows.cli.main",
    "flows.build",
    "flows.train",
    "flows.evaluate",
    "infra.engine.work",
    "prefect.server.api.server",
)
# What compiles the code that reads web pages and measures texts, for some 50 s: else the first build does, and a
# forecast of it takes that for work on documents. Numba keeps the result beside the modules.
COMPILES = """
import pyarrow
from infra.stage import StageKind
from tasks.sources.extraction import Extractor, extract_page
from tasks.stages import available_stages
extract_page("<p>The wheel turns.</p>", Extractor.millrace)
documents = pyarrow.table({"id": ["a"], "text": ["The wheel turns.\\n\\nThe wheel turns."]})
for kind, step in ((StageKind.annotate, "kernel"), (StageKind.partitioned, "map")):
    for stage in available_stages(kind):
        config = stage.config()
        columns = stage.columns_of(config, step)
        if stage.load is None and "text" in columns and {"id", "text"}.issuperset(columns):
            stage.steps.get(step, stage.kernel)(documents.select(columns), config)
"""
# Compile for a common CPU instead of the local one: results must not depend on where a package was built.
_PORTABLE = {"x86_64": "-march=x86-64-v2"}


@dataclass(frozen=True, slots=True)
class Installer:
    """Installs requirement files into one environment: `command` is ``... install`` of uv or pip."""

    name: str
    command: tuple[str, ...]
    no_cache: str
    environ: Mapping[str, str]

    def install(self, arguments: Sequence[str], environ: Mapping[str, str] = {}) -> None:
        """Run the installer with its output on the terminal. Raises CalledProcessError."""
        subprocess.run([*self.command, *arguments], cwd=ROOT, env={**self.environ, **environ}, check=True)

    def install_locked(self, *files: Path, compiled: bool = False) -> None:
        """Install exactly the packages of lock files, without dependencies: from wheels, or `compiled` from sources."""
        flags = ["--require-hashes", "--no-deps"]
        environ: dict[str, str] = {}
        if compiled:
            # The caches of built wheels of both tools ignore compiler options.
            flags += ["--no-build-isolation", "--no-binary", ":all:", self.no_cache]
            options = f"-O3 {_PORTABLE.get(platform.machine(), '')}".strip()
            # DeepSpeed compiles its operators at their first use.
            environ = {"CFLAGS": options, "CXXFLAGS": options, "DS_BUILD_OPS": "0"}
        else:
            flags += ["--only-binary", ":all:"]
        self.install([*flags, *(part for file in files for part in ("-r", str(file)))], environ)


def find_installer(python: Path, settings: Mapping[str, str], environ: Mapping[str, str]) -> Installer:
    """uv, installed by pip into the environment of `python`; if that fails, pip itself, with a message."""
    pip = Installer(
        "pip",
        (str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"),
        "--no-cache-dir",
        pip_environment(settings, environ),
    )
    try:
        pip.install_locked(lockfile.TOOLS)
    except subprocess.CalledProcessError:
        print("uv cannot be installed (see above): using pip, which takes longer.", file=sys.stderr)
        return pip
    # Like pip, take the best match over all indexes. The hashes decide which files are allowed.
    options = ("--python", str(python), "--index-strategy", "unsafe-best-match")
    command = (str(python.with_name("uv")), "--quiet", "pip", "install", *options)
    return Installer("uv", command, "--no-cache", uv_environment(settings, environ))


def main(arguments: Sequence[str]) -> int:
    """Make .venv unless it is up to date; returns the exit status."""
    dev = "dev" in arguments
    home = ROOT / ".venv"
    stamp = home / f".installed-{'dev' if dev else 'runtime'}"
    if stamp.is_file() and stamp.read_text().strip() == _wanted():
        _make_tools(home)
        return 0
    try:
        _make(home, dev)
    except NotLocked as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        # The tool has printed the reason.
        print(f"The set-up failed: {Path(error.cmd[0]).name} ended with {error.returncode}.", file=sys.stderr)
        return 1
    stamp.write_text(_wanted() + "\n")
    _make_tools(home)
    return 0


def _make(home: Path, dev: bool) -> None:
    settings = pip_settings(sys.executable, os.environ)
    folders = local_folders(find_links(settings, os.environ))
    files = [lockfile.BUILD, lockfile.RUNTIME, *([lockfile.DEV] if dev else [])]
    torch = _torch_lock(folders)
    sources = [lockfile.SOURCE, *([lockfile.DEV_SOURCE] if dev else [])]
    everything = [*files, torch, lockfile.TORCH_CPU, *sources, lockfile.TOOLS]
    refuse_other_wheels(folders, [one for file in dict.fromkeys(everything) for one in read_lock(file.read_text())])
    # Cleared, so that it contains only the packages of the lock.
    venv.create(home, clear=True, symlinks=True, with_pip=True)
    python = home / "bin" / "python"
    installer = find_installer(python, settings, os.environ)
    print(f"Setting up .venv with {installer.name} (some minutes the first time) ...", flush=True)
    installer.install_locked(lockfile.BUILD)
    installer.install_locked(*files[1:], torch)
    installer.install_locked(*sources, compiled=True)
    installer.install(["--no-deps", "--no-build-isolation", "--editable", "."])
    _compile_used(python)


def _compile_used(python: Path) -> None:
    """Write the bytecode of the modules that commands import, else each command compiles them, and machine code.

    uv writes no bytecode, and Python writes none where PYTHONDONTWRITEBYTECODE is set, as in many images, or where
    another user runs it. The bytecode of all packages would take longer to write than everything else here.
    """
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    # What fails here fails again, with more context, in the command that needs it.
    for code in (f"import {', '.join(USED)}", COMPILES):
        subprocess.run([str(python), "-c", code], cwd=ROOT, env=environ, check=False)


def _make_tools(home: Path) -> None:
    """Build KenLM's tools for the environment, so that no build has to. Says what is missing, if something is."""
    python = home / "bin" / "python"
    command = [str(python), "-m", "infra.kenlm_tools", "install"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if built.returncode:
        print(f"{built.stderr.strip()}\nOnly fitting language models needs them.", file=sys.stderr)


def _torch_lock(folders: Sequence[Path]) -> Path:
    """The lock of torch's CPU build if a local folder has its wheel for this machine, else the registry's torch."""
    [cpu] = read_lock(lockfile.TORCH_CPU.read_text())
    here = [file for file in cpu_wheels(folders, cpu.version) if file.stem.endswith(platform.machine())]
    if here:
        return lockfile.TORCH_CPU
    print(
        f"torch comes from the package registry, on x86-64 with CUDA (several GB). For the CPU build, put its wheel, "
        f"torch {cpu.version}, into a folder that PIP_FIND_LINKS or UV_FIND_LINKS names."
    )
    return lockfile.TORCH_REGISTRY


def _wanted() -> str:
    """A digest of the files that determine the environment."""
    digest = hashlib.sha256()
    for file in [*sorted(lockfile.FOLDER.glob("*.txt")), ROOT / "pyproject.toml", Path(__file__)]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
