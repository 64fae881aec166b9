"""A patient lake waits for its store, and says so; an impatient one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3fs

from infra.store import patient
from infra.store.errors import NotThere, StoreUnavailable
from infra.store.lake import Lake
from infra.store.patient import PatientLake
from tests.network import Network
from tests.swift import SwiftStore

OPERATIONS: dict[str, Callable[[Lake, Path], object]] = {
    "read": lambda lake, local: lake.read("there"),
    "write": lambda lake, local: lake.write("new", b"1"),
    "upload": lambda lake, local: lake.upload(local, "new"),
    "download": lambda lake, local: lake.download("there", local.with_name("copy")),
    "size": lambda lake, local: lake.size("there"),
    "list": lambda lake, local: list(lake.list("")),
    "unfinished": lambda lake, local: list(lake.unfinished()),
    "delete": lambda lake, local: lake.delete("gone"),
    "open": lambda lake, local: type(lake).open(lake.uri),
}


@pytest.fixture
def network(swift: SwiftStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """The way to a store, for this process's clients."""
    with Network(swift.endpoint) as network:
        for name, value in {**swift.environment(), "AWS_ENDPOINT_URL": network.endpoint}.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield network
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def lake(network: Network, swift: SwiftStore) -> PatientLake:
    lake = PatientLake.open(f"s3://{swift.bucket()}/lake")
    lake.write("there", b"123")
    return lake


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_outage_delays_and_is_told(
    operation: str,
    lake: PatientLake,
    network: Network,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    local = tmp_path / "local"
    local.write_bytes(b"local")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            network.mend()

    monkeypatch.setattr(patient.time, "sleep", pause)
    network.cut()
    OPERATIONS[operation](lake, local)
    assert len(pauses) == 2 and network.refused
    first, last = capsys.readouterr().err.splitlines()
    assert lake.uri in first and "trying again" in first
    assert last.startswith(f"{lake.uri} answers again after ")


def test_patience_ends(lake: PatientLake, network: Network) -> None:
    network.cut()
    with pytest.raises(StoreUnavailable):
        PatientLake(lake.uri, patience_seconds=0.0).read("there")
    with pytest.raises(StoreUnavailable):
        lake.impatient().read("there")
    network.mend()
    assert lake.read("there") == b"123"


def test_other_errors_are_not_waited_for(lake: PatientLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient.time, "sleep", lambda seconds: pytest.fail("waited"))
    with pytest.raises(NotThere):
        lake.read("nothing")


def test_what_one_lake_writes_the_other_reads(tmp_path: Path) -> None:
    lake = PatientLake.open(str(tmp_path / "lake"))
    lake.write_json("a", {"b": 1})
    assert lake.impatient().read_json("a") == {"b": 1}
    assert lake.local_path("a") == Path(lake.uri, "a")
