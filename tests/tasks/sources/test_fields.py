"""Rows of named values as documents, whatever file they come from."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from infra.outcomes import Document, Failed, Kept
from tasks.sources.fields import FieldsConfig, outcome_of, value_at


def document(values: Any, **config: Any) -> Document:
    found = outcome_of(values, 1, "here", 3, FieldsConfig.model_validate(config))
    assert isinstance(found, Kept), found
    return found.document


def test_a_name_with_dots_is_a_field_or_a_field_of_a_field() -> None:
    values = {"meta": {"set": "inner", "deep": {"er": 1}}, "meta.name": "outer", "list": [{"a": 1}]}
    found = [value_at(values, name) for name in ("meta.set", "meta.name", "meta.deep.er", "list.a", "no.such", None)]
    assert found == ["inner", "outer", 1, None, None, None]


def test_text_is_kept_as_it_is_only_where_that_is_asked() -> None:
    text = "\ta\r\n b\x00\x85 \n"
    assert document({"text": text}, verbatim=True).text == text
    assert document({"text": text}).text == "a\n b"
    found = outcome_of({"text": "a\ud800"}, 1, "here", 3, FieldsConfig(verbatim=True))
    assert isinstance(found, Failed) and found.reason == "not_unicode"


@pytest.mark.parametrize("names", [{"metadata_fields": ["offset"]}, {"metadata_fields": ["part"], "part_field": "set"}])
def test_no_field_of_a_row_takes_the_place_of_what_the_reader_writes(names: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="which the reader writes itself"):
        FieldsConfig.model_validate(names)
    assert document({"text": "a", "part": "b"}, metadata_fields=["part"]).metadata == {"offset": 3, "part": "b"}


def test_a_row_without_an_id_has_none_yet() -> None:
    assert document({"text": "a"}).id is None
    assert document({"text": "a", "id": None}, id_field="id").id is None
    assert document({"text": "a", "meta": {"id": 7}}, id_field="meta.id").id == "rows/7"


@pytest.mark.parametrize(
    ("value", "date"),
    [
        ("2020-01-01", "2020-01-01"),
        (datetime.datetime(2020, 1, 1, 2, 3), "2020-01-01T02:03:00"),
        (datetime.date(2020, 1, 1), "2020-01-01"),
        (5, None),
    ],
)
def test_times_are_dates(value: object, date: str | None) -> None:
    assert document({"text": "a", "at": value}, date_field="at").date == date
