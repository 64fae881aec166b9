"""What Kubernetes' API server takes as a name, a quantity and an image, which no schema says.

The rules are those of apimachinery (`util/validation/validation.go`, `api/resource/quantity.go`). Messages call a value
by the option of `millrace launch kubernetes` that it came with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal


class ManifestError(ValueError):
    """A value, or a field of the manifest, that Kubernetes would not take."""


@dataclass(frozen=True)
class Names:
    """A kind of names: the whole of one, and the same in words."""

    pattern: str
    allowed: str


_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
LABEL = Names(_LABEL, "small letters, digits and '-' inside")  # RFC 1123
SUBDOMAIN = Names(rf"{_LABEL}(\.{_LABEL})*", "small letters, digits, and '-' and '.' inside")  # RFC 1123
SERVICE = Names(r"[a-z]([-a-z0-9]*[a-z0-9])?", "small letters, digits and '-' inside, a letter first")  # RFC 1035
VARIABLE = Names(r"(?!\.\.|\.$)[-._a-zA-Z][-._a-zA-Z0-9]*", "letters, digits, '_', '-' and '.', no digit first")

# Thousandths and less, which it takes as well, are left out: 128m is a slip of the pen.
_QUANTITY = r"(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,2}|[kMGTPE]|[KMGTPE]i)?"
_UNITS = {
    **{unit: 1000**power for power, unit in enumerate(("", *"kMGTPE"))},
    **{f"{unit}i": 1024**power for power, unit in enumerate("KMGTPE", 1)},
}
_IMAGE = r"[^\s@]+?(:(?P<tag>\w[\w.-]*))?(@(?P<digest>\w+:[0-9a-fA-F]{32,}))?"


def require_name(option: str, name: str, names: Names, longest: int) -> None:
    """Raise ManifestError unless `name` is one of `names`, of at most `longest` characters."""
    if not re.fullmatch(names.pattern, name) or len(name) > longest:
        raise ManifestError(f"--{option} {name}: no name for Kubernetes, which has up to {longest} {names.allowed}")


def require_fixed_version(option: str, image: str) -> None:
    """Raise ManifestError unless an image has a digest, or a tag other than ``latest``."""
    match = re.fullmatch(_IMAGE, image, re.ASCII)
    if match is None or (match["digest"] is None and (match["tag"] or "latest").lower() == "latest"):
        raise ManifestError(
            f"--{option} {image}: name one fixed version, as IMAGE:TAG or IMAGE@DIGEST, so that every machine and "
            "every restart runs the same program"
        )


def bytes_of(option: str, quantity: str) -> Decimal:
    """The bytes of a quantity such as 128Gi. Raises ManifestError."""
    match = re.fullmatch(_QUANTITY, quantity, re.ASCII)
    if match is not None:
        number, unit = match[1], match[2] or ""
        value = Decimal(number) * _UNITS[unit] if unit in _UNITS else Decimal(number + unit)
        if value > 0:
            return value
    raise ManifestError(
        f"--{option} {quantity}: no quantity of bytes for Kubernetes; give one above 0, such as 128Gi (1024³) or 128G "
        "(1000³)"
    )
