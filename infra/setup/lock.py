"""`python -m infra.setup.lock [--upgrade [NAME ...]]`: regenerate the lock files from pyproject.toml.

Locked versions are kept, except for packages named by `--upgrade` (without names: all packages). Both supported Linux
architectures get the same versions, with the hashes of all files that the registry has for each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from infra.setup import lockfile
from infra.setup.indexes import find_links, local_folders, pip_settings, uv_environment
from infra.setup.install import ROOT, find_installer
from infra.setup.lockfile import Locked, cpu_wheels, normalised, read_lock, sha256, write_lock

MACHINES = ("x86_64", "aarch64")
# Imports of setup.py in the packages below, and pip, the fallback installer.
_BUILD = ("pip", "setuptools", "wheel", "pybind11", "numpy")
# The registry has no wheels of these; they are built here from hashed sources. All other packages must have wheels.
SOURCES = ("deepspeed", "fasttext", "jsonpath-rw", "kenlm", "rouge-score", "sqlitedict", "word2number")
# It overwrites the module fasttext of the package fasttext, and cannot train.
_EXCLUDED = ("fasttext-predict",)
_TORCH = "torch"


def main(arguments: Sequence[str]) -> int:
    """Make the lock files; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m infra.setup.lock", description=__doc__)
    parser.add_argument("--upgrade", nargs="*", metavar="NAME", help="upgrade these packages, or all")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="millrace-lock-") as folder:
        try:
            _lock(Path(folder), chosen.upgrade)
        except subprocess.CalledProcessError as error:
            print(f"The lock was not made: {Path(error.cmd[0]).name} ended with {error.returncode}.", file=sys.stderr)
            return 1
    return 0


def _lock(folder: Path, upgrade: list[str] | None) -> None:
    settings = pip_settings(sys.executable, os.environ)
    venv.create(folder / "tool", with_pip=True, symlinks=True)
    python = folder / "tool" / "bin" / "python"
    if find_installer(python, settings, os.environ).name != "uv":
        raise SystemExit("The lock needs uv, which could not be installed.")
    environ = uv_environment(settings, os.environ)
    folders = local_folders(find_links(settings, os.environ))
    # Local folders are only for torch's CPU build; all other packages are locked as in the registry.
    environ.pop("UV_FIND_LINKS", None)
    resolver = _Resolver(python.with_name("uv"), folder, environ, _kept(upgrade))
    runtime = resolver.resolve([str(ROOT / "pyproject.toml")])
    dev = resolver.resolve([str(ROOT / "pyproject.toml"), "--extra", "dev"], runtime)
    build = resolver.resolve([_requirements(folder, _BUILD)], dev)
    tools = resolver.resolve([_requirements(folder, ["uv"])])
    built = {one.name for one in build}
    cuda = _only_for_torch(dev)
    other = {*built, *cuda, *map(normalised, SOURCES), _TORCH}
    write_lock(lockfile.TOOLS, tools)
    write_lock(lockfile.BUILD, build)
    write_lock(lockfile.SOURCE, [one for one in runtime if one.name in SOURCES])
    write_lock(lockfile.RUNTIME, [one for one in runtime if one.name not in other])
    running = {one.name for one in runtime}
    write_lock(lockfile.DEV_SOURCE, [one for one in dev if one.name in SOURCES and one.name not in running])
    write_lock(lockfile.DEV, [one for one in dev if one.name not in running | other])
    write_lock(lockfile.TORCH_REGISTRY, [one for one in dev if one.name in {*cuda, _TORCH}])
    [torch] = [one for one in dev if one.name == _TORCH]
    write_lock(lockfile.TORCH_CPU, [_cpu_build(torch, folders)])


class _Resolver:
    def __init__(self, uv: Path, folder: Path, environ: Mapping[str, str], kept: Iterable[Locked]) -> None:
        self._uv, self._folder, self._environ, self._kept = uv, folder, environ, list(kept)

    def resolve(self, inputs: Sequence[str], fixed: Sequence[Locked] = ()) -> list[Locked]:
        """The packages that `inputs` need on either architecture, at the versions of `fixed`, else at locked ones."""
        found: dict[str, Locked] = {}
        on: dict[str, set[str]] = {}
        for machine in MACHINES:
            for one in self._compile(inputs, machine, [*found.values(), *fixed]):
                if one.name not in _EXCLUDED:
                    found.setdefault(one.name, one)
                    on.setdefault(one.name, set()).add(machine)
        return [
            one
            if on[one.name] == set(MACHINES)
            else Locked(one.name, one.version, one.hashes, f"platform_machine == '{min(on[one.name])}'", one.via)
            for one in found.values()
        ]

    def _compile(self, inputs: Sequence[str], machine: str, fixed: Sequence[Locked]) -> list[Locked]:
        pins = {one.name: one.version for one in [*self._kept, *fixed]}
        constraints = self._file("constraints", [f"{name}=={version}" for name, version in pins.items()])
        excluded = self._file("overrides", [f"{name} ; sys_platform == 'never'" for name in _EXCLUDED])
        command = [str(self._uv), "--quiet", "pip", "compile", *inputs, "--generate-hashes", "--no-header"]
        command += ["--python-version", "3.11", "--python-platform", f"{machine}-manylinux_2_34"]
        command += ["--constraint", constraints, "--override", excluded, "--index-strategy", "unsafe-best-match"]
        command += ["--only-binary", ":all:", *(part for name in SOURCES for part in ("--no-binary", name))]
        done = subprocess.run(command, env=dict(self._environ), stdout=subprocess.PIPE, text=True, check=True)
        return read_lock(done.stdout)

    def _file(self, name: str, lines: Iterable[str]) -> str:
        file = self._folder / f"{name}.txt"
        file.write_text("".join(f"{line}\n" for line in lines))
        return str(file)


def _kept(upgrade: list[str] | None) -> list[Locked]:
    """The packages whose locked versions are kept."""
    if upgrade == []:
        return []
    named = set(map(normalised, upgrade or ()))
    files = [lockfile.TOOLS, lockfile.BUILD, lockfile.RUNTIME, lockfile.DEV, lockfile.TORCH_REGISTRY]
    files += [lockfile.SOURCE, lockfile.DEV_SOURCE]
    locked = [one for file in files if file.is_file() for one in read_lock(file.read_text())]
    return [one for one in locked if one.name not in named]


def _only_for_torch(packages: Iterable[Locked]) -> set[str]:
    """The CUDA libraries: packages that only the registry's torch depends on. Its CPU build needs none of them."""
    found: set[str] = set()
    while True:
        more = {
            one.name
            for one in packages
            if one.name.startswith(("nvidia-", "cuda-", "triton")) and one.via and one.via <= {_TORCH, *found}
        }
        if more == found:
            return found
        found = more


def _cpu_build(torch: Locked, folders: Iterable[Path]) -> Locked:
    """torch's CPU build of the same version, with the hashes already locked and those of wheels in local folders."""
    version = f"{torch.version}+cpu"
    hashes = {sha256(file) for file in cpu_wheels(folders, version)}
    if lockfile.TORCH_CPU.is_file():
        hashes |= {
            digest
            for one in read_lock(lockfile.TORCH_CPU.read_text())
            if one.version == version
            for digest in one.hashes
        }
    if not hashes:
        raise SystemExit(f"No wheel of torch {version} is known: put one into a folder that PIP_FIND_LINKS names.")
    return Locked(_TORCH, version, frozenset(hashes))


def _requirements(folder: Path, names: Iterable[str]) -> str:
    file = folder / "names.in"
    file.write_text("".join(f"{name}\n" for name in names))
    return str(file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
