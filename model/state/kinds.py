"""The kinds of values that a training state has for each parameter."""

from __future__ import annotations

from typing import Literal

Kind = Literal["weight", "first_moment", "second_moment"]
KINDS: tuple[Kind, ...] = ("weight", "first_moment", "second_moment")
