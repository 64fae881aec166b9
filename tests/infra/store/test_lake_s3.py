"""The lake on a real S3 store: what it promises on a local folder holds there too, on good days and on bad ones."""

from __future__ import annotations

import os
import pickle
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import pytest
import s3fs

from infra.store import garbage
from infra.store import lake as lake_module
from infra.store.digests import sha256_file
from infra.store.errors import NotThere, StoreDenied, StoreError, StoreUnavailable
from infra.store.garbage import GRACE_SECONDS, plan_sweep, sweep
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Marker, marker_path, store_part, write_marker
from tests.network import Network, throttling
from tests.swift import SwiftStore

MIB = 1 << 20

OPERATIONS: dict[str, Callable[[Lake, Path], object]] = {
    "read": lambda lake, local: lake.read("there"),
    "write": lambda lake, local: lake.write("new", b"1"),
    "upload": lambda lake, local: lake.upload(local, "new"),
    "download": lambda lake, local: lake.download("there", local.with_name("copy")),
    "size": lambda lake, local: lake.size("there"),
    "size of nothing": lambda lake, local: lake.size("nothing"),
    "list": lambda lake, local: list(lake.list("")),
    "delete": lambda lake, local: lake.delete("there"),
    "open": lambda lake, local: Lake.open(lake.uri),
}


