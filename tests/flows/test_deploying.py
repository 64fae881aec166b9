"""The choices that forms offer are those of now, and a lake that cannot be read is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import deploying
from flows.recipe import recipe_names
from infra.store.errors import StoreError
from infra.store.lake import Lake
from infra.store.names import Reference, point
from model.presets import preset_names


class Client:
    """The deployments of a server, by name, and their schemas."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {}

    def read_deployment_by_name(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(id=name, parameters={"recipe": "crawl"} if name.endswith("/corpus") else {})

    def update_deployment(self, name: str, update: Any) -> None:
        self.schemas[name] = update.parameter_openapi_schema


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    """A server on which prefect.yaml is registered already."""
    entrypoints = {
        "corpus": "flows/build.py:build_corpus",
        "recipe": "flows/build.py:build_corpus",
        "training": "flows/train.py:train_model",
    }
    monkeypatch.setattr(deploying, "deploy_file", lambda root: entrypoints)
    return Client()


def offered(schema: dict[str, Any], name: str) -> list[str]:
    found: list[str] = schema["properties"][name]["anyOf"][0]["enum"]
    return found


def test_choices_are_renewed_by_each_deployment(client: Any, tmp_path: Path) -> None:
    lake = Lake.open(str(tmp_path))
    for name in ("corpus/one", "corpus/two"):
        point(lake, name, Reference("build", "3fa9", ""))
        lines = list(deploying.deploy(client, str(tmp_path)))
    assert lines == [
        "deployed build-corpus/corpus",
        "deployed build-corpus/recipe",
        "deployed train-model/training",
    ]
    training = client.schemas["train-model/training"]
    assert offered(training, "corpus") == ["corpus/one", "corpus/two"]
    assert offered(training, "config") == preset_names()
    assert training["properties"]["lake"]["default"] == str(tmp_path)
    assert offered(client.schemas["build-corpus/recipe"], "recipe") == recipe_names()
    assert client.schemas["build-corpus/corpus"]["properties"]["recipe"]["const"] == "crawl"


def test_a_lake_that_cannot_be_read_is_told(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_lake(uri: str) -> Lake:
        raise StoreError("no such bucket")

    monkeypatch.setattr(deploying, "Lake", SimpleNamespace(open=open_lake))
    first, *rest = deploying.deploy(client, "s3://away/lake")
    assert first == "the forms cannot list the corpora of the lake s3://away/lake: no such bucket"
    assert len(rest) == 3
    assert client.schemas["train-model/training"]["properties"]["corpus"]["type"] == "string"
