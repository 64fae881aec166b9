"""URLs of documents: their host in one spelling, the site that they belong to, and what is asked of it.

Hosts are compared as browsers do (WHATWG URL section 3): in lower case, percent-decoded, without user, port and a dot
at the end, internationalised names in their ASCII form, IPv6 addresses in their shortest.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from publicsuffixlist import PublicSuffixList

_PORTS = {"http": 80, "https": 443}
_LONGEST_HOST = 253  # RFC 1035 section 2.3.4
# What no host may hold (WHATWG URL section 3.2, "forbidden domain code point").
_FORBIDDEN = re.compile('[\x00-\x20"#%/:<>?@\\[\\\\\\]^`{|}\x7f]')
_LIST = PublicSuffixList(only_icann=False)
_KNOWN = PublicSuffixList(only_icann=False, accept_unknown=False)


@dataclass(frozen=True, slots=True)
class Url:
    """`site` is scheme, host and port, where it is not the scheme's own; `target` is path and query, from ``/`` on."""

    site: str
    host: str
    target: str


def parse_url(url: str | None) -> Url | None:
    """The parts of an http or https URL; None for others, and for one whose host or port is invalid."""
    if url is None:
        return None
    try:
        parts = urlsplit(url.strip())
        port = parts.port
        host = host_of(parts.hostname)
    except ValueError:
        return None
    if parts.scheme not in _PORTS or host is None:
        return None
    own = "" if port in (None, _PORTS[parts.scheme]) else f":{port}"
    query = f"?{parts.query}" if parts.query else ""
    return Url(f"{parts.scheme}://{host}{own}", host, (parts.path or "/") + query)


@lru_cache(maxsize=1 << 16)
def host_of(name: str | None) -> str | None:
    """A host in one spelling; None if it is none. IPv6 addresses have brackets, as in URLs."""
    if not name or len(name) > 4 * _LONGEST_HOST:
        return None
    name = unquote(name).strip("[]") if ":" in name else unquote(name).rstrip(".")
    if ":" in name:
        if "%" in name:  # a zone, which means something to one machine only
            return None
        try:
            return f"[{ipaddress.IPv6Address(name).compressed}]"
        except ValueError:
            return None
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    name = name.lower()
    return None if not name or len(name) > _LONGEST_HOST or _FORBIDDEN.search(name) or ".." in name else name


def domain_of(url: str | None) -> str | None:
    """The registered domain of a URL, or its host where it has none; None without a valid host."""
    parsed = parse_url(url)
    return None if parsed is None else registered_domain(parsed.host) or parsed.host


@lru_cache(maxsize=4096)
def is_top_level(label: str) -> bool:
    """Whether the Public Suffix List has names below this one: no file's suffix, and no name for documentation."""
    return _KNOWN.publicsuffix(f"y.{label}") is not None


@lru_cache(maxsize=1 << 16)
def registered_domain(host: str) -> str | None:
    """The domain that somebody has registered, by the Public Suffix List; None for an address or a bare suffix.

    Suffixes of providers, such as ``github.io``, count: their subdomains belong to different people.
    """
    if host.startswith("[") or _is_address(host):
        return None
    return _LIST.privatesuffix(host)


def _is_address(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
