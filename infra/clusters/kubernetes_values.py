"""The API server's rules for names, quantities and images, which the schemas do not contain.

Source: apimachinery (`util/validation/validation.go`, `api/resource/quantity.go`). Messages name the option of
`millrace launch kubernetes` that set a value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal


class ManifestError(ValueError):
    """A value or a field of the manifest that Kubernetes would reject."""


@dataclass(frozen=True)
class Names:
    """A kind of name: a pattern for the whole name, and its description in words."""

    pattern: str
    allowed: str


_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
LABEL = Names(_LABEL, "small letters, digits and '-' inside")  # RFC 1123
SUBDOMAIN = Names(rf"{_LABEL}(\.{_LABEL})*", "small letters, digits, and '-' and '.' inside")  # RFC 1123
SERVICE = Names(r"[a-z]([-a-z0-9]*[a-z0-9])?", "small letters, digits and '-' inside, a letter first")  # RFC 1035
VARIABLE = Names(r"(?!\.\.|\.$)[-._a-zA-Z][-._a-zA-Z0-9]*", "letters, digits, '_', '-' and '.', no digit first")

# Kubernetes also accepts thousandths and smaller units. They are rejected here: 128m is most likely a typo.
_QUANTITY = r"(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,2}|[kMGTPE]|[KMGTPE]i)?"
_UNITS = {
    **{unit: 1000**power for power, unit in enumerate(("", *"kMGTPE"))},
    **{f"{unit}i": 1024**power for power, unit in enumerate("KMGTPE", 1)},
}
_IMAGE = r"[^\s@]+?(:(?P<tag>\w[\w.-]*))?(@(?P<digest>\w+:[0-9a-fA-F]{32,}))?"


def require_name(option: str, name: str, names: Names, longest: int) -> None:
    """Raise ManifestError unless `name` matches `names` and has at most `longest` characters."""
    if not re.fullmatch(names.pattern, name) or len(name) > longest:
        raise ManifestError(f"--{option} {name}: not a Kubernetes name, which has up to {longest} {names.allowed}")


def require_fixed_version(option: str, image: str) -> None:
    """Raise ManifestError unless the image has a digest, or a tag other than ``latest``."""
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
        f"--{option} {quantity}: not a Kubernetes quantity of bytes; use one above 0, such as 128Gi (1024³) or 128G "
        "(1000³)"
    )
