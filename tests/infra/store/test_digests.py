"""Canonical JSON and keys: the same value gives the same bytes, and what has no stable form is refused."""

from __future__ import annotations

import hashlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.store.digests import canonical, key_of

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def test_canonical_form_by_hand() -> None:
    assert canonical({"b": [1, 2.5, None], "a": "é"}) == '{"a":"é","b":[1,2.5,null]}'.encode()
    assert key_of([]) == hashlib.sha256(b"[]").hexdigest()


@given(st.dictionaries(st.text(), PLAIN))
def test_the_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    assert key_of(value) == key_of(dict(reversed(list(value.items()))))


@pytest.mark.parametrize("value", [math.nan, math.inf, {"x": [math.nan]}])
def test_numbers_without_a_canonical_form_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="finite"):
        canonical(value)


@pytest.mark.parametrize("value", [print, {1: 2}, {"x": object()}, b"bytes", {1, 2}])
def test_values_without_a_canonical_form_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match="only"):
        canonical(value)
