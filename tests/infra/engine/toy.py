"""Toy stages whose results are known by heart. The workers import this module, so it is not a test itself."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.documents import DOCUMENT_SCHEMA
from infra.engine.group_steps import Group
from infra.outcomes import Document, Dropped, Failed, Kept, Outcome, Record
from infra.stage import FIT_PARTITIONS, PARTIAL, StageConfig, StageKind, grouped, partitioned, stage
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Manifest, Marker


class ToyConfig(StageConfig):
    factor: int = 1
    files_per_group: int | None = None


@stage("toy_lines", version=1, kind=StageKind.source, config=ToyConfig)
def read_lines(stream: BinaryIO, name: str, config: ToyConfig) -> Iterator[Outcome]:
    """A document a line; empty lines are dropped, lines of '!' are broken."""
    offset = 0
    for number, line in enumerate(stream):
        text = line.decode().rstrip("\n")
        if not text:
            yield Dropped("empty", len(line), "")
        elif text == "!":
            yield Failed("broken", len(line), text, offset)
        else:
            yield Kept(Document(f"{text}-{number}", text, None, None, "toy", None), len(line))
        offset += len(line)


@stage("toy_pids", version=1, kind=StageKind.source, config=ToyConfig)
def read_pids(stream: BinaryIO, name: str, config: ToyConfig) -> Iterator[Outcome]:
    """A document: the number of the process that reads it."""
    size = len(stream.read())
    yield Kept(Document("pid", str(os.getpid()), None, None, "toy", None), size)


class PlacedConfig(StageConfig):
    """`folder` is where the stage leaves signs. It holds `megabytes` so many times until somebody ends it."""

    folder: str
    megabytes: int = 0
    held: int = 0


@stage("toy_endless", version=1, kind=StageKind.source, config=PlacedConfig)
def read_endless(stream: BinaryIO, name: str, config: PlacedConfig) -> Iterator[Outcome]:
    """Write the number of the process, and go on for ever."""
    sign = Path(config.folder, f"{name}.new")
    sign.write_text(str(os.getpid()))
    sign.rename(Path(config.folder, f"{name}.pid"))
    while True:
        signal.pause()
    yield


@stage("toy_large", version=1, kind=StageKind.source, config=PlacedConfig)
def read_large(stream: BinaryIO, name: str, config: PlacedConfig) -> Iterator[Outcome]:
    """A document; the file 0.txt takes much memory, and at first holds it."""
    if name == "0.txt":
        with Path(config.folder, "large").open("a") as sign:
            sign.write(f"{name}\n")
        memory = bytearray(config.megabytes << 20)
        memory[:: 1 << 12] = b"x" * len(memory[:: 1 << 12])
        while Path(config.folder, "large").read_text().count("\n") <= config.held:
            signal.pause()
    yield Kept(Document("large", name, None, None, "toy", None), len(stream.read()))


@stage("toy_killed", version=1, kind=StageKind.source, config=PlacedConfig)
def read_killed(stream: BinaryIO, name: str, config: PlacedConfig) -> Iterator[Outcome]:
    """A document; the first process that reads a file is killed as the kernel does it."""
    sign = Path(config.folder, f"{name}.killed")
    if not sign.exists():
        sign.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    yield Kept(Document("killed", name, None, None, "toy", None), len(stream.read()))


@stage("toy_on_node", version=1, kind=StageKind.source, config=PlacedConfig)
def read_on_node(stream: BinaryIO, name: str, config: PlacedConfig) -> Iterator[Outcome]:
    """A document a file. The first worker tells its node of the Ray cluster, and waits for its end."""
    sign = Path(config.folder, "node")
    if not sign.exists():
        import ray

        new = sign.with_name(f"node-{os.getpid()}")
        new.write_text(ray.get_runtime_context().get_node_id())
        try:
            os.link(new, sign)
        except FileExistsError:
            pass
        else:
            while True:
                signal.pause()
    data = stream.read()
    yield Kept(Document(name, data.decode(), None, None, "toy", None), len(data))


class StrangeError(Exception):
    """Can be pickled, and not be read again."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"for {first}")


@stage("toy_nothing", version=1, kind=StageKind.source, config=ToyConfig)
def read_nothing(stream: BinaryIO, name: str, config: ToyConfig) -> Iterator[Outcome]:
    raise StrangeError(name, "")
    yield


def wait_for(path: Path) -> str:
    """The text of a file that another process writes."""
    while not path.exists():
        time.sleep(0.01)
    return path.read_text()


