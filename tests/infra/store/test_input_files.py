"""Local inputs: whatever lies in a folder is read or told."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.store.errors import NotThere, StoreDenied, StoreError
from infra.store.inputs import check_unchanged, open_input, take_inventory
from infra.store.lake import Lake


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, one of them in a folder."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.gz").write_text("a")
    (folder / "sub" / "b.gz").write_text("b")
    return folder


def named(lake: Lake, *patterns: Path | str) -> list[str]:
    return [file.name for file in take_inventory(lake, [str(pattern) for pattern in patterns]).files]


def dangle(folder: Path) -> None:
    (folder / "sub" / "gone.gz").symlink_to("nowhere.gz")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "sub" / "pipe.gz")


def device(folder: Path) -> None:
    (folder / "sub" / "zero.gz").symlink_to("/dev/zero")


def loop(folder: Path) -> None:
    (folder / "sub" / "again").symlink_to(folder)


def link_to_itself(folder: Path) -> None:
    (folder / "sub" / "self.gz").symlink_to("self.gz")


def misname(folder: Path) -> None:
    (folder / "sub" / os.fsdecode(b"caf\xe9.gz")).write_text("c")


def misname_a_folder(folder: Path) -> None:
    path = folder / "sub" / os.fsdecode(b"\xff")
    path.mkdir()
    (path / "c.gz").write_text("c")


def put_a_lake(folder: Path) -> None:
    Lake.open(str(folder / "sub" / "lake"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (dangle, r"sub/gone\.gz is a link to nowhere\.gz, which cannot be followed \(No such file"),
        (pipe, r"sub/pipe\.gz is a pipe, not a file"),
        (device, r"sub/zero\.gz is a device, not a file"),
        (loop, r"sub/again is a link to a folder around it"),
        (link_to_itself, r"sub/self\.gz is a link to self\.gz"),
        (misname, r"sub/caf\\xe9\.gz is not UTF-8: rename"),
        (misname_a_folder, r"sub/\\xff/c\.gz is not UTF-8: rename"),
        (put_a_lake, r"sub/lake is a lake, not input"),
    ],
)
def test_what_cannot_be_an_input_is_told(spoil: Callable[[Path], None], message: str, folder: Path, lake: Lake) -> None:
    spoil(folder)
    with pytest.raises(StoreError, match=message) as refused:
        named(lake, folder)
    str(refused.value).encode("utf-8")
    with pytest.raises(StoreError, match="levels of symbolic links" if spoil is loop else message):
        named(lake, f"{folder}/**")


def test_a_socket_is_told(folder: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s.gz")
        with pytest.raises(StoreError, match=r"s\.gz is a socket"):
            named(lake, folder)


def test_the_lake_itself_is_no_input(tmp_path: Path) -> None:
    lake = Lake.open(str(tmp_path / "lake"))
    with pytest.raises(StoreError, match="is a lake, not input"):
        named(lake, tmp_path / "lake")


def test_links_to_files_and_folders_are_followed(folder: Path, lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "c.gz").write_text("c")
    (tmp_path / "d.gz").write_text("d")
    (folder / "elsewhere").symlink_to(tmp_path / "else")
    (folder / "e.gz").symlink_to(tmp_path / "d.gz")
    assert named(lake, folder) == ["a.gz", "e.gz", "c.gz", "b.gz"]


def test_what_is_left_out_is_counted_in_a_warning(folder: Path, lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    for name in (".DS_Store", ".cache"):
        (folder / name).write_text("x")
    with caplog.at_level(logging.WARNING, "millrace.inputs"):
        assert named(lake, folder) == ["a.gz", "b.gz"]
    assert "2 hidden files or folders in" in caplog.text and ".DS_Store" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "millrace.inputs"):
        assert named(lake, f"{folder}/*") == ["a.gz"]
    assert "matches 1 folders, whose files are left out" in caplog.text
    assert named(lake, folder / ".cache") == [".cache"]


def test_a_folder_and_a_file_that_cannot_be_read_are_told(
    folder: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the system's answer, as the superuser can read everything."""

    def refuse(path: object, *rest: object, **named: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        with pytest.raises(StoreDenied, match=r"the folder .*in cannot be read: Permission denied"):
            named(lake, folder)
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(StoreDenied, match=r"a\.gz cannot be read: Permission denied"), open_input(f"{folder}/a.gz"):
        pass


def test_other_bytes_under_the_same_size_and_time_are_seen(folder: Path, lake: Lake) -> None:
    path = folder / "a.gz"
    [before] = take_inventory(lake, [str(path)]).files
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_text("z")
    os.utime(path, ns=times)
    assert path.stat().st_mtime_ns == times[1]
    with pytest.raises(StoreError, match="changed after this run found it"):
        check_unchanged(before)
    [after] = take_inventory(lake, [str(path)]).files
    assert after.sha256 != before.sha256
    # The same with another file put in its place.
    other = folder / "other"
    other.write_text("y")
    os.utime(other, ns=times)
    other.rename(path)
    assert take_inventory(lake, [str(path)]).files[0].sha256 not in (before.sha256, after.sha256)


def test_a_new_link_or_mode_of_a_file_is_no_change(folder: Path, lake: Lake) -> None:
    path = folder / "a.gz"
    [file] = take_inventory(lake, [str(path)]).files
    path.chmod(0o600)
    os.link(path, folder / "linked")
    check_unchanged(file)
    path.unlink()
    with pytest.raises(StoreError, match="changed after"):
        check_unchanged(file)
    with pytest.raises(NotThere, match="matches no file"):
        named(lake, path)
