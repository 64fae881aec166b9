"""The same line with its lake and its inputs in an S3 store."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.flows.conftest import Millrace, build, digests
from tests.swift import SwiftStore


@pytest.fixture
def on_swift(millrace: Millrace, swift: SwiftStore) -> Millrace:
    """The command with the store's credentials."""
    return Millrace({**millrace.environment, **swift.environment()})


def test_a_build_on_s3_gives_the_digests_of_a_local_one(
    millrace: Millrace, on_swift: Millrace, swift: SwiftStore, pages: list[str], tmp_path: Path
) -> None:
    local = build(millrace, tmp_path / "lake", pages[:1], "--workers", "1")
    bucket = swift.bucket()
    client = swift.client()
    client.put_object(Bucket=bucket, Key="in/pages.warc.gz", Body=Path(pages[0]).read_bytes())
    lake = f"s3://{bucket}/lake"
    # Killed between a part and its marker, then finished with another number of workers.
    arguments = ("build", "crawl", "--input", f"s3://{bucket}/in/*.warc.gz", "--lake", lake, "--workers", "2")
    killed = on_swift.run(*arguments, MILLRACE_FAULT="before_marker:20", MILLRACE_FAULT_FOLDER=str(tmp_path))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    remote = build(on_swift, lake, [f"s3://{bucket}/in/"], "--workers", "1")
    assert digests(remote) == digests(local)
    assert remote["uri"].startswith(lake)
    assert on_swift.json("verify", "corpus/crawl", "--lake", lake)["faults"] == []
    secret = swift.environment()["AWS_SECRET_ACCESS_KEY"]
    listed = client.list_objects_v2(Bucket=bucket, Prefix="lake/artifacts")["Contents"]
    manifests = [client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read() for item in listed]
    assert not any(secret.encode() in manifest for manifest in manifests)


def test_a_wrong_secret_is_one_short_message(on_swift: Millrace, swift: SwiftStore, pages: list[str]) -> None:
    wrong = Millrace({**on_swift.environment, "AWS_SECRET_ACCESS_KEY": "wrong"})
    done = wrong.run("build", "crawl", "--input", pages[0], "--lake", f"s3://{swift.bucket()}/lake")
    assert done.returncode == 1
    assert "refused" in done.stderr
    assert "Traceback" not in done.stderr