def wait_until_gone(pid: int) -> None:
    """Wait for the end of a process."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # between any two looks it may be gone
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)


def texts(lake: Lake, found: Marker | Manifest) -> list[str]:
    """The texts of the documents in the parts."""
    return [text for part in found.parts for text in pq.read_table(Path(lake.uri, part.path))["text"].to_pylist()]


@stage("toy_poison", version=1, kind=StageKind.source, config=ToyConfig)
def read_poison(stream: BinaryIO, name: str, config: ToyConfig) -> Iterator[Record | Outcome]:
    """A document a line; some lines hold up, bloat or crash the process, and one does so before it is a record."""
    offset = 0
    for number, line in enumerate(stream):
        if line == b"jam\n":
            _spin()
        yield Record(line, offset, partial(_read_poison, line, number))
        offset += len(line)


def _read_poison(line: bytes, number: int) -> Outcome:
    text = line.decode().rstrip("\n")
    if text == "spin":
        _spin()
    if text == "bloat":
        bytearray(1 << 40)
    if text.startswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return Kept(Document(f"{text}-{number}", text, None, None, "toy", None), len(line))


@stage("toy_poisoned", version=1, kind=StageKind.annotate, config=ToyConfig, schema=pa.schema([("length", pa.int64())]))
def measure_poisoned(documents: pa.Table, config: ToyConfig) -> pa.Table:
    """The length of each text; some texts crash the process."""
    texts = documents["text"].to_pylist()
    if "crash" in texts:
        os.kill(os.getpid(), signal.SIGSEGV)
    return pa.table({"length": [len(text) for text in texts]})


def _spin() -> None:
    while True:
        pass


@stage(
    "toy_length",
    version=1,
    kind=StageKind.annotate,
    config=ToyConfig,
    schema=pa.schema([("length", pa.int64()), ("failed", pa.string())]),
)
def measure_length(documents: pa.Table, config: ToyConfig) -> pa.Table:
    texts = documents["text"].to_pylist()
    failed = [None if text.isascii() else "not_ascii" for text in texts]
    return pa.table({"length": [len(text) * config.factor for text in texts], "failed": pa.array(failed, pa.string())})


@stage(
    "toy_comparison",
    version=1,
    kind=StageKind.annotate,
    config=ToyConfig,
    columns=["text", "toy_length.length"],
    schema=pa.schema([("same", pa.bool_())]),
)
def compare_length(documents: pa.Table, config: ToyConfig) -> pa.Table:
    """Whether the annotation beside the text is right: needs another stage's column."""
    lengths = [len(text) * config.factor for text in documents["text"].to_pylist()]
    return pa.table({"same": pc.equal(documents["toy_length.length"], pa.array(lengths))})


@stage("toy_loser", version=1, kind=StageKind.annotate, config=ToyConfig, schema=pa.schema([("length", pa.int64())]))
def lose_one_row(documents: pa.Table, config: ToyConfig) -> pa.Table:
    """A kernel with the defect that the books exist to find."""
    return pa.table({"length": [len(text) for text in documents["text"].to_pylist()[1:]]})


def map_words(documents: pa.Table, config: ToyConfig) -> pa.Table:
    rows = [
        {"partition": len(word), "row": row, "word": word}
        for row, text in enumerate(documents["text"].to_pylist())
        for word in text.split()
    ]
    return pa.Table.from_pylist(
        rows, pa.schema([("partition", pa.uint64()), ("row", pa.int32()), ("word", pa.string())])
    )


def count_words(tables: Iterable[tuple[int, pa.Table]], config: ToyConfig) -> pa.Table:
    seen = [(shard, row["row"], row["word"]) for shard, table in tables for row in table.to_pylist()]
    counts = Counter(word for _, _, word in seen)
    rows = [{"shard": shard, "row": row, "count": counts[word]} for shard, row, word in sorted(seen)]
    return pa.Table.from_pylist(rows, pa.schema([("shard", pa.int32()), ("row", pa.int32()), ("count", pa.int64())]))


def write_counts(documents: pa.Table, rows: pa.Table, config: ToyConfig) -> pa.Table:
    most = dict.fromkeys(range(documents.num_rows), 0)
    for row in rows.to_pylist():
        most[row["row"]] = max(most[row["row"]], row["count"])
    return pa.table({"most_common": pa.array(list(most.values()), pa.int64())})


def place_words(tables: Iterable[tuple[int, pa.Table]], config: ToyConfig) -> pa.Table:
    """The words of a partition on their way to another one, with their places."""
    rows = [
        {"partition": ord(row["word"][0]), "place": (shard, row["row"]), "word": row["word"]}
        for shard, table in tables
        for row in table.to_pylist()
    ]
    place = pa.list_(pa.int32())
    return pa.Table.from_pylist(rows, pa.schema([("partition", pa.uint64()), ("place", place), ("word", pa.string())]))


def shorten_words(tables: Iterable[tuple[int, pa.Table]], config: ToyConfig) -> pa.Table:
    """Every word loses its first letter, as long as it has two: a step that is repeated."""
    rows = [
        {"partition": ord(row["word"][-1]), "place": row["place"], "word": row["word"][1:] or row["word"]}
        for _, table in tables
        for row in table.to_pylist()
    ]
    place = pa.list_(pa.int32())
    rows.sort(key=lambda row: (row["place"], row["word"]))
    return pa.Table.from_pylist(rows, pa.schema([("partition", pa.uint64()), ("place", place), ("word", pa.string())]))


def count_last_letters(tables: Iterable[tuple[int, pa.Table]], config: ToyConfig) -> pa.Table:
    seen = [(*row["place"], row["word"]) for _, table in tables for row in table.to_pylist()]
    counts = Counter(letter for _, _, letter in seen)
    rows = [{"shard": shard, "row": row, "count": counts[letter]} for shard, row, letter in sorted(seen)]
    return pa.Table.from_pylist(rows, pa.schema([("shard", pa.int32()), ("row", pa.int32()), ("count", pa.int64())]))


