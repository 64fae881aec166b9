import gzip
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from infra import kenlm_tools as module
from infra.kenlm_tools import KenlmTools, KenlmToolsMissing, cache_folder, find_kenlm_tools, kenlm_tools


@pytest.fixture(scope="module")
def tools() -> KenlmTools:
    return kenlm_tools()


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def source_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of pip: an archive with a folder and no source in it."""
    (tmp_path / f"kenlm-{module.VERSION}").mkdir()
    archive = tmp_path / "source.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / f"kenlm-{module.VERSION}", f"kenlm-{module.VERSION}")
    monkeypatch.setattr(module, "_download", lambda folder: archive)
    return archive


@pytest.mark.parametrize("order", [3, 5])
def test_lmplz_writes_the_known_arpa(order: int, tools: KenlmTools, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "kenlm" / "trained_en"
    with (folder / "train.txt").open("rb") as text:
        done = subprocess.run(
            [tools.lmplz, "-o", str(order), "--discount_fallback", "-S", "64M", "-T", tmp_path / "sort"],
            stdin=text, capture_output=True, check=True,
        )  # fmt: skip
    assert done.stdout == gzip.decompress((folder / f"golden_o{order}.arpa.gz").read_bytes())


def test_a_binary_is_the_same_twice(tools: KenlmTools, shared_data: Path, tmp_path: Path) -> None:
    arpa = shared_data / "kenlm" / "test.arpa"
    for name in ("one", "two"):
        subprocess.run([tools.build_binary, "probing", arpa, tmp_path / name], capture_output=True, check=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_second_call_builds_nothing(tools: KenlmTools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert kenlm_tools() == tools == find_kenlm_tools()


def test_the_command_prints_the_paths(tools: KenlmTools) -> None:
    done = subprocess.run([sys.executable, "-m", "infra.kenlm_tools"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(tools.lmplz), str(tools.build_binary)]


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MILLRACE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "millrace"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "millrace"
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_without_a_compiler_the_cure_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KenlmToolsMissing, match=r"cmake and g\+\+ not found.*apt-get install -y cmake g\+\+"):
        kenlm_tools(tmp_path / "cache")
    assert find_kenlm_tools(tmp_path / "cache") is None


def test_without_boost_the_cure_is_named(
    source_archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(tmp_path / "bin", "cmake", "echo 'Could NOT find Boost (missing: thread)' >&2; exit 1")
    program(tmp_path / "bin", "g++", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.defpath}")
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "environment_folder", lambda: tmp_path / "environment")
    with pytest.raises(KenlmToolsMissing, match=r"(?s)libboost-thread-dev.*Could NOT find Boost"):
        kenlm_tools()
    assert list((tmp_path / "cache").iterdir()) == []
    assert module.main() == module.main(["install"]) == 1
    assert "libboost-program-options-dev" in capsys.readouterr().err


def test_without_a_package_index_the_cure_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(KenlmToolsMissing, match=r"could not be downloaded with pip\. Check that pip reaches"):
        kenlm_tools(tmp_path / "cache")
    assert find_kenlm_tools(tmp_path / "cache") is None


def test_another_archive_is_refused_before_anything_of_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    source = tmp_path / f"kenlm-{module.VERSION}"
    source.mkdir()
    (source / "setup.py").write_text(
        f"import pathlib, setuptools\npathlib.Path({str(ran)!r}).touch()\n"
        f"setuptools.setup(name='kenlm', version='{module.VERSION}')\n"
    )
    (source / "PKG-INFO").write_text(f"Metadata-Version: 1.0\nName: kenlm\nVersion: {module.VERSION}\n")
    links = tmp_path / "links"
    links.mkdir()
    with tarfile.open(links / f"{source.name}.tar.gz", "w:gz") as tar:
        tar.add(source, source.name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    with pytest.raises(
        KenlmToolsMissing, match=rf"(?s){module.SOURCE_SHA256}.*PIP_FIND_LINKS.*DO NOT MATCH THE HASHES"
    ):
        kenlm_tools(tmp_path / "cache")
    assert not ran.exists()
    assert find_kenlm_tools(tmp_path / "cache") is None
    # The test would notice: without the hash, pip runs that setup.py.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-build-isolation", "--dest", str(tmp_path)]
    subprocess.run([*command, f"kenlm=={module.VERSION}"], capture_output=True)
    assert ran.exists()


def test_two_builders_at_once_leave_one_build(
    source_archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "cache" / f"kenlm-{module.VERSION}"

    def finish_after_another(source: Path, build: Path) -> Path:
        for folder in (build, home):
            folder.mkdir(parents=True)
            for name in ("lmplz", "build_binary"):
                (folder / name).write_text(f"built in {folder.name}")
        return build

    monkeypatch.setattr(module, "_compile", finish_after_another)
    assert kenlm_tools(tmp_path / "cache").lmplz.read_text() == f"built in {home.name}"
    assert list(home.parent.iterdir()) == [home]


def test_the_set_up_copies_them_to_the_environment_for_whoever_uses_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "environment_folder", lambda: tmp_path / "environment")
    home = tmp_path / "cache" / f"kenlm-{module.VERSION}"
    home.mkdir(parents=True)
    for name in ("lmplz", "build_binary"):
        program(home, name, f"echo {name}")
    assert module.main(["install"]) == 0
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path / "cache of another user"))
    found = find_kenlm_tools()
    assert found is not None and found.lmplz.is_relative_to(tmp_path / "environment")
    assert subprocess.run([found.build_binary], capture_output=True, text=True).stdout == "build_binary\n"
    monkeypatch.setenv("PATH", "")
    assert kenlm_tools() == module.install_kenlm_tools() == found
