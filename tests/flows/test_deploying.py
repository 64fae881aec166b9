"""The choices that forms offer are those of now, and a lake that cannot be read is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import deploying
from flows.recipe import recipe_names
from infra.server.deployments import Deployed
from infra.store.errors import StoreError
from infra.store.lake import Lake
from infra.store.names import Reference, point
from model.presets import preset_names


class Client:
    """The deployments of a server, by name, and their schemas."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {}
        self.parameters: dict[str, Any] = {"recipe": "crawl"}
        self.schedules = [SimpleNamespace(id="1", slug="weekly", parameters={})]
        self.renewed = {"corpus", "recipe", "training"}
        self.again: list[str] = []

    def deploy_file(self, client: Any, root: Path, again: list[str], reset: bool) -> dict[str, Deployed]:
        entrypoints = {
            "corpus": "flows/build.py:build_corpus",
            "recipe": "flows/build.py:build_corpus",
            "training": "flows/train.py:train_model",
        }
        self.again = again
        return {name: Deployed(file, name in self.renewed) for name, file in entrypoints.items()}

    def read_deployment_by_name(self, name: str) -> SimpleNamespace:
        if name.endswith("/corpus"):
            return SimpleNamespace(id=name, parameters=self.parameters, schedules=self.schedules)
        return SimpleNamespace(id=name, parameters={}, schedules=[])

    def update_deployment(self, name: str, update: Any) -> None:
        if update.parameters is not None:
            self.parameters = update.parameters
        else:
            self.schemas[name] = update.parameter_openapi_schema

    def delete_deployment_schedule(self, name: str, schedule: str) -> None:
        self.schedules = [each for each in self.schedules if each.id != schedule]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    """A server, with which prefect.yaml is registered."""
    client = Client()
    monkeypatch.setattr(deploying, "deploy_file", client.deploy_file)
    return client


def offered(schema: dict[str, Any], name: str) -> list[str]:
    found: list[str] = schema["properties"][name]["anyOf"][0]["enum"]
    return found


def test_choices_are_renewed_by_each_deployment(client: Any, tmp_path: Path) -> None:
    lake = Lake.open(str(tmp_path))
    client.renewed = {"training"}
    for name in ("corpus/one", "corpus/two"):
        point(lake, name, Reference("build", "3fa9" * 16, "0" * 64))
        lines = list(deploying.deploy(client, str(tmp_path)))
    assert lines == [
        "kept build-corpus/corpus; its form is renewed",
        "kept build-corpus/recipe; its form is renewed",
        "deployed train-model/training",
    ]
    training = client.schemas["train-model/training"]
    assert offered(training, "corpus") == ["corpus/one", "corpus/two"]
    assert offered(training, "config") == preset_names()
    assert training["properties"]["lake"]["default"] == str(tmp_path)
    assert offered(client.schemas["build-corpus/recipe"], "recipe") == recipe_names()
    assert client.schemas["build-corpus/corpus"]["properties"]["recipe"]["const"] == "crawl"


def test_a_schedule_without_inputs_is_removed_when_it_is_registered(client: Any, tmp_path: Path) -> None:
    """Its runs would fail, each week."""
    lines = list(deploying.deploy(client, str(tmp_path)))
    assert "its schedule weekly would have no inputs, and is removed" in lines[1]
    assert client.schedules == []


def test_a_schedule_of_a_person_is_not_touched(client: Any, tmp_path: Path) -> None:
    client.renewed = set()
    assert len(list(deploying.deploy(client, str(tmp_path)))) == 3
    assert len(client.schedules) == 1


def test_a_schedule_has_the_inputs_that_were_given(client: Any, tmp_path: Path) -> None:
    given = ["crawl/*.warc.gz", "s3://bucket/crawl"]
    wanted = [str(Path("crawl/*.warc.gz").absolute()), "s3://bucket/crawl"]
    for again in ["corpus"], []:  # the second time, they are those of the server
        lines = list(deploying.deploy(client, str(tmp_path), given))
        assert client.again == again
        assert client.parameters == {"recipe": "crawl", "inputs": wanted}
        assert len(lines) == 3 and len(client.schedules) == 1


def test_a_lake_that_cannot_be_read_is_told(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_lake(uri: str) -> Lake:
        raise StoreError("no such bucket")

    monkeypatch.setattr(deploying, "Lake", SimpleNamespace(open=open_lake))
    first, *rest = deploying.deploy(client, "s3://away/lake")
    assert first == "the forms cannot list the corpora of the lake s3://away/lake: no such bucket"
    assert len(rest) == 4
    assert client.schemas["train-model/training"]["properties"]["corpus"]["type"] == "string"
