"""Runs of deployments use nothing outside their roots; a command without roots uses what its user may."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.store.errors import StoreError
from infra.store.inputs import take_inventory, without_wildcards
from infra.store.lake import Lake
from infra.store.roots import ROOTS, OutsideRoots, given_roots, require_inside


@pytest.fixture
def rooted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only local root; beside it stands a bucket."""
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.setenv(ROOTS, f"{root},s3://bucket/team")
    return root


def test_paths_are_compared_after_links(rooted: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("password")
    (rooted / "link").symlink_to(secret)
    for inside in (rooted, rooted / "a/b", f"file://{rooted}/a", "s3://bucket/team", "s3://bucket/team/a"):
        require_inside(inside, "the lake")
    outside = (secret, rooted / "link", rooted / "../secret", f"{rooted}2", "/", "/etc/shadow", "s3://bucket/teams/a")
    for path in (*outside, "s3://bucket/team/../x", "s3://other/team"):
        with pytest.raises(OutsideRoots, match="millrace up --root"):
            require_inside(path, "the lake")


def test_inputs_lakes_and_links_to_the_outside_are_refused(rooted: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jsonl"
    secret.write_text('{"text": "password"}\n')
    lake = Lake.open(str(rooted / "lake"))
    (rooted / "in").mkdir()
    (rooted / "in" / "a.jsonl").write_text('{"text": "a"}\n')
    assert len(take_inventory(lake, [str(rooted / "in" / "*.jsonl")]).files) == 1
    (rooted / "in" / "b.jsonl").symlink_to(secret)
    for given in (secret, tmp_path / "*.jsonl", rooted / "in", rooted / "in" / "*"):
        with pytest.raises(OutsideRoots, match="the input"):
            take_inventory(lake, [str(given)])
    with pytest.raises(OutsideRoots, match="the lake"):
        Lake.open(str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_a_command_of_the_user_has_no_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ROOTS, raising=False)
    require_inside("/anywhere", "the lake")
    assert given_roots() is None
    monkeypatch.setenv(ROOTS, "")
    assert given_roots() == [], "no root, and not the current folder"
    with pytest.raises(OutsideRoots, match=r"\(none\)"):
        require_inside("/anywhere", "the lake")


@pytest.mark.parametrize(
    ("pattern", "fixed"),
    [("/a/b*/c", "/a/"), ("/a/b", "/a/b"), ("*.gz", "."), ("s3://b/x/*.gz", "s3://b/x/"), ("/*", "/"), ("a/[x]", "a/")],
)
def test_the_fixed_part_of_a_pattern(pattern: str, fixed: str) -> None:
    assert without_wildcards(pattern) == fixed


def test_credentials_in_a_uri_are_refused_and_not_repeated() -> None:
    with pytest.raises(StoreError, match="contains credentials") as error:
        Lake.open("s3://user:hunter2@bucket/lake")
    assert "hunter2" not in str(error.value)
