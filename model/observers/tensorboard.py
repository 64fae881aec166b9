"""TensorBoard event files of a run, in its folder of the lake; `tensorboard --logdir` reads them directly.

Each file holds the steps from one checkpoint to the next and is named by its first step. It only grows. A resumed run
rewrites it from that step on, so no step is shown twice. The format (TensorFlow's `record_writer.h` and `event.proto`)
is implemented here because an object store cannot append; it also saves the trainer a dependency.
"""

from __future__ import annotations

import re
import struct
import sys
import time as clock
from collections.abc import Mapping

from infra.store.errors import StoreError
from infra.store.lake import Lake
from model.observers.observer import Ending, StepObserver
from model.observers.records import StepRecord
from model.observers.throttle import Throttle

# The first record of every file: an event with the format's version.
VERSION = b"brain.Event:2"
# CRC-32C (Castagnoli), reflected; and the constant with which TensorFlow masks it (`crc32c.h`).
POLYNOMIAL = 0x82F63B78
MASK = 0xA282EAD8
FLUSH_SECONDS = 5.0


class EventFiles(StepObserver):
    """Writes a run's event files; used by rank 0 only. The format keeps values as 32-bit floats.

    `flush` writes at most every `interval` seconds. An unavailable store does not end the run before the next commit.
    """

    def __init__(self, lake: Lake, run: str, interval: float = FLUSH_SECONDS) -> None:
        self._lake, self._run = lake, run
        self._throttle = Throttle(interval)
        self._open = bytearray()
        self._first = 1
        self._shown = 0

    def begin(self, step: int) -> None:
        for entry in list(self._lake.list(_folder(self._run))):
            first = re.search(r"\.tfevents\.(\d{9,12})\Z", entry.path)
            if first is not None and int(first[1]) > step:
                self._lake.delete(entry.path)
        self._start(step + 1)

    def on_step_end(self, record: StepRecord) -> None:
        self.on_scalars(record.step, clock.time(), record.scalars())

    def on_scalars(self, step: int, time: float, scalars: Mapping[str, float]) -> None:
        if not self._open:
            # The first event's time, so that a rewritten file starts with the same bytes.
            self._open += _record(_event(time, 0, _field(3, VERSION)))
        summary = b"".join(
            _field(1, _field(1, tag.encode()) + _key(2, 5) + struct.pack("<f", _float32(value)))
            for tag, value in scalars.items()
        )
        self._open += _record(_event(time, step, _field(5, summary)))

    def flush(self) -> None:
        if self._throttle.due():
            self._try_to_write()

    def commit(self, step: int) -> None:
        self._write()
        self._start(step + 1)

    def close(self, ending: Ending) -> None:
        self._try_to_write()

    def _try_to_write(self) -> None:
        try:
            self._write()
        except StoreError as error:
            print(f"the TensorBoard files of this launch are not up to date: {error}", file=sys.stderr)

    def _write(self) -> None:
        if len(self._open) > self._shown:
            self._lake.write(f"{_folder(self._run)}/events.out.tfevents.{self._first:09d}", bytes(self._open))
            self._shown = len(self._open)

    def _start(self, first: int) -> None:
        self._open, self._first, self._shown = bytearray(), first, 0


def masked_crc(data: bytes) -> int:
    """The checksum of a record: CRC-32C (RFC 3720, appendix B.4), rotated and offset so that it can be nested."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    value ^= 0xFFFFFFFF
    return (((value >> 15) | (value << 17)) + MASK) & 0xFFFFFFFF


def _folder(run: str) -> str:
    return f"runs/{run}/tensorboard"


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


def _event(time: float, step: int, content: bytes) -> bytes:
    return _key(1, 1) + struct.pack("<d", time) + _key(2, 0) + _varint(step) + content


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field: bytes, text or a message."""
    return _key(number, 2) + _varint(len(content)) + content


def _key(number: int, kind: int) -> bytes:
    """The key of a protobuf field; `kind` is 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes."""
    return _varint(number << 3 | kind)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _float32(value: float) -> float:
    """`value`, or infinity when it overflows 32 bits, as a cast gives."""
    largest = 3.4028234663852886e38
    return value if abs(value) <= largest or value != value else float("inf") if value > 0 else float("-inf")


def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _table()
