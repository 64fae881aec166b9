"""Both installers take what the lock names and refuse the rest; what the set-up says when it cannot go on."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from infra.setup import install, lockfile
from infra.setup.install import Installer, find_installer
from infra.setup.lockfile import Locked, sha256, write_lock

UV = Path(sys.executable).with_name("uv")


@pytest.fixture(params=["pip", pytest.param("uv", marks=pytest.mark.skipif(not UV.exists(), reason="no uv here"))])
def installer(request: pytest.FixtureRequest, tmp_path: Path) -> Installer:
    """One of the two, which installs into a folder, from the folder of wheels and from no index."""
    target = str(tmp_path / "target")
    environ = dict(os.environ) | {"HOME": str(tmp_path), "UV_CACHE_DIR": str(tmp_path / "cache")}
    links = str(tmp_path / "wheels")
    if request.param == "pip":
        command = (sys.executable, "-m", "pip", "install", "--quiet", "--target", target)
        return Installer("pip", command, "--no-cache-dir", environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": links})
    command = (str(UV), "--quiet", "pip", "install", "--python", sys.executable, "--target", target)
    return Installer("uv", command, "--no-cache", environ | {"UV_NO_INDEX": "1", "UV_FIND_LINKS": links})


def wheel(folder: Path, name: str, version: str, says: str, needs: str = "") -> Path:
    """A wheel with one module."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + (
        f"Requires-Dist: {needs}\n" if needs else ""
    )
    files = {
        f"{name}.py": f"SAYS = {says!r}\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},sha256={_hash(text)},{len(text)}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    file = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return file


def _hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def source(folder: Path, name: str, ran: Path) -> Path:
    """A source archive whose setup.py touches `ran`."""
    folder.mkdir(exist_ok=True)
    tree = folder.parent / f"{name}-1.0"
    tree.mkdir()
    (tree / "setup.py").write_text(
        f"import pathlib, setuptools\npathlib.Path({str(ran)!r}).touch()\n"
        f"setuptools.setup(name={name!r}, version='1.0', py_modules=[{name!r}])\n"
    )
    (tree / f"{name}.py").write_text("SAYS = 'compiled'\n")
    (tree / "PKG-INFO").write_text(f"Metadata-Version: 1.0\nName: {name}\nVersion: 1.0\n")
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as tar:
        tar.add(tree, tree.name)
    return folder / f"{name}-1.0.tar.gz"


def test_what_is_locked_is_installed_and_its_own_wishes_are_not(installer: Installer, tmp_path: Path) -> None:
    file = wheel(tmp_path / "wheels", "millstone", "1.0", "locked", needs="fasttext-predict")
    write_lock(tmp_path / "lock.txt", [Locked("millstone", "1.0", frozenset({sha256(file), "0" * 64}))])
    installer.install_locked(tmp_path / "lock.txt")
    assert "locked" in (tmp_path / "target" / "millstone.py").read_text()
    assert not [path for path in (tmp_path / "target").iterdir() if "predict" in path.name]


def test_another_wheel_is_refused(installer: Installer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wheel(tmp_path / "wheels", "millstone", "1.0", "forged")
    write_lock(tmp_path / "lock.txt", [Locked("millstone", "1.0", frozenset({"0" * 64}))])
    with pytest.raises(subprocess.CalledProcessError):
        installer.install_locked(tmp_path / "lock.txt")
    assert not (tmp_path / "target" / "millstone.py").exists()
    assert "hash" in capfd.readouterr().err.lower()


def test_a_source_runs_only_when_its_hash_is_the_locked_one(installer: Installer, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    archive = source(tmp_path / "wheels", "millsource", ran)
    write_lock(tmp_path / "lock.txt", [Locked("millsource", "1.0", frozenset({"0" * 64}))])
    with pytest.raises(subprocess.CalledProcessError):
        installer.install_locked(tmp_path / "lock.txt", compiled=True)
    assert not ran.exists()
    write_lock(tmp_path / "lock.txt", [Locked("millsource", "1.0", frozenset({sha256(archive)}))])
    installer.install_locked(tmp_path / "lock.txt", compiled=True)
    assert ran.exists() and (tmp_path / "target" / "millsource.py").exists()


def test_a_source_is_no_wheel(installer: Installer, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    archive = source(tmp_path / "wheels", "millsource", ran)
    write_lock(tmp_path / "lock.txt", [Locked("millsource", "1.0", frozenset({sha256(archive)}))])
    with pytest.raises(subprocess.CalledProcessError):
        installer.install_locked(tmp_path / "lock.txt")
    assert not ran.exists()


def test_pip_is_used_where_uv_cannot_be_had(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho 'No matching distribution found for uv' >&2\nexit 1\n")
    python.chmod(0o755)
    assert find_installer(python, {}, {}).name == "pip"
    said = capfd.readouterr().err
    assert "No matching distribution" in said and "uv cannot be installed" in said


def test_a_strange_wheel_stops_the_set_up_before_it_touches_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [cpu] = lockfile.read_lock(lockfile.TORCH_CPU.read_text())
    (tmp_path / f"torch-{cpu.version}-cp311-cp311-manylinux_2_28_x86_64.whl").write_bytes(b"another build")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(install, "ROOT", tmp_path / "root")
    monkeypatch.setattr(install, "_wanted", lambda: "")
    assert install.main(["dev"]) == 1
    assert "the lock does not name this file" in capsys.readouterr().err
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("up_to_date", [True, False])
def test_every_set_up_builds_the_tools_and_the_bytecode_of_commands(
    up_to_date: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`install.sh` alone does it, also when a compiler came later. Without one it says so and goes on."""
    (tmp_path / ".venv").mkdir()
    if up_to_date:
        (tmp_path / ".venv" / ".installed-runtime").write_text("wanted")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(install, "ROOT", tmp_path)
    monkeypatch.setattr(install, "_wanted", lambda: "wanted")
    monkeypatch.setattr(install, "_make", lambda home, dev: install._compile_used(home / "bin" / "python"))
    ran: list[tuple[list[str], bool]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        ran.append((command[1:], "PYTHONDONTWRITEBYTECODE" in options.get("env", os.environ)))
        return subprocess.CompletedProcess(command, 1, "", "cannot build KenLM's lmplz: g++ not found\n")

    monkeypatch.setattr(subprocess, "run", run)
    assert install.main([]) == 0
    tools = (["-m", "infra.kenlm_tools", "install"], True)
    compiled = [(["-c", f"import {', '.join(install.USED)}"], False), (["-c", install.COMPILES], False)]
    assert ran == ([tools] if up_to_date else [*compiled, tools])
    assert "g++ not found\nOnly fitting language models needs them." in capsys.readouterr().err


def test_what_is_compiled_at_set_up_exists() -> None:
    assert all(importlib.util.find_spec(name) for name in install.USED)
    exec(install.COMPILES, {})
