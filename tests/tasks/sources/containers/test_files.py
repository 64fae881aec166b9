"""The files in archives: read as the writers meant, and one entry for everything that is not read."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import zipfile

import pytest

from infra.outcomes import Dropped, Failed
from tasks.sources.containers.faults import ContainedFile, Found, Limits
from tasks.sources.containers.files import read_files
from tests.tasks.sources.containers.made import COMPRESSIONS, member, tar, zipped

LIMITS = Limits(1 << 20)
FILES = {"a.txt": b"first\n", "deep/" * 20 + "b.txt": b"x" * 5000, "deep/é/" + "n" * 180 + ".txt": b"", "z/c": b"last"}


def read(data: bytes, limits: Limits = LIMITS) -> list[Found]:
    return list(read_files(io.BytesIO(data), "x", limits))


def contents(found: list[Found]) -> dict[str | None, bytes]:
    return {file.path: file.data for file in found if isinstance(file, ContainedFile)}


def reasons(found: list[Found]) -> list[str]:
    return [str(item.reason) for item in found if not isinstance(item, ContainedFile)]


@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)
@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_a_tar_gives_its_files_in_order(format: int, compress: object) -> None:
    files = {path: data for path, data in FILES.items() if format != tarfile.USTAR_FORMAT or len(path) < 150}
    found = read(compress(tar(files, format)))  # type: ignore[operator]
    assert list(contents(found).items()) == list(files.items())
    assert reasons(found) == []


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_zip_gives_its_files_in_order(method: int) -> None:
    assert list(contents(read(zipped(FILES, method))).items()) == list(FILES.items())


@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)
def test_a_file_alone_is_one_file(compress: object) -> None:
    [file] = read(compress(b"some text " * 1000))  # type: ignore[operator]
    assert isinstance(file, ContainedFile) and (file.path, file.data) == (None, b"some text " * 1000)


def test_a_gzip_header_may_name_the_file() -> None:
    made = io.BytesIO()
    with gzip.GzipFile("book.txt", "wb", fileobj=made) as stream:
        stream.write(b"words")
    assert contents(read(made.getvalue())) == {"book.txt": b"words"}


def test_streams_of_one_file_are_joined() -> None:
    halves = tar(FILES)[:700], tar(FILES)[700:]
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        assert contents(read(b"".join(map(compress, halves)))) == FILES
    assert contents(read(b"\0\0\0\0".join(map(lzma.compress, halves)))) == FILES


UNSAFE = ["/etc/passwd", "../up", "a/../../b", "C:/x", "c:\\x", "a\\..\\..\\b", "\\\\host\\x", "."]


@pytest.mark.parametrize("path", UNSAFE)
def test_a_path_that_leads_out_is_refused(path: str) -> None:
    for archive in (tar({path: b"bad", "good": b"good"}), zipped({path: b"bad", "good": b"good"})):
        found = read(archive)
        assert reasons(found) == ["unsafe_path"] and contents(found) == {"good": b"good"}
        assert any(isinstance(item, Failed) and repr(path)[1:-1] in item.example for item in found)


def test_deep_folders_are_refused() -> None:
    deep = {"d/" * 5000 + "f": b"bad", "d/" * 101 + "f": b"bad", "x" * 5000: b"bad", "d/" * 99 + "f": b"good"}
    for archive in (tar(deep), zipped(deep)):
        found = read(archive)
        assert reasons(found) == ["path_too_deep"] * 3 and list(contents(found).values()) == [b"good"]


def test_what_is_no_file_is_an_entry() -> None:
    odd = (
        member("s", tarfile.SYMTYPE, "/etc/passwd"),
        member("h", tarfile.LNKTYPE, "a"),
        member("d", tarfile.CHRTYPE),
        member("p", tarfile.FIFOTYPE),
        member("folder", tarfile.DIRTYPE),
    )
    found = read(tar({"a": b"a"}, members=odd))
    assert reasons(found) == ["link", "link", "special_file", "special_file"] and contents(found) == {"a": b"a"}
    link = zipfile.ZipInfo("s")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert reasons(read(made.getvalue())) == ["link"]


def test_a_sparse_file_is_not_read() -> None:
    sparse = tarfile.TarInfo("holes")
    sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.realsize": "1" + "0" * 18}
    old = bytearray(tar({"holes": b"x" * 600, "after": b"good"}, tarfile.GNU_FORMAT))
    old[156:157] = b"S"
    assert reasons(read(tar({}, members=(sparse,)))) == ["sparse_file"]
    found = read(bytes(resummed(old)))
    assert reasons(found) == ["sparse_file"] and contents(found) == {"after": b"good"}


def test_a_large_file_is_passed_over() -> None:
    files = {"small": b"s", "large": b"x" * (1 << 20) + b"y", "after": b"a"}
    for archive in (tar(files), gzip.compress(tar(files)), zipped(files)):
        found = read(archive)
        assert reasons(found) == ["file_too_large"] and contents(found) == {"small": b"s", "after": b"a"}
    [alone] = read(files["large"])
    assert isinstance(alone, Failed) and (alone.reason, alone.bytes) == ("file_too_large", len(files["large"]))


def resummed(archive: bytearray, start: int = 0) -> bytearray:
    """The archive with the checksum of one header made anew."""
    archive[start + 148 : start + 156] = b" " * 8
    archive[start + 148 : start + 156] = b"%06o\0 " % sum(archive[start : start + 512])
    return archive


@pytest.mark.parametrize("cut", [512, 600, 1024, 1500, 1536, 3000])
def test_a_truncated_tar_gives_what_lies_before(cut: int) -> None:
    files = {f"f{number}": random.Random(number).randbytes(900) for number in range(4)}
    found = read(tar(files, tarfile.USTAR_FORMAT)[:cut])
    whole = {path: data for number, (path, data) in enumerate(files.items()) if 1536 * number + 1412 <= cut}
    assert contents(found) == whole and reasons(found) == ["truncated"]


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd"])
def test_a_truncated_compressed_tar_gives_what_lies_before(name: str) -> None:
    files = {f"f{number}": random.Random(number).randbytes(200_000) for number in range(8)}
    stored = COMPRESSIONS[name](tar(files))
    found = read(stored[: len(stored) * 3 // 4])
    whole = contents(found)
    assert reasons(found)[-1:] == ["truncated"] and whole.items() <= files.items()
    assert len(whole) >= (4 if name != "bzip2" else 1)


def test_a_damaged_header_costs_one_file() -> None:
    damaged = bytearray(tar({"a": b"a", "b": b"b", "c": b"c"}, tarfile.USTAR_FORMAT))
    damaged[1024 + 10] ^= 1
    found = read(bytes(damaged))
    assert contents(found) == {"a": b"a", "c": b"c"} and reasons(found) == ["bad_header"]
    [fault] = [item for item in found if isinstance(item, Failed)]
    assert fault.offset == 1024


@pytest.mark.parametrize(
    "field", [b"77777777777\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"notanumber\0\0", b"\0" * 12]
)
def test_a_size_that_cannot_be_is_no_trap(field: bytes) -> None:
    wrong = bytearray(tar({"a": b"x" * 600, "b": b"b"}, tarfile.USTAR_FORMAT))
    wrong[124:136] = field
    found = read(bytes(resummed(wrong)))
    assert reasons(found) and sum(len(data) for data in contents(found).values()) < 1000


@pytest.mark.parametrize("record", [b"99 path=x\n", b"-1 path=x\n", b"0 path=x\n", b"9" * 100, b"5 a=b\n" * 3, b" "])
def test_a_pax_header_with_a_wrong_length_costs_one_file(record: bytes) -> None:
    wrong = bytearray(tar({"a": record, "b": b"b"}, tarfile.USTAR_FORMAT))
    wrong[156:157] = b"x"
    found = read(bytes(resummed(wrong)))
    assert contents(found).items() <= {"b": b"b"}.items() and (reasons(found) or contents(found))


def test_an_extended_header_of_any_size_is_not_held() -> None:
    large = bytearray(tar({"x" * 99: b"y" * (3 << 20), "b": b"b"}, tarfile.USTAR_FORMAT))
    large[156:157] = b"L"
    found = read(bytes(resummed(large)))
    assert contents(found) == {"b": b"b"} and reasons(found) == ["bad_header"]


def test_bytes_behind_the_end_are_an_entry_and_a_second_archive_is_read() -> None:
    assert reasons(read(tar({"a": b"a"}) + b"x" * 700)) == ["stray_bytes"]
    assert list(contents(read(tar({"a": b"a"}) + tar({"b": b"b"})))) == ["a", "b"]


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_bomb_is_stopped(compress: object) -> None:
    limits = Limits(file_bytes=1 << 10, ratio=20, free_bytes=1 << 20)
    bomb = compress(tar({"zeros": bytes(8 << 20)}))  # type: ignore[operator]
    assert reasons(read(bomb, limits)) == ["expands_too_much"]
    assert reasons(read(compress(bytes(8 << 20)), limits)) == ["file_too_large"]  # type: ignore[operator]


def test_a_member_that_is_a_bomb_costs_itself() -> None:
    limits = Limits(file_bytes=4 << 20, ratio=20, free_bytes=1 << 20)
    found = read(zipped({"a": b"first", "bomb": bytes(2 << 20), "z": b"last"}), limits)
    assert reasons(found) == ["expands_too_much"] and contents(found) == {"a": b"first", "z": b"last"}


def test_a_zip_of_many_small_bombs_is_stopped_by_what_they_become() -> None:
    limits = Limits(file_bytes=1 << 20, ratio=20, free_bytes=1 << 20)
    found = read(zipped({f"f{number}": bytes(1 << 20) for number in range(20)}), limits)
    assert reasons(found) == ["expands_too_much"] and 0 < len(contents(found)) < 5
    [fault] = [item for item in found if isinstance(item, Failed)]
    assert fault.offset


def test_members_that_overlap_in_a_zip_share_the_limit() -> None:
    stored = zipped({"f": bytes(1 << 20)})
    start = stored.index(b"PK\x01\x02")
    entry, rest = stored[start:-22], bytearray(stored[-22:])
    rest[8:16] = struct.pack("<HHL", 1000, 1000, 1000 * len(entry))
    found = read(stored[:start] + entry * 1000 + bytes(rest), Limits(1 << 20, ratio=20, free_bytes=4 << 20))
    assert reasons(found) == ["expands_too_much"] and len(contents(found)) < 9


def test_an_encrypted_member_is_an_entry() -> None:
    stored = bytearray(zipped({"secret": b"s", "open": b"o"}))
    for start in (0, stored.index(b"PK\x01\x02") + 2):
        stored[start + 6] |= 1
    found = read(bytes(stored))
    assert reasons(found) == ["encrypted"] and contents(found) == {"open": b"o"}


def test_a_method_that_is_not_read_is_an_entry() -> None:
    assert reasons(read(zipped({"a": b"a"}, zipfile.ZIP_LZMA))) == ["unsupported_compression"]


def test_a_member_of_a_zip_that_is_damaged_costs_itself() -> None:
    stored = bytearray(zipped({"a": b"first", "b": b"second"}, zipfile.ZIP_STORED))
    stored[stored.index(b"first")] ^= 1
    found = read(bytes(stored))
    assert reasons(found) == ["bad_checksum"] and contents(found) == {"b": b"second"}


@pytest.mark.parametrize("size", [3, 10, 1 << 19])
def test_a_zip_whose_member_lies_about_its_size_is_caught(size: int) -> None:
    stored = bytearray(zipped({"a": b"x" * 1000}))
    start = stored.index(b"PK\x01\x02") + 24
    stored[start : start + 4] = struct.pack("<L", size)
    assert reasons(read(bytes(stored))) == ["corrupt_member"]


def test_a_truncated_zip_gives_what_lies_before() -> None:
    stored = zipped({"a": b"a" * 100, "b": random.Random(1).randbytes(1000)})
    found = read(stored[: stored.index(b"PK\x01\x02") - 500])
    assert contents(found) == {"a": b"a" * 100} and reasons(found) == ["truncated"]


def test_a_zip_of_more_than_four_gigabytes_is_understood() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        with archive.open(zipfile.ZipInfo("a"), "w", force_zip64=True) as stream:
            stream.write(b"wide")
    assert contents(read(made.getvalue())) == {"a": b"wide"}


def test_an_unwanted_file_is_dropped_unread() -> None:
    files = {"a.png": b"x" * (2 << 20), "a.txt": b"a"}
    for archive in (tar(files), zipped(files)):
        found = list(read_files(io.BytesIO(archive), "x", LIMITS, lambda p: "image" if p.endswith("png") else None))
        assert [item.reason for item in found if isinstance(item, Dropped)] == ["image"]
        assert contents(found) == {"a.txt": b"a"}


def test_a_changed_byte_never_ends_the_reading() -> None:
    files = {f"folder/f{number}": b"text %d" % number * 50 for number in range(3)}
    chosen = random.Random(5)
    for archive in (tar(files), gzip.compress(tar(files)), zipped(files), lzma.compress(tar(files))):
        for _ in range(60):
            damaged = bytearray(archive)
            damaged[chosen.randrange(len(damaged))] ^= 1 << chosen.randrange(8)
            for _ in range(chosen.choice([0, 0, 50])):
                damaged[chosen.randrange(len(damaged))] = chosen.randrange(256)
            read(bytes(damaged[: chosen.choice([len(damaged), chosen.randrange(len(damaged))])]))


def test_an_empty_input_is_an_empty_file() -> None:
    assert read(b"") == [ContainedFile(None, b"", 0)]
