"""What a worker does with a piece: read, call the kernel, write the parts, then the marker.

Every function here first looks for the marker and returns it when the work is already done.
"""

from __future__ import annotations

import contextlib
import errno
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from infra.engine.annotating import annotate
from infra.engine.fitting import fit
from infra.engine.pieces import (
    FitPiece,
    GatherPiece,
    MapPiece,
    PassPiece,
    Piece,
    ReducePiece,
    ScatterPiece,
    SourcePiece,
    StageCall,
)
from infra.engine.reading import read_source
from infra.engine.shards import PartReader
from infra.engine.steps import gather_step, map_step, reduce_step, scatter_step
from infra.stage import find_stage
from infra.store.errors import StoreFull
from infra.store.ledger import Account
from infra.store.manifest import Marker, Part, read_marker, write_marker


def do(piece: Piece, cache: Path) -> dict[str, Marker]:
    """Do one piece of work; gives the marker of each of its calls by key.

    `cache` is a folder for copies of remote parts and for files in the making.
    """
    with _room_for(cache), tempfile.TemporaryDirectory(dir=cache, prefix="work-") as folder:
        reader = PartReader(piece.lake, cache)
        match piece:
            case SourcePiece():
                return _once(piece, piece.call, lambda: read_source(piece, Path(folder)))
            case PassPiece():
                return annotate(piece, reader, Path(folder))
            case MapPiece():
                return _once(piece, piece.call, lambda: map_step(piece, reader, Path(folder)))
            case ReducePiece():
                return _once(piece, piece.call, lambda: reduce_step(piece, reader, Path(folder)))
            case GatherPiece():
                return _once(piece, piece.call, lambda: gather_step(piece, reader, Path(folder)))
            case ScatterPiece():
                return _once(piece, piece.call, lambda: scatter_step(piece, reader, Path(folder)))
            case FitPiece():
                return _once(piece, piece.call, lambda: fit(piece, reader, Path(folder), cache))


@contextlib.contextmanager
def _room_for(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StoreFull(
                f"no space is left in {cache}, where workers write before they upload. Free some, or set TMPDIR to a "
                "folder with more."
            ) from error
        raise


def _once(
    piece: Any, call: StageCall, work: Callable[[], tuple[list[Part], Account, dict[str, Any]]]
) -> dict[str, Marker]:
    name = find_stage(call.reference).name
    found = read_marker(piece.lake, name, call.key)
    if found is None:
        started = time.monotonic()
        parts, account, slices = work()
        account.check(f"stage {name}")
        found = Marker(call.key, tuple(parts), account, round(time.monotonic() - started, 3), slices)
        write_marker(piece.lake, name, found)
    return {call.key: found}
