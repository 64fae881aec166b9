"""Digests of files and of plain values: the identity of everything in the lake."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, BinaryIO

BLOCK = 1 << 20
_CONTAINERS = (dict, list, tuple)


def sha256_bytes(data: bytes) -> str:
    """The hexadecimal sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_stream(stream: BinaryIO) -> str:
    """The hexadecimal sha256 of the rest of `stream`, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    while block := stream.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


def sha256_file(path: Path) -> str:
    """The hexadecimal sha256 of a local file."""
    with open(path, "rb") as stream:
        return sha256_stream(stream)


def canonical(value: Any) -> bytes:
    """`value` as canonical JSON, identical bytes on every machine: sorted keys, UTF-8, no whitespace.

    Raises TypeError for types other than None, bool, int, float, str, list, tuple and dict with string keys, and
    ValueError for NaN and infinities. A key made from `repr(object)` would silently change between runs.
    """
    try:
        text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError):
        _refuse_unstable(value, "value")
        raise
    if not _has_string_keys(value):
        _refuse_unstable(value, "value")
    return text.encode()


def key_of(value: Any) -> str:
    """The hexadecimal sha256 of the canonical JSON of `value`."""
    return sha256_bytes(canonical(value))


def _has_string_keys(value: Any) -> bool:
    """Whether all keys of mappings are strings: what `json` would change silently."""
    around: list[Any] = [value] if isinstance(value, _CONTAINERS) else []
    while around:
        inner = around.pop()
        if isinstance(inner, dict):
            if not all(isinstance(name, str) for name in inner):
                return False
            inner = inner.values()
        around += [item for item in inner if isinstance(item, _CONTAINERS)]
    return True


def _refuse_unstable(value: Any, where: str) -> None:
    """Raise the error of `canonical` that names the place of what has no canonical form."""
    if value is None or isinstance(value, (bool, int, str)):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}: only finite numbers have a canonical form")
        return
    if isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            _refuse_unstable(item, f"{where}[{position}]")
        return
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                raise TypeError(f"{where} has the key {name!r}: only strings can be keys")
            _refuse_unstable(item, f"{where}.{name}")
        return
    raise TypeError(f"{where} is a {type(value).__name__}: only plain values have a canonical form")
