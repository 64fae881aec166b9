"""The methods of 7z archives: LZMA, LZMA2 with and without filters, bzip2, Deflate, and none."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from tasks.sources.codecs import StoredFault
from tasks.sources.reasons import Broken
from tasks.sources.seven_zip_header import Coder, Folder

PIECE = 1 << 17
_LARGEST_DICTIONARY = 1 << 30
_COPY, _DELTA, _LZMA, _LZMA2 = b"\x00", b"\x03", b"\x03\x01\x01", b"\x21"
_DEFLATE, _BZIP2, _AES = b"\x04\x01\x08", b"\x04\x02\x02", b"\x06\xf1\x07\x01"
# Filters for machine code, under their older and newer numbers.
_CODE = {
    b"\x03\x03\x01\x03": lzma.FILTER_X86,
    b"\x04": lzma.FILTER_X86,
    b"\x03\x03\x02\x05": lzma.FILTER_POWERPC,
    b"\x05": lzma.FILTER_POWERPC,
    b"\x03\x03\x04\x01": lzma.FILTER_IA64,
    b"\x06": lzma.FILTER_IA64,
    b"\x03\x03\x05\x01": lzma.FILTER_ARM,
    b"\x07": lzma.FILTER_ARM,
    b"\x03\x03\x07\x01": lzma.FILTER_ARMTHUMB,
    b"\x08": lzma.FILTER_ARMTHUMB,
    b"\x03\x03\x08\x05": lzma.FILTER_SPARC,
    b"\x09": lzma.FILTER_SPARC,
}
_ERRORS = (OSError, EOFError, lzma.LZMAError, zlib.error)


class Decoder(Protocol):
    """Decodes a stream."""

    def feed(self, data: bytes, most: int) -> Iterator[bytes]:
        """What follows from further stored bytes (none at the end of them), at most `most` bytes, in pieces."""
        ...


def decoder_of(folder: Folder, offset: int) -> Decoder:
    """The decoder of a folder at `offset` of the archive. Raises StoredFault for methods that are not read."""
    methods = [coder.method for coder in folder.coders]
    if _AES in methods:
        raise StoredFault(Broken.encrypted, offset, "7z: the archive is encrypted. Give it without a password")
    first, *filters = folder.coders
    if first.method == _COPY and not filters:
        return _Copied()
    if first.method == _DEFLATE and not filters:
        return _Deflated(offset)
    if first.method == _BZIP2 and not filters:
        return _Decompressed(bz2.BZ2Decompressor(), offset, bz2.BZ2Decompressor)
    # Without its end mark, which LZMA has not, a filter never gives its last bytes.
    if first.method == _LZMA2 or (first.method == _LZMA and not filters):
        chain = [_filter(coder, offset) for coder in reversed(filters)]
        decoder = _made(lambda: lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[*chain, _lzma(first, folder)]), offset)
        return _Decompressed(decoder, offset)
    names = ", ".join(method.hex() for method in methods)
    raise StoredFault(Broken.unsupported_method, offset, f"7z: method {names}. Pack the archive again with LZMA2")


def _lzma(coder: Coder, folder: Folder) -> dict[str, Any]:
    properties = coder.properties
    if coder.method == _LZMA2:
        bits = properties[0] if properties else 41
        size = (1 << 32) - 1 if bits == 40 else (2 | bits & 1) << (bits // 2 + 11)
        found: dict[str, Any] = {"id": lzma.FILTER_LZMA2}
        if bits > 40:
            raise ValueError(f"a dictionary of kind {bits}")
    else:
        if len(properties) != 5:
            raise ValueError(f"{len(properties)} bytes of properties")
        size = int.from_bytes(properties[1:], "little")
        rest, literal_context = divmod(properties[0], 9)
        position, literal_position = divmod(rest, 5)
        found = {"id": lzma.FILTER_LZMA1, "lc": literal_context, "lp": literal_position, "pb": position}
    # No match reaches further back than to the first byte.
    found["dict_size"] = min(size, max(folder.size, 1 << 12))
    if found["dict_size"] > _LARGEST_DICTIONARY:
        raise ValueError(f"a dictionary of {size} bytes, and at most {_LARGEST_DICTIONARY} are allowed")
    return found


def _filter(coder: Coder, offset: int) -> dict[str, Any]:
    if coder.method == _DELTA and len(coder.properties) == 1:
        return {"id": lzma.FILTER_DELTA, "dist": coder.properties[0] + 1}
    if coder.method in _CODE:
        return {"id": _CODE[coder.method]}
    raise StoredFault(Broken.unsupported_method, offset, f"7z: filter {coder.method.hex()}")


def _made(make: Callable[[], Any], offset: int) -> Any:
    try:
        return make()
    except (ValueError, lzma.LZMAError) as error:
        raise StoredFault(Broken.unsupported_method, offset, f"7z: {error}") from None


class _Copied:
    def feed(self, data: bytes, most: int) -> Iterator[bytes]:
        if data:
            yield data[:most]


class _Decompressed:
    """The decoders of bz2 and lzma. Several streams of bzip2 may follow each other: `again` makes their decoders."""

    def __init__(self, decoder: Any, offset: int, again: Callable[[], Any] | None = None) -> None:
        self._decoder, self._offset, self._again = decoder, offset, again

    def feed(self, data: bytes, most: int) -> Iterator[bytes]:
        while most:
            if self._decoder.eof:
                data = self._decoder.unused_data + data
                if self._again is None or not data:
                    return
                self._decoder = self._again()
            try:
                piece = self._decoder.decompress(data, min(PIECE, most))
            except _ERRORS as error:
                raise StoredFault(Broken.corrupt_member, self._offset, f"7z: {error}") from None
            data = b""
            most -= len(piece)
            if piece:
                yield piece
            elif self._decoder.needs_input and not self._decoder.eof:
                return


class _Deflated:
    def __init__(self, offset: int) -> None:
        self._decoder, self._offset = zlib.decompressobj(-zlib.MAX_WBITS), offset

    def feed(self, data: bytes, most: int) -> Iterator[bytes]:
        while most and not self._decoder.eof:
            try:
                piece = self._decoder.decompress(data, min(PIECE, most))
            except _ERRORS as error:
                raise StoredFault(Broken.corrupt_member, self._offset, f"7z: {error}") from None
            data = self._decoder.unconsumed_tail
            most -= len(piece)
            if piece:
                yield piece
            elif not data:
                return
