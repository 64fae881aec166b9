"""Makes the files of a tokens artifact without an engine: the groups of each source, then the summary."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks.token_summary import finish_tokens
from tasks.tokenizer import TOKENIZER_FILE
from tasks.tokens import TokensConfig, of_group, write_tokens


@dataclass
class HandMade:
    """A group whose files lie in a folder."""

    source: str
    stem: str
    rows: int
    parts: dict[str, Path]

    @contextlib.contextmanager
    def open(self, end: str) -> Iterator[Path]:
        yield self.parts[end]


def tokens_by_hand(
    tables: Iterable[pa.Table], config: TokensConfig, folder: Path, tokenizer: Path, group_rows: int = 1 << 30
) -> dict[str, Path]:
    """The files by their names in the artifact, with a group for every `group_rows` documents of a source."""
    rows = pa.concat_tables(tables)
    groups = []
    for source in pc.unique(rows["source"]).to_pylist():
        own = rows.filter(pc.equal(rows["source"], source))
        for number, first in enumerate(range(0, own.num_rows, group_rows)):
            stem = f"{source}-{number:05d}"
            (folder / stem).mkdir(parents=True)
            table = own.slice(first, group_rows)
            of, place = of_group(config, source, first)
            # In two batches, as row groups come.
            batches = [table.slice(0, 1), table.slice(1)]
            made = write_tokens(iter(batches), of, folder / stem, place, {TOKENIZER_FILE: tokenizer})
            groups.append(HandMade(source, stem, table.num_rows, made))
    files = {f"{group.stem}{end}": path for group in groups for end, path in group.parts.items()}
    return files | finish_tokens(groups, config, folder, {TOKENIZER_FILE: tokenizer})  # type: ignore[arg-type]


def first_file(name: str) -> str:
    """The name of the first file of a split of a source, such as ``crawl.validation``, without its end."""
    source, dot, split = name.partition(".")
    return f"{source}-00000{dot}{split}"
