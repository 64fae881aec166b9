"""The keys of runs, recorded: a lake that was written yesterday must be found under the same keys tomorrow."""

from __future__ import annotations

from typing import Any

import pytest

from infra.store.digests import key_of
from model.presets import preset, preset_names
from model.run.config import run_config

KEYS = {
    "llama-7b": "41d0934fcf05e28476090d5e75ca989cca5ae791e579119308b2246984b584f3",
    "neox-20b": "36c6895166629f6ed3a57084bcd888d13c3bfc23de56c15b1d3e678b5b137aea",
    "opt-175b": "95a132975ffff59f006e3d3ad7c803985ec6cf16c0bc68af1a2c138117c1d7cc",
    "pythia-1.4b": "66d6a44e4457c2b0653e8f7b9f2dc823ae36b25e1089f531e0019324a3c43999",
    "tiny-llama": "c62bcdd8c00b6cc3bba7d078285b240bb67d87242b7d734c580e0689f7ebe33c",
    "tiny-opt": "c0f5a456e1063b5cd1ae6b5936b4488f0b8a37973a1fee6184d143bf0175f00c",
    "tiny-pythia": "2d1a5289d2fa70e00d67c0935d05a35910573e6d597cdf71b2b29aa516ebe743",
}
# With every optional part of a configuration: validation, spikes, scaler, an origin with inherited changes.
FULL = "50d79e80652b1544be5fbc0f4426c8ff99c4da102d0da90c2b28a02d3017c54c"
ALL = "680022762a8fd6ab42dfdeb0b16d9604c4928fa8ae1ceef9cb78e9a00bbeb47e"


def values_of(name: str, **changes: Any) -> dict[str, Any]:
    """run.json of a preset over one source with fixed digests."""

    def part(letter: str, suffix: str) -> dict[str, Any]:
        return {
            "sha256": letter * 64,
            "bytes": 2048,
            "rows": 1,
            "content": letter * 64,
            "name": f"web.{suffix}",
            "suffix": suffix,
        }

    source = {"name": "web", "weight": 0.75, "epochs": 2, "bin": part("a", ".bin"), "idx": part("b", ".idx")}
    values = preset(name)
    return {"model": values["model"], "training": values["training"], "sources": [source], "seed": 7} | changes


@pytest.mark.parametrize("name", sorted(KEYS))
def test_the_key_of_a_preset_is_the_recorded_one(name: str) -> None:
    assert run_config(values_of(name)).key == KEYS[name]


def test_the_keys_of_all_presets_are_the_recorded_ones() -> None:
    assert key_of([run_config(values_of(name)).key for name in preset_names()]) == ALL


def test_the_key_of_a_full_configuration_is_the_recorded_one() -> None:
    assert run_config(full_values()).key == FULL


def test_what_is_stored_is_read_back_as_it_was() -> None:
    config = run_config(full_values())
    assert run_config(config.to_plain()) == config
    assert config.to_plain()["training"] == full_values()["training"]


def full_values() -> dict[str, Any]:
    """A configuration in which no optional part is left out."""
    values = values_of("tiny-pythia", label="second", end_of_document=0)
    values["training"] |= {
        "precision": "fp16",
        "scaler": {"kind": "metaseq", "initial": 4.0, "window": 256, "hysteresis": 1, "minimum": 0.03125},
        "packing": "blocks",
        "reset_boundaries": True,
        "validation": {"every": 10, "sequences": 16},
        "spikes": {
            "deviations": 5.0,
            "window": 64,
            "skip": False,
            "patience": 3,
            "rollback": 1,
            "lower": 0.5,
            "limit": 4,
        },
    }
    values["validation_sources"] = [{**values["sources"][0], "name": "held-out"}]
    values["origin"] = {
        "run": "c" * 64,
        "step": 12,
        "digest": "d" * 64,
        "next_sequence": 192,
        "inherited": {"learning_rate": None, "factor": 0.5, "clip": 0.5, "left_out": [[0, 16]]},
    }
    return values