_COUNTS = pa.schema([("most_common", pa.int64())])
word_counts = partitioned(
    "toy_words",
    version=1,
    config=ToyConfig,
    reference="tests.infra.engine.toy:word_counts",
    schema=_COUNTS,
    columns={"map": ["text"], "annotate": ["text"]},
    map=map_words,
    reduce=count_words,
    annotate=write_counts,
)
letter_counts = partitioned(
    "toy_letters",
    version=1,
    config=ToyConfig,
    reference="tests.infra.engine.toy:letter_counts",
    schema=_COUNTS,
    columns={"map": ["text"], "annotate": ["text"]},
    map=map_words,
    reduce={"place": place_words, "shorten": shorten_words, "count": count_last_letters},
    repeated=["shorten"],
    annotate=write_counts,
)


@stage("toy_fit", version=1, kind=StageKind.fit, config=ToyConfig)
def fit_total(tables: Iterator[pa.Table], config: ToyConfig, folder: Path) -> dict[str, Path]:
    path = folder / "total.txt"
    path.write_text(str(sum(len(text) for table in tables for text in table["text"].to_pylist())))
    return {"total.txt": path}


def split_initials(documents: pa.Table, config: ToyConfig) -> pa.Table:
    texts = documents["text"].to_pylist()
    schema = pa.schema([("partition", pa.int32()), ("row", pa.int32()), ("text", pa.string())])
    return pa.table([[ord(text[0]) % FIT_PARTITIONS for text in texts], [*range(len(texts))], texts], schema=schema)


def fit_initials(tables: Iterable[pa.Table], config: ToyConfig, folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    texts = [text for table in tables for text in table["text"].to_pylist()]
    for initial in sorted({text[0] for text in texts}):
        for name in (f"{initial}.txt", f"{initial}{PARTIAL}"):
            files[name] = folder / name
        found = [text for text in texts if text[0] == initial]
        files[f"{initial}.txt"].write_text("\n".join(found))
        files[f"{initial}{PARTIAL}"].write_text(str(len(found)))
    return files


def join_initials(partial: Mapping[str, Path], config: ToyConfig, folder: Path) -> dict[str, Path]:
    path = folder / "counts.txt"
    path.write_text("\n".join(f"{name[0]} {partial[name].read_text()}" for name in sorted(partial)))
    return {"counts.txt": path}


@stage(
    "toy_initials",
    version=1,
    kind=StageKind.fit,
    config=ToyConfig,
    groups={"map": split_initials, "group": fit_initials, "join": join_initials},
)
def fit_by_initial(tables: Iterator[pa.Table], config: ToyConfig, folder: Path) -> dict[str, Path]:
    """A file for each first letter of texts, and one with the counts."""
    files = fit_initials((split_initials(table, config) for table in tables), config, folder)
    partial = {name: path for name, path in files.items() if name.endswith(PARTIAL)}
    return {name: path for name, path in files.items() if name not in partial} | join_initials(partial, config, folder)


@stage(
    "toy_long",
    version=1,
    kind=StageKind.select,
    config=ToyConfig,
    columns=[*DOCUMENT_SCHEMA.names, "toy_length.length"],
    schema=DOCUMENT_SCHEMA,
)
def keep_long(documents: pa.Table, config: ToyConfig) -> tuple[pa.Table, Account]:
    """The documents of at least eight characters."""
    long = pc.fill_null(pc.greater_equal(documents["toy_length.length"], 8), False)
    kept = documents.filter(long).select(DOCUMENT_SCHEMA.names).cast(DOCUMENT_SCHEMA)
    short = documents.num_rows - kept.num_rows
    return kept, Account(rows_in=documents.num_rows, kept=kept.num_rows, dropped={"short": short} if short else {})


def of_group(config: ToyConfig, source: str, before: int) -> tuple[ToyConfig, int]:
    """The files of a group depend on the evenness of what is before it, and not on `files_per_group`."""
    return config.model_copy(update={"files_per_group": None}), before % config.factor


def concatenate(groups: list[Group], config: ToyConfig, folder: Path) -> dict[str, Path]:
    """All texts, one file for each source."""
    files = {group.source: folder / group.source for group in groups}
    for group in groups:
        with group.open(".txt") as path, files[group.source].open("a") as stream:
            stream.write(f"{group.rows} of {group.stem}: {path.read_text()}\n")
    return {f"{source}.all": path for source, path in files.items()}


@grouped(
    "toy_groups",
    version=1,
    config=ToyConfig,
    columns=["text"],
    libraries=["pyarrow"],
    finish=concatenate,
    of_group=of_group,
)
def write_group(documents: Iterator[pa.Table], config: ToyConfig, folder: Path, place: int) -> dict[str, Path]:
    """The texts of a group, and its place."""
    path = folder / "group.txt"
    path.write_text(" ".join([str(place), *(text for table in documents for text in table["text"].to_pylist())]))
    return {".txt": path}
