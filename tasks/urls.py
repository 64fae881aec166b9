"""URLs: the host and the registered domain of a document, and whether lists in the recipe allow or deny them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pydantic

from infra.documents import Annotations, Documents
from infra.stage import StageConfig, StageKind, stage
from tasks.addresses.entries import listed_host
from tasks.text.urls import parse_url, registered_domain

URLS_SCHEMA = pa.schema([("host", pa.string()), ("domain", pa.string()), ("allowed", pa.int8()), ("denied", pa.int8())])


class UrlsConfig(StageConfig):
    """`allow` and `deny`: hosts, each with all of its subdomains; ``*.example.org`` and ``.example.org`` are the same.

    Longer lists are a model of the step `blocklists`.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    @pydantic.field_validator("allow", "deny")
    @classmethod
    def _are_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        found = [listed_host(host) for host in hosts]
        if None in found:
            raise ValueError(f"{hosts[found.index(None)]!r} is not a host, such as example.org")
        return tuple(host for host in found if host is not None)


@stage(
    "urls",
    version=1,
    kind=StageKind.annotate,
    config=UrlsConfig,
    columns=["url"],
    libraries=["publicsuffixlist"],
    schema=URLS_SCHEMA,
)
def read_urls(batch: Documents, config: UrlsConfig) -> Annotations:
    """What the URL of each document says; all null without a valid http or https URL.

    - ``host`` (string): in one spelling (`tasks.text.urls`); ``domain`` (string): what of it somebody has registered,
      by the Public Suffix List; null for an address and for a suffix itself;
    - ``allowed``, ``denied`` (int8): 1 where the host, or one above it, is in the list of the config, else 0. Null
      where that list is empty.
    """
    allow, deny = frozenset(config.allow), frozenset(config.deny)
    return pa.Table.from_pylist([_row(url, allow, deny) for url in batch["url"].to_pylist()], schema=URLS_SCHEMA)


def _row(url: str | None, allow: frozenset[str], deny: frozenset[str]) -> dict[str, Any]:
    parts = parse_url(url)
    if parts is None:
        return {}
    above = _hosts_above(parts.host) if allow or deny else set()
    return {
        "host": parts.host,
        "domain": registered_domain(parts.host),
        "allowed": int(not allow.isdisjoint(above)) if allow else None,
        "denied": int(not deny.isdisjoint(above)) if deny else None,
    }


def _hosts_above(host: str) -> set[str]:
    """The host and all that it is a subdomain of."""
    labels = host.split(".")
    return {host} if host.startswith("[") else {".".join(labels[start:]) for start in range(len(labels))}
