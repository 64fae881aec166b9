"""Small 7z archives with the files `Users.xml` and `Posts.xml`, and a writer of archives that are not compressed."""

from __future__ import annotations

import base64
import zlib

POSTS = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<posts>\n'
    b'  <row Id="1" PostTypeId="1" Score="3" Title="T" Body="&lt;p&gt;B&lt;/p&gt;" />\n'
    b'  <row Id="2" PostTypeId="2" ParentId="1" Score="9" Body="&lt;p&gt;A&lt;/p&gt;" />\n</posts>\n'
)
# Made with py7zr 1.1.4, of these posts.
_MADE = {
    "LZMA2 with a filter": (
        "N3q8ryccAAQI0G5KCQEAAAAAAAAWAAAAAAAAAIn9u2LgAOQAjF0AHh1KZmeRH7kq9LM4DmPH+plbwjZyj53y3oLa5LyImB7zMF/b"
        "oITt/CqHgSWMp5rO00tZTc+dAD2gIYBRwT0RlZStIxOBPPxx9P3TTChoiPLSDnZ9WehCvM1wVLU5VywiybEPCVISCh08k1ZthwtC"
        "JZGkQOzI6EjVE0ATSxzbG8Fit8++Ca5oFyq88wAA4ACEAG1dAACBMweuD9UwGOYWbCcB4O7TS0H0r1kWZbbK/u4jj/8N+umyBTDx"
        "MpHLpRCCPfIwrjGixPj7Jqn+ZJXWLNLhn36v5Wrlyj8P/Ah4ohmmNrjTQ3lZNcRW1CnZnpiDSznB8O4ypLzNfxMNVkIAAAAAFwaA"
        "lAEJdQAHCwEAASEhARgMgIUAAA=="
    ),
    "LZMA2": (
        "N3q8ryccAAQKCk2lAwEAAAAAAAAVAAAAAAAAAGA6VBvgAOQAjl0AHh1KZmeRH7kq9LM4DmPH+plbwjZyj53y3oLa5LyEanHjZFev"
        "VV02Ef4sH/a3Yk/QpUbhL2PFuzllOpLa/cLPpYXMTKwU6S6vDkScoB7wAw7huafo+HStTONYEvIFwGEUIek2ouN+NgrGHwx9da7p"
        "5/Z3EJlpk1Wx7w+QRNLws51jGW32ENeSEDVQjSjOAADgAHgAZV0AAIEzB64P1TAkPpZsKR9IHZj0ZQaUkuv7bzhzjLuTSMj2jonM"
        "o+e3lQvELgNU4YZEGiYMwjpqHLaCxbd0ECOmH0Fbrzfl0RWjfK91NoUQHTld059oiI3igjIAe8j2hJp4IbQAAAAAFwaAlgEJbQAH"
        "CwEAASEhARgMeQAA"
    ),
    "LZMA": (
        "N3q8ryccAAQb9CG+CAEAAAAAAAAWAAAAAAAAAMTE2ssAHh1KZmeRH7kq9LM4DmPH+plbwjZyj53y3oLa5LyEanHjZFevVV02Ef4s"
        "H/a3Yk/QpUbhL2PFuzllOpLa/cLPpYXMTKwU6S6vDkScoB7wAw7huafo+HStTONYEvIFwGEUIek2ouN+NgrGHwx9da7p5/Z3EJlp"
        "k1Wx7w+QRNLws51jGW32ENeSEDVQu6dZXf/pFoAA4ACAAGxdAACBMweuD9UwGOYWbCkfSCtBMmjGwEzFHHTiO1LnR+I6eH166/Eo"
        "L54fV+emK2E1MTw1T6TLQr97KSR9CuaC32eJFxdzykX6VxHH0uTwnxlthSjEaN9ZE96H2GaLFRoqj2LKtDTwFFc4gAAAAAAXBoCU"
        "AQl0AAcLAQABISEBGAyAgQAA"
    ),
    "bzip2": (
        "N3q8ryccAATQzDVhIAEAAAAAAAAVAAAAAAAAADsyPfpCWmg5MUFZJlNZw8qV6wAALF+AABBRA/hvsCBMAC+n3+AgAJIJVMRpPRBt"
        "TajTyEYJoeUEikgDE8oG1AHqGgERMqL8BA+DSpIlvjFslLWI1MvCc7DrlirSd2JK5+gNqxj/FF5Z3XjhzXSGe3QVrJY4CwuopX2N"
        "Jj5N9M4DFc411ewdRp+XQEuXWKI5ikjhpYPLi8eqsio4lPQklYYjxAgu7i2pKsIMMYED+LuSKcKEhh5Ur1jgAHgAZF0AAIEzB64P"
        "1TDObhck0/6yl3rOsEPRx0/SM8SKZ0wCKuO+J5DAp8SmPSjc5rNB0ZXRyyridL+hIe9OY4G30WG835gC8dgq5+9R0G9NA8pWmxjT"
        "8jNMnb5fCXYRZpfBxQ5WLAAAAAAXBoC0AQlsAAcLAQABISEBGAx5AAA="
    ),
    "Deflate": (
        "N3q8ryccAAQ5ZF99/QAAAAAAAAAVAAAAAAAAAOzrgUNljr0OwiAUhfc+xc0duin+LJpCG7u5mcgLmIINCQUCVO3bC6aD1e18Nyff"
        "uXQM0gcgdUGb16DhkUhZw3C73iBI01mhTM9wjPfVAZtUczbEUBcA1NsnnEWqIlzSkU9OznjtrJcM9whcRZ0SR2itmBiWOlau7GPV"
        "5kQ+EfP8l2+39GW8eWniUn78U55+lJTMv74B4AB4AGRdAACBMweuD9UwB+FWbCkfR0u/NmWYAMnmJVGrvqDnR+7LSHgfHjQkfp2Z"
        "J8h/zDZZzdW2TBjsfxeRVFSK+mDuxKQxQHnlPS0lP4o27klzWfp9aMZ+mtsjzQZfCSwMV1Dr6KgAAAAAFwaAkQEJbAAHCwEAASEh"
        "ARgMeQAA"
    ),
    "none": (
        "N3q8ryccAATlEViQUAEAAAAAAAAVAAAAAAAAALinQBo8dXNlcnMgLz4KPD94bWwgdmVyc2lvbj0iMS4wIiBlbmNvZGluZz0idXRm"
        "LTgiPz4KPHBvc3RzPgogIDxyb3cgSWQ9IjEiIFBvc3RUeXBlSWQ9IjEiIFNjb3JlPSIzIiBUaXRsZT0iVCIgQm9keT0iJmx0O3Am"
        "Z3Q7QiZsdDsvcCZndDsiIC8+CiAgPHJvdyBJZD0iMiIgUG9zdFR5cGVJZD0iMiIgUGFyZW50SWQ9IjEiIFNjb3JlPSI5IiBCb2R5"
        "PSImbHQ7cCZndDtBJmx0Oy9wJmd0OyIgLz4KPC9wb3N0cz4K4AB4AGNdAACBMweuD9Ux5GanJUdXDCgDfLIanpupprNY49JiusCL"
        "8EV2lIAj6ytul3PzcyyQAomSiv9ZS72iVi3i3PjbyOY/+KEYuTIqmTABOR1krIpo4Z3l8DhHCSConlbL/jTC1QAAAAAXBoDlAQlr"
        "AAcLAQABISEBGAx5AAA="
    ),
    "PPMd": (
        "N3q8ryccAAQhpVv87gAAAAAAAAAUAAAAAAAAAIOcxusAPDrk0jdMRxNg1aZWAAL301BH9xkfRDZfzoadc891rX6DtoPRJ98K1O37"
        "LhDU5BsbZ2q0IShiaJeidHTrFZ2e1Y8mRFxX7dqZ/p5ir2DKFbvQpIXLK8zf983IZ3N5/p5pNkZTNdndg3tUpBlyCMbvMznyGPPg"
        "SnjfLl9yXUQA4AB8AGddAACBMweuD9Uf6elCFfazicUqLQOjVzRIcFzv640NEtASSt5XZ6oHASCmTDmZb1oHLHe7+JZI4gLPK5dr"
        "kRxqObnlywNfUxU+aCYCeuPDE2nvakKygrFRYRgrpMI4JjXurPS/ZYIAAAAAFwZ/AQlvAAcLAQABISEBGAx9AAA="
    ),
    "encrypted": (
        "N3q8ryccAAQorCO9CQEAAAAAAAAVAAAAAAAAAK2FLNJhHwj6XmiIYGpBJRLu4Pij2mX4c0fspgqNnmqgaqP1SRWbiDs4lyAuhqYB"
        "alNxm/PRj/adO3AQzUhQLfddjwa3It6uuC8WrXSipY2zImWVP+kMV265Ir0emdeqqRK0nI+LT4F1jblVCsrkGkjJusv138OjAhxg"
        "1x8XjtwfxKOs/eLT2gVHPGyz2oY4qgrFC9oBAHQBBAYAAQmAkAoBJQK3YAAHCwEAAiQG8QcBElMPw8Byzkfb+R5GnG02j1XvUyEh"
        "ARgBAAyAjYDbAAgKAQ0vPhMAAAUBGQMAAAARFQBQAG8AcwB0AHMALgB4AG0AbAAAABQKAQBQ0mbM/H/dARUGAQAggICBAAAAFwaA"
        "kAEJeQAHCwEAASEhARgMdQAA"
    ),
}
SAMPLES = {name: base64.b64decode(text) for name, text in _MADE.items()}


