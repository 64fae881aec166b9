"""Views: edits are byte spans of the stored text, and nothing of a text is lost unseen."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.documents import EDITS_TYPE, apply_edits


def edited(text: str, *spans: tuple[int, int, str]) -> str:
    edits = [[{"start": start, "end": end, "replacement": new} for start, end, new in spans]]
    viewed, _ = apply_edits(pa.chunked_array([[text]]), pa.chunked_array([pa.array(edits, EDITS_TYPE)]))
    return viewed[0].as_py()


def test_edits_are_byte_offsets() -> None:
    assert edited("äöü", (2, 4, "")) == "äü"
    assert edited("one two", (0, 3, "1"), (4, 7, "2")) == "1 2"
    assert edited("same") == "same"


@pytest.mark.parametrize("spans", [[(3, 2, "")], [(0, 3, ""), (2, 4, "")], [(0, 99, "")]])
def test_spans_that_overlap_or_leave_the_text_are_refused(spans: list[tuple[int, int, str]]) -> None:
    with pytest.raises(ValueError, match="overlaps another or leaves"):
        edited("a few words", *spans)


@given(st.lists(st.text(max_size=5), min_size=1, max_size=8), st.data())
def test_struck_bytes_are_counted(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    spans, kept, position = [], "", 0
    for piece in pieces:
        end = position + len(piece.encode())
        if data.draw(st.booleans()):
            spans.append({"start": position, "end": end, "replacement": ""})
        else:
            kept += piece
        position = end
    viewed, struck = apply_edits(pa.chunked_array([[text]]), pa.chunked_array([pa.array([spans], EDITS_TYPE)]))
    assert viewed[0].as_py() == kept
    assert struck == len(text.encode()) - len(kept.encode())
