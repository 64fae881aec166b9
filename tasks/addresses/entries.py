"""One entry of a list of addresses, and the keys by which a URL finds the entries that are about it.

- ``example.org``: a host and all of its subdomains; ``*.example.org`` and ``.example.org`` are the same;
- ``https://example.org/page`` or ``example.org/page``: this address;
- ``https://example.org/dir/*``: all addresses that begin so;
- ``https://example.org`` or ``https://example.org/``: all addresses of this host.

Schemes, ports, users, fragments, a leading ``www.`` of addresses, and a slash at their end make no difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from tasks.rights.patterns import normal_target
from tasks.text.urls import Url, host_of

LONGEST_PREFIX = 2_000  # characters of host and path
_MOST_FOLDERS = 64  # of a URL, from its host on
# Other characters than in names of the DNS are those of another format, such as a table's commas.
_HOST = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]")


def key_of_entry(entry: str, below: bool = False) -> str | None:
    """The key of an entry; None if it is none. With `below`, an address is about everything below it, too."""
    scheme, marked, rest = entry.partition("://")
    if marked and scheme.lower() not in ("http", "https"):
        return None
    if not marked and "/" not in entry:
        host = listed_host(entry)
        return host and f"h{host}"
    rest = rest if marked else entry
    open_ended = rest.endswith("*")
    try:
        parts = urlsplit(f"http://{rest.removesuffix('*')}")
        host = _checked(parts.hostname)
    except ValueError:
        return None
    if host is None or "*" in rest.removesuffix("*"):
        return None
    address = _address(host, parts.path + (f"?{parts.query}" if parts.query else ""), whole=not open_ended)
    if open_ended:
        return f"p{address}" if len(address) <= LONGEST_PREFIX else None
    is_site = parts.path in ("", "/") and not parts.query
    return f"{'b' if below or is_site else 'u'}{address}"


def listed_host(entry: str) -> str | None:
    """The host of an entry that is one, in one spelling; None if it is none."""
    return _checked(entry.removeprefix("*").removeprefix("."))


def keys_of_url(url: Url, prefixes: Iterable[int]) -> Iterator[str]:
    """The keys of the entries that can be about a URL, the narrowest first. `prefixes`: their lengths, falling."""
    address = _address(url.host, url.target, whole=True)
    yield f"u{address}"
    open_ended = _address(url.host, url.target, whole=False)
    for length in prefixes:
        if length <= len(open_ended):
            yield f"p{open_ended[:length]}"
    yield f"b{address}"
    path, _, _ = address.partition("?")
    if path != address:
        yield f"b{path.rstrip('/')}"
    folders = path.split("/", _MOST_FOLDERS)[:-1]
    for count in range(len(folders), 0, -1):
        yield f"b{'/'.join(folders[:count])}"
    host = url.host
    while host:
        yield f"h{host}"
        _, _, host = ("", "", "") if host.startswith("[") else host.partition(".")


def _address(host: str, target: str, whole: bool) -> str:
    """Host and target in one spelling; that of a `whole` address has no slash at its end."""
    address = host.removeprefix("www.") + (normal_target(target) or "/")
    return address.rstrip("/") if whole else address


def _checked(name: str | None) -> str | None:
    host = host_of(name)
    return host if host is not None and _HOST.fullmatch(host) else None
