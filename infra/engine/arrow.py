"""Sets up Arrow for a process that does units."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import pyarrow as pa


def set_up_arrow() -> None:
    """From now on, Arrow uses one thread, and has not imported pandas.

    At the first list that becomes an array, pyarrow imports pandas if that is installed, to see whether the list is a
    Series. That takes most of a second and 60 MB of every process. It looks once: here, where it finds none. A kernel
    can still import pandas, and convert tables from and to it.
    """
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    if "pandas" in sys.modules:
        return
    nothing = _NoPandas()
    sys.meta_path.insert(0, nothing)
    try:
        pa.array([""])
    finally:
        sys.meta_path.remove(nothing)


class _NoPandas(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)
        return None
