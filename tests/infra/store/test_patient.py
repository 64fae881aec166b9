"""A patient lake waits for its store, and says so; an impatient one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import s3fs

from infra.store import patient
from infra.store.errors import NotThere, StoreUnavailable
from infra.store.lake import Entry, Lake
from infra.store.patient import PatientLake
from tests.network import Network
from tests.swift import SwiftStore

# Each with the method of a lake that it needs.
OPERATIONS: dict[str, Callable[[Lake, Path], object]] = {
    "read": lambda lake, local: lake.read("there"),
    "write": lambda lake, local: lake.write("new", b"1"),
    "upload": lambda lake, local: lake.upload(local, "new"),
    "download": lambda lake, local: lake.download("there", local.with_name("copy")),
    "entry": lambda lake, local: lake.size("there"),
    "list": lambda lake, local: list(lake.list("")),
    "unfinished": lambda lake, local: list(lake.unfinished()),
    "discard": lambda lake, local: lake.discard(Entry("gone", 0, 0.0, "gone")),
    "delete": lambda lake, local: lake.delete("gone"),
}


@pytest.fixture
def lake(tmp_path: Path) -> PatientLake:
    lake = PatientLake.open(str(tmp_path / "lake"))
    lake.write("there", b"123")
    return lake


@pytest.mark.parametrize("method", OPERATIONS)
def test_an_outage_delays_and_is_told(
    method: str,
    lake: PatientLake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    local = tmp_path / "local"
    local.write_bytes(b"local")
    pauses: list[float] = []
    real = getattr(Lake, method)

    def fails_twice(self: Lake, *arguments: Any) -> Any:
        if len(pauses) < 2:
            raise StoreUnavailable(f"{self.uri}: the store did not answer")
        return real(self, *arguments)

    monkeypatch.setattr(patient, "sleep", pauses.append)
    monkeypatch.setattr(Lake, method, fails_twice)
    OPERATIONS[method](lake, local)
    assert len(pauses) == 2 and 0.5 <= pauses[0] <= 1 <= pauses[1] <= 2
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{lake.uri}: the store did not answer; trying again for")
    assert last.startswith(f"{lake.uri} answers again after ")


@pytest.fixture
def network(swift: SwiftStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """The way to a store, for this process's clients."""
    with Network(swift.endpoint) as network:
        for name, value in {**swift.environment(), "AWS_ENDPOINT_URL": network.endpoint}.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield network
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_real_store_that_comes_back(network: Network, swift: SwiftStore, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = PatientLake.open(f"s3://{swift.bucket()}/lake")
    lake.write("there", b"123")
    network.cut()
    with pytest.raises(StoreUnavailable):
        PatientLake(lake.uri, patience_seconds=0.0).read("there")
    monkeypatch.setattr(patient, "sleep", lambda seconds: network.mend())
    assert lake.read("there") == b"123"
    assert network.refused


def test_other_errors_are_not_waited_for(lake: PatientLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient, "sleep", lambda seconds: pytest.fail("waited"))
    with pytest.raises(NotThere):
        lake.read("nothing")


def test_what_one_lake_writes_the_other_reads(lake: PatientLake) -> None:
    lake.write_json("a", {"b": 1})
    assert lake.impatient().read_json("a") == {"b": 1}
    assert lake.local_path("a") == Path(lake.uri, "a")
