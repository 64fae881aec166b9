"""A worker's Arrow: what it imports, and what a kernel can still do."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys

import pyarrow as pa
from infra.engine.arrow import set_up_arrow

set_up_arrow()
pa.array(["a", None]), pa.table({"a": [1.5]}), pa.chunked_array([[True]])
assert "pandas" not in sys.modules and pa.cpu_count() == 1

import pandas

frame = pa.table({"a": [1, 2]}).to_pandas()
assert isinstance(frame, pandas.DataFrame)
assert pa.Table.from_pandas(frame).to_pydict() == {"a": [1, 2]}
assert pa.array(pandas.Series([1.0, float("nan")])).null_count == 1
set_up_arrow()
"""


def test_arrow_imports_no_pandas_unless_a_kernel_does() -> None:
    pytest.importorskip("pandas")
    # A process of its own: this one has imported pandas, maybe.
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
