"""KenLM's `lmplz` and `build_binary`, built from the source archive of its Python package: no wheel contains them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

VERSION = "0.3.0"
SOURCE_SHA256 = "c4628bb9fb63c8a6f9240035b8b037385cfc404cb72e933cf48878291edac1e8"
DEBIAN_PACKAGES = (
    "cmake",
    "g++",
    "make",
    "libboost-program-options-dev",
    "libboost-system-dev",
    "libboost-thread-dev",
    "libboost-test-dev",
)
_PROGRAMS = ("lmplz", "build_binary")


class KenlmToolsMissing(RuntimeError):
    """The tools do not exist and could not be built; the message states the reason and the remedy."""


@dataclass(frozen=True)
class KenlmTools:
    """Paths of the two programs: `lmplz` (text → ARPA) and `build_binary` (ARPA → binary)."""

    lmplz: Path
    build_binary: Path


def cache_folder() -> Path:
    """The folder of built tools: $MILLRACE_CACHE, else millrace under $XDG_CACHE_HOME or ~/.cache."""
    named = os.environ.get("MILLRACE_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "millrace"


def environment_folder() -> Path:
    """The folder of the environment to which the set-up copies the tools: whoever uses the environment has them."""
    return Path(sys.prefix) / "lib" / "millrace"


def find_kenlm_tools(cache: Path | None = None) -> KenlmTools | None:
    """The tools if they are built, else None. Without a `cache`, also those of the environment."""
    for folder in [environment_folder(), cache_folder()] if cache is None else [cache]:
        tools = KenlmTools(*(_home(folder) / program for program in _PROGRAMS))
        if tools.lmplz.is_file() and tools.build_binary.is_file():
            return tools
    return None


def kenlm_tools(cache: Path | None = None) -> KenlmTools:
    """The tools; builds them (about half a minute) if they do not exist.

    Safe to call from several processes: each builds in its own folder, and the first result is kept. Raises
    KenlmToolsMissing when the source cannot be downloaded or a compiler, CMake or Boost is missing.
    """
    found = find_kenlm_tools(cache)
    if found is not None:
        return found
    home = _home(cache)
    home.parent.mkdir(parents=True, exist_ok=True)
    _require_compilers()
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="kenlm-building-") as folder:
        source = _unpack(_download(Path(folder)), Path(folder))
        built = _compile(source, Path(folder) / "build")
        finished = Path(folder) / "finished"
        finished.mkdir()
        for program in _PROGRAMS:
            shutil.copy2(built / program, finished / program)
        try:
            finished.rename(home)
        except OSError:
            # Another process was first, unless something else occupies the path.
            if find_kenlm_tools(cache) is None:
                raise
    return KenlmTools(*(home / program for program in _PROGRAMS))


def install_kenlm_tools() -> KenlmTools:
    """The tools in the environment: copies of those in the cache, which are built if they do not exist.

    Raises KenlmToolsMissing.
    """
    home = _home(environment_folder())
    if not home.is_dir():
        built = kenlm_tools()
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as folder:
            copied = Path(folder) / home.name
            copied.mkdir()
            for program in (built.lmplz, built.build_binary):
                shutil.copy2(program, copied / program.name)
            copied.rename(home)
    return KenlmTools(*(home / program for program in _PROGRAMS))


def _home(cache: Path | None) -> Path:
    return (cache or cache_folder()) / f"kenlm-{VERSION}"


def _require_compilers() -> None:
    missing = [program for program in ("cmake", "g++") if shutil.which(program) is None]
    if missing:
        raise KenlmToolsMissing(f"cannot build KenLM's lmplz: {' and '.join(missing)} not found. {_cure()}")


def _cure() -> str:
    return f"On Debian or Ubuntu, as root: apt-get install -y {' '.join(DEBIAN_PACKAGES)}; then try again."


def _download(folder: Path) -> Path:
    """Download the source archive. pip checks its SHA-256 before it runs any of its code."""
    requirement = folder / "kenlm.txt"
    requirement.write_text(f"kenlm=={VERSION} --hash=sha256:{SOURCE_SHA256}\n")
    # Only kenlm itself must be a source archive: --no-binary :all: would also compile its build requirements.
    _run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        + ["--require-hashes", "--no-binary", "kenlm", "--dest", str(folder), "--requirement", str(requirement)],
        f"the published source archive of kenlm {VERSION} (sha256 {SOURCE_SHA256}) could not be downloaded with pip",
        "Check that pip reaches a package index, or set PIP_INDEX_URL to one; "
        "take other kenlm archives out of PIP_FIND_LINKS.",
    )
    return folder / f"kenlm-{VERSION}.tar.gz"


def _unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / f"kenlm-{VERSION}"


def _compile(source: Path, build: Path) -> Path:
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DENABLE_INTERPOLATE=OFF", "-DENABLE_PYTHON=OFF"]
    _run(
        ["cmake", "-S", str(source), "-B", str(build), *options],
        "CMake found that KenLM's lmplz lacks a dependency, most likely Boost",
        _cure(),
    )
    jobs = str(min(4, os.cpu_count() or 1))
    _run(
        ["cmake", "--build", str(build), "--parallel", jobs, "--target", *_PROGRAMS],
        "KenLM's lmplz did not compile",
        _cure(),
    )
    return build / "bin"


def _run(command: list[str], failure: str, cure: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise KenlmToolsMissing(f"{failure}. {cure}\n{command[0]} ended with {done.returncode} and said:\n{last}")


def main(arguments: Sequence[str] = ()) -> int:
    """Build the tools if they do not exist, and print their paths; with ``install``, those in the environment."""
    try:
        tools = install_kenlm_tools() if "install" in arguments else kenlm_tools()
    except KenlmToolsMissing as error:
        print(error, file=sys.stderr)
        return 1
    print(tools.lmplz)
    print(tools.build_binary)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
