"""Model files of stages: files of an installed package, local files, or parts of a fitted artifact."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.store.digests import sha256_file
from infra.store.lake import Lake
from infra.store.manifest import Manifest, Part, fetch_part


@dataclass(frozen=True)
class ModelFiles:
    """The named files of one model: local files with their digests, or parts in the lake."""

    local: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()

    def identity(self) -> dict[str, str]:
        """File name → digest, as it enters keys. For a part, the digest is its content digest."""
        return {**self.digests, **{part.name: part.content for part in self.parts}}

    def fetch(self, lake: Lake, cache: Path) -> dict[str, Path]:
        """File name → local path. Fetches and verifies files that are parts in the lake."""
        fetched = {part.name: fetch_part(lake, part, cache) for part in self.parts}
        return {**{name: Path(path) for name, path in self.local.items()}, **fetched}


def packaged_model(package: str, name: str) -> ModelFiles:
    """The model file `name` of an installed package, whose code does not run. Raises ModuleNotFoundError."""
    top, *folders = package.split(".")
    found = importlib.util.find_spec(top)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"there is no package {top}, which contains the model {name}: run the set-up again")
    return local_model({name: Path(found.submodule_search_locations[0], *folders, name)})


def local_model(files: Mapping[str, Path]) -> ModelFiles:
    """A model of local files, by name; computes their sha256."""
    return ModelFiles(
        local={name: str(path) for name, path in files.items()},
        digests={name: sha256_file(path) for name, path in files.items()},
    )


def fitted_model(manifest: Manifest) -> ModelFiles:
    """The files of a fitted artifact."""
    return ModelFiles(parts=manifest.parts)


NO_MODEL = ModelFiles()