@pytest.fixture
def lake(swift: SwiftStore, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A new lake in a bucket of its own."""
    for name, value in swift.environment().items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    return Lake.open(f"s3://{swift.bucket()}/some/lake")


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "local"
    path.write_bytes(b"local")
    return path


def test_what_is_written_is_read(lake: Lake, tmp_path: Path, local: Path) -> None:
    lake.write("a/b.bin", bytes(range(256)))
    assert lake.read("a/b.bin") == bytes(range(256))
    assert lake.size("a/b.bin") == 256
    lake.upload(local, "a/c")
    lake.download("a/c", tmp_path / "copy" / "c")
    assert (tmp_path / "copy" / "c").read_bytes() == b"local"
    assert [(entry.path, entry.size) for entry in lake.list("")] == [("a/b.bin", 256), ("a/c", 5), ("format.json", 12)]


def test_what_was_never_written_is_not_there(lake: Lake, tmp_path: Path) -> None:
    lake.write("folder/object", b"1")
    for path in ("nothing", "folder", "folder/object/below"):
        assert lake.size(path) is None
        with pytest.raises(NotThere, match=path):
            lake.read(path)
        with pytest.raises(NotThere, match=path):
            lake.download(path, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []
    assert list(lake.list("nothing")) == []


def test_empty_objects_are_objects(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    lake.upload(tmp_path / "empty", "uploaded")
    lake.write("written", b"")
    for path in ("uploaded", "written"):
        assert lake.size(path) == 0
        assert lake.read(path) == b""
        lake.download(path, tmp_path / path)
        assert (tmp_path / path).read_bytes() == b""
    assert [entry.path for entry in lake.list("")] == ["format.json", "uploaded", "written"]


def test_a_key_may_hold_any_character_that_a_path_may(lake: Lake, tmp_path: Path) -> None:
    names = [
        "with blank", "plus+and&and=", "100%", "%2Fescaped", "question?mark", "hash#tag", "star*[a-z]", "{brace}~'",
        "quote\"s", "a:b;c,d@e!f$g(h)", "ünïcödé", "日本語", "кириллица", "emoji-🦦", "dots..and.",
        "<&>", "corpus/weekly@2026.11.21", "crawl.warc.gz#0",
    ]  # fmt: skip
    for name in names:
        lake.write(f"keys/{name}", name.encode())
    assert [entry.path for entry in lake.list("keys")] == sorted(f"keys/{name}" for name in names)
    for name in names:
        assert lake.read(f"keys/{name}") == name.encode()
        assert lake.size(f"keys/{name}") == len(name.encode())
        lake.download(f"keys/{name}", tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == name.encode()
        lake.delete(f"keys/{name}")
    assert list(lake.list("keys")) == []


def test_a_key_that_s3fs_would_cut_is_refused(lake: Lake, local: Path) -> None:
    lake.write("a", b"another")
    for operation in (
        lambda path: lake.read(path),
        lambda path: lake.size(path),
        lambda path: lake.write(path, b"1"),
        lambda path: lake.upload(local, path),
        lambda path: lake.delete(path),
        lambda path: Lake.open(f"{lake.uri}/{path}"),
    ):
        with pytest.raises(StoreError, match="another object"):
            operation("a?versionId=1")
    assert lake.read("a") == b"another"


def test_a_key_that_is_too_long_is_not_tried_again(lake: Lake) -> None:
    with pytest.raises(StoreError, match="too long") as caught:
        lake.write("a" * 1100, b"1")
    assert type(caught.value) is StoreError


@pytest.mark.usefixtures("lake")
@pytest.mark.parametrize("bucket", ["with blank", "Under_score", "ab"])
def test_a_bucket_name_that_can_never_be_is_not_asked_for_again(bucket: str) -> None:
    with pytest.raises(StoreError, match="Name another place") as caught:
        Lake.open(f"s3://{bucket}/lake")
    assert type(caught.value) is StoreError


def test_ages_are_told_and_a_sweep_goes_by_them(lake: Lake, local: Path) -> None:
    part = store_part(lake, local, name="a", rows=1, content="c" * 64, suffix=".bin")
    empty = Marker("a" * 64, (), Account(), 0.0)
    write_marker(lake, "toy", empty)
    found = lake.entry(part.path)
    assert found is not None
    assert abs(found.modified - time.time()) < 60
    assert plan_sweep(lake).entries == ()
    with patch.object(garbage, "store_time", return_value=time.time() + 2 * GRACE_SECONDS):
        planned = plan_sweep(lake)
    assert [entry.path for entry in planned.entries] == [part.path]
    sweep(lake, planned)
    assert [entry.path for entry in lake.list("")] == ["format.json", marker_path("toy", empty.key)]


def test_a_bucket_that_is_gone_is_not_an_empty_folder(lake: Lake) -> None:
    with pytest.raises(NotThere):
        list(Lake("s3://no-such-bucket/lake").list("names"))
    assert list(lake.list("names")) == []


def test_a_large_file_goes_up_in_parts_and_comes_back_whole(lake: Lake, swift: SwiftStore, tmp_path: Path) -> None:
    source = _random_file(tmp_path / "source", 70 * MIB)
    lake.upload(source, "parts/large")
    bucket, _, prefix = lake.uri.removeprefix("s3://").partition("/")
    tag = swift.client().head_object(Bucket=bucket, Key=f"{prefix}/parts/large")["ETag"]
    assert tag.strip('"').endswith("-3"), "32 + 32 + 6 MiB: a multipart upload of three parts"
    assert lake.size("parts/large") == 70 * MIB
    lake.download("parts/large", tmp_path / "copy")
    assert sha256_file(tmp_path / "copy") == sha256_file(source)
    assert [(entry.path, entry.size) for entry in lake.list("parts")] == [("parts/large", 70 * MIB)]
    lake.delete("parts/large")
    assert lake.size("parts/large") is None


def test_a_listing_of_many_pages_is_complete_and_in_order(lake: Lake) -> None:
    paths = [f"markers/{number % 7}/{number:04}.json" for number in range(350)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda path: lake.write(path, path.encode()), paths))
    assert [entry.path for entry in lake.list("markers")] == sorted(paths)
    assert [entry.path for entry in lake.list("markers/3")] == sorted(path for path in paths if "/3/" in path)


def test_a_folder_is_not_its_namesake(lake: Lake) -> None:
    for path in ("part/1", "parts/2", "part-3", "part"):
        lake.write(path, b"1")
    assert [entry.path for entry in lake.list("part")] == ["part/1"]
    assert list(lake.list("part-3")) == []


def test_what_is_deleted_is_gone_at_once(lake: Lake) -> None:
    for number in range(5):
        lake.write(f"a/{number}", b"1")
    assert len(list(lake.list("a"))) == 5
    lake.delete("a/2")
    lake.delete("a/2")
    lake.delete("a/never")
    assert [entry.path for entry in lake.list("a")] == ["a/0", "a/1", "a/3", "a/4"]
    assert lake.size("a/2") is None
    with pytest.raises(NotThere):
        lake.read("a/2")


def test_what_others_write_is_seen_at_once(lake: Lake, swift: SwiftStore, tmp_path: Path) -> None:
    lake.write("ref.json", b"old")
    assert (lake.read("ref.json"), lake.size("ref.json"), lake.size("new")) == (b"old", 3, None)
    assert [entry.path for entry in lake.list("")] == ["format.json", "ref.json"]
    script = (
        "import pickle, sys; lake = pickle.load(sys.stdin.buffer); lake.write('ref.json', b'newer'); "
        "lake.write('new', b'1'); lake.delete('format.json')"
    )
    subprocess.run([sys.executable, "-c", script], input=pickle.dumps(lake), check=True)
    assert (lake.read("ref.json"), lake.size("ref.json"), lake.size("new")) == (b"newer", 5, 1)
    lake.download("ref.json", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"newer"
    assert [(entry.path, entry.size) for entry in lake.list("")] == [("new", 1), ("ref.json", 5)]
    assert lake.size("format.json") is None


def test_two_lakes_in_one_bucket_do_not_mix(lake: Lake) -> None:
    other = Lake.open(f"{lake.uri}-2")
    lake.write("a", b"1")
    other.write("a", b"22")
    assert (lake.read("a"), other.read("a")) == (b"1", b"22")
    assert [entry.path for entry in lake.list("")] == ["a", "format.json"]


def test_a_lake_may_be_a_whole_bucket(lake: Lake, swift: SwiftStore) -> None:
    whole = Lake.open(f"s3://{swift.bucket()}/")
    whole.write("a/b", b"1")
    assert [entry.path for entry in whole.list("")] == ["a/b", "format.json"]
    assert Lake.open(whole.uri) == whole


@pytest.mark.usefixtures("lake")
def test_a_missing_bucket_is_named_with_its_cure() -> None:
    with pytest.raises(StoreError, match=r"s3://no-such-bucket/lake.*Make the bucket"):
        Lake.open("s3://no-such-bucket/lake")


@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_wrong_credentials_are_denied(
    lake: Lake, local: Path, operation: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "wrong")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StoreDenied, match="Check the credentials"):
        OPERATIONS[operation](lake, local)


def test_missing_credentials_are_denied_with_the_cure(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StoreDenied, match="Set AWS_ACCESS_KEY_ID"):
        lake.read("there")


def test_a_store_that_is_gone_is_unavailable_and_loses_nothing(
    lake: Lake, swift: SwiftStore, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write("there", b"1")
    monkeypatch.setattr(lake_module, "_TRIES_INSIDE", 1)
    swift.stop_proxy()
    try:
        for name, operation in OPERATIONS.items():
            with pytest.raises(StoreUnavailable):
                operation(lake, local)
                pytest.fail(f"{name} answered")
    finally:
        swift.start_proxy()
    assert lake.read("there") == b"1"
    assert [entry.path for entry in lake.list("")] == ["format.json", "there"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_throttling_store_is_unavailable(
    lake: Lake, local: Path, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_module, "_TRIES_INSIDE", 1)
    with throttling() as (endpoint, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(StoreUnavailable):
            OPERATIONS[operation](lake, local)
        assert 0 < len(asked) <= 2, "asked no oftener than the store can bear: the engine asks again, with patience"


def test_a_store_that_throttles_for_a_moment_is_asked_again(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    with throttling(refusals=2) as (endpoint, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        assert lake.read("there") == b"answer"
        assert asked == ["GET", "GET", "GET"], "a read is one request"


def test_a_store_that_never_answers_is_unavailable(lake: Lake, local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake_module, "_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(lake_module, "_WRITE_SECONDS", 1.0)
    monkeypatch.setattr(lake_module, "_TRIES_INSIDE", 1)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        for name, operation in OPERATIONS.items():
            with pytest.raises(StoreUnavailable):
                operation(lake, local)
                pytest.fail(f"{name} answered")


@pytest.mark.parametrize("size", [20 * MIB, 70 * MIB], ids=["in one piece", "in parts"])
def test_an_upload_that_breaks_off_is_never_seen(
    lake: Lake, swift: SwiftStore, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_module, "_TRIES_INSIDE", 1)
    source = _random_file(tmp_path / "source", size)
    lake.write("replaced", b"old")
    with Network(swift.endpoint, to_store=8 * MIB) as broken:
        monkeypatch.setenv("AWS_ENDPOINT_URL", broken.endpoint)
        for path in ("new", "replaced"):
            with pytest.raises(StoreUnavailable, match=path):
                lake.upload(source, path)
        with pytest.raises(StoreUnavailable, match="new"):
            lake.write("new", source.read_bytes())
    monkeypatch.setenv("AWS_ENDPOINT_URL", swift.endpoint)
    assert lake.size("new") is None
    assert lake.read("replaced") == b"old"
    assert [entry.path for entry in lake.list("")] == ["format.json", "replaced"]
    bucket = lake.uri.removeprefix("s3://").partition("/")[0]
    assert "Uploads" not in swift.client().list_multipart_uploads(Bucket=bucket), "parts without an object cost money"


def test_a_process_killed_in_an_upload_leaves_nothing_to_be_seen(
    lake: Lake, swift: SwiftStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _random_file(tmp_path / "source", 70 * MIB)
    script = "import pickle, sys, pathlib; pickle.load(sys.stdin.buffer).upload(pathlib.Path(sys.argv[1]), 'new')"
    with Network(swift.endpoint, to_store=8 * MIB, stall=True) as stalling:
        environment = os.environ | {"AWS_ENDPOINT_URL": stalling.endpoint}
        command = [sys.executable, "-c", script, str(source)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as process:
            assert process.stdin is not None
            process.stdin.write(pickle.dumps(lake))
            process.stdin.close()
            assert stalling.reached.wait(30)
            process.kill()
    assert lake.size("new") is None
    assert [entry.path for entry in lake.list("")] == ["format.json"]
    [left] = lake.unfinished()
    assert (left.path, left.size) == ("new", 0)
    lake.upload(source, "new")
    assert lake.size("new") == 70 * MIB
    assert plan_sweep(lake).entries == (), "it may be an upload that goes on"
    assert list(Lake(f"{lake.uri}/new").unfinished()) == []
    with patch.object(garbage, "store_time", return_value=time.time() + 2 * GRACE_SECONDS):
        planned = plan_sweep(lake)
    assert [entry.upload for entry in planned.entries] == [left.upload]
    sweep(lake, planned)
    sweep(lake, planned)
    assert list(lake.unfinished()) == []
    assert lake.size("new") == 70 * MIB


def test_a_download_whose_connection_breaks_goes_on(
    lake: Lake, swift: SwiftStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _random_file(tmp_path / "source", 5 * MIB)
    lake.upload(source, "object")
    with Network(swift.endpoint, from_store=2 * MIB, breaks=1) as broken:
        monkeypatch.setenv("AWS_ENDPOINT_URL", broken.endpoint)
        lake.download("object", tmp_path / "copy")
        assert broken.reached.is_set()
    assert sha256_file(tmp_path / "copy") == sha256_file(source)


def test_a_download_that_breaks_off_leaves_no_file(
    lake: Lake, swift: SwiftStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.upload(_random_file(tmp_path / "source", 5 * MIB), "object")
    (tmp_path / "folder").mkdir()
    with Network(swift.endpoint, from_store=MIB) as broken:
        monkeypatch.setenv("AWS_ENDPOINT_URL", broken.endpoint)
        with pytest.raises(StoreUnavailable, match="object"):
            lake.download("object", tmp_path / "folder" / "copy")
        with pytest.raises(StoreUnavailable, match="object"):
            lake.read("object")
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_lake_of_another_format_is_refused(lake: Lake) -> None:
    lake.write_json("format.json", {"format": 99})
    with pytest.raises(StoreError, match="format 99"):
        Lake.open(lake.uri)


def _random_file(path: Path, size: int) -> Path:
    path.write_bytes(random.Random(0).randbytes(size))
    return path