def number(value: int) -> bytes:
    """A number of a header, in nine bytes or in one."""
    return bytes([value]) if value < 0x80 else b"\xff" + value.to_bytes(8, "little")


def archive(header: bytes, packed: bytes = b"") -> bytes:
    """An archive of that header and compressed data."""
    place = len(packed).to_bytes(8, "little") + len(header).to_bytes(8, "little")
    place += zlib.crc32(header).to_bytes(4, "little")
    return b"7z\xbc\xaf\x27\x1c\x00\x04" + zlib.crc32(place).to_bytes(4, "little") + place + packed + header


def header(names: list[str], sizes: list[int], coder: bytes = b"\x01\x00", stored: int | None = None) -> bytes:
    """A header of one folder that holds files of these sizes."""
    total = sum(sizes)
    pack = b"\x06" + number(0) + number(1) + b"\x09" + number(total if stored is None else stored) + b"\x00"
    unpack = b"\x07\x0b" + number(1) + b"\x00" + number(1) + coder + b"\x0c" + number(total) + b"\x00"
    several = number(len(sizes)) + (b"\x09" + b"".join(map(number, sizes[:-1])) if len(sizes) > 1 else b"")
    streams = b"\x04" + pack + unpack + b"\x08\x0d" + several + b"\x00\x00"
    encoded = b"\0" + b"".join(name.encode("utf-16-le") + b"\0\0" for name in names)
    return b"\x01" + streams + b"\x05" + number(len(names)) + b"\x11" + number(len(encoded)) + encoded + b"\0\0"


def packed(**files: bytes) -> bytes:
    """An archive of files that are not compressed; ``__`` in a name is a slash."""
    names = [name.replace("__", "/") + ".xml" for name in files]
    return archive(header(names, [*map(len, files.values())]), b"".join(files.values()))
