"""Writes a lake back to format 1, as commit 24c0e30 left it: the records of its builds, and the keys of its sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infra.store.digests import key_of
from infra.store.lake import Lake
from infra.store.manifest import Manifest, manifest_path, marker_path, read_manifest
from infra.store.names import all_names, point

ANNOTATIONS = ("paragraphs", "language", "heuristics", "perplexity")


def write_back(folder: Path) -> None:
    """Bring a lake of one source back to format 1."""
    lake = Lake(str(folder))
    for entry in list(lake.list("builds")):
        record = lake.read_json(entry.path)
        old = _old_record(lake, record)
        lake.delete(entry.path)
        lake.write_json(f"builds/{old['key']}.json", old)
        for name, reference in all_names(lake):
            if reference.key == record["key"]:
                point(lake, name, type(reference)(reference.stage, old["key"], reference.digest))
    (folder / "format.json").write_text(json.dumps({"format": 1}))


def _old_record(lake: Lake, record: dict[str, Any]) -> dict[str, Any]:
    [(name, source)] = record["recipe"]["sources"].items()
    made = record["artifacts"]
    documents = read_manifest(lake, *made[f"{name}/documents"])
    assert documents is not None
    artifacts = {f"source/{name}": [documents.stage, _write_old_keys(lake, documents)]}
    artifacts |= {step: made[f"{name}/{step}"] for step in ANNOTATIONS if f"{name}/{step}" in made}
    artifacts |= {"corpus": made[f"{name}/corpus"], "encode": made[f"{name}/encode"]}
    artifacts |= {step: made[step] for step in ("index", "tokenizer", "tokens") if step in made}
    recipe = _old_recipe(record["recipe"], name, source)
    return {
        "key": key_of({"recipe": recipe, "artifacts": artifacts}),
        "digest": record["digest"],
        "recipe": recipe,
        "artifacts": artifacts,
        "digests": {},
        "ledger": record["ledger"],
        "documents": record["documents"],
        "tokens": record["tokens"],
        "created": record["created"],
    }


def _old_recipe(recipe: dict[str, Any], name: str, source: dict[str, Any]) -> dict[str, Any]:
    steps = {step["name"]: step for step in source["steps"]}
    [model] = recipe["models"].values()
    sections = {step: steps[step]["config"] for step in ANNOTATIONS}
    sections["language"] = {**sections["language"], "model": "bundled:lid.176.ftz"}
    rules = [
        {**rule, "stage": rule["column"].partition(".")[0], "column": rule["column"].partition(".")[2]}
        for rule in source["rules"]
    ]
    reader = {"reader": source["read"]["stage"], "config": source["read"]["config"], "inputs": source["inputs"]}
    return {
        "name": recipe["name"],
        "sources": [{"name": name, "share": 1.0, **reader}],
        "reference": [],
        **sections,
        "language_models": model["config"],
        "near_duplicates": steps["near_duplicates"]["config"],
        "floors": [],
        "rules": rules,
        "survivors": ["longest", "earliest"],
        **{field: recipe[field] for field in ("most_failures", "failures_allowed", "tokenizer", "tokens")},
    }


def _write_old_keys(lake: Lake, documents: Manifest) -> str:
    """Move a source's manifest and markers to their keys of format 1, and give the manifest's."""
    new = {
        "stage": documents.stage,
        "version": documents.version,
        "config": documents.config,
        "libraries": documents.libraries,
        "models": documents.models,
    }
    old = {**new, "view": [], "reads": []}
    files = documents.details["files"]
    for file in files:
        keys = [key_of({"identity": identity, "file": file["sha256"]}) for identity in (new, old)]
        _move(lake, *(marker_path(documents.stage, key) for key in keys), keys[1])
    inputs = [[file["uri"].rpartition("/")[2], file["sha256"]] for file in files]
    key = key_of({"identity": old, "inputs": inputs})
    _move(lake, documents.path, manifest_path(documents.stage, key), key)
    return key


def _move(lake: Lake, path: str, to: str, key: str) -> None:
    lake.write_json(to, {**lake.read_json(path), "key": key})
    lake.delete(path)
