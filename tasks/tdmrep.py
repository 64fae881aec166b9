"""TDMRep: whether rights to mine a document are reserved, by its site's captured file, its header and its markup."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from infra.documents import Annotations, Documents
from infra.stage import StageConfig, StageKind, stage
from tasks.rights.mining import Reservation, above, reservation_of
from tasks.rights.patterns import Pattern, normal_target
from tasks.rights.said import said_in_stored
from tasks.site_captures.lookup import ParsedCaptures, find_for, load_captures, try_captures
from tasks.sources.site_files import TDMREP
from tasks.text.urls import parse_url

TDMREP_SCHEMA = pa.schema(
    [
        ("date", pa.string()),
        ("status", pa.string()),
        ("location", pa.string()),
        ("reserved", pa.int8()),
        ("policy", pa.string()),
    ]
)
_MOST_RULES = 10_000

Rules = list[tuple[Pattern, Reservation]]


class TdmrepConfig(StageConfig):
    """Nothing can be set."""


@stage(
    "tdmrep",
    version=1,
    kind=StageKind.annotate,
    config=TdmrepConfig,
    columns=["url", "date", "metadata"],
    libraries=["publicsuffixlist"],
    load=lambda config, files: ParsedCaptures(load_captures(config, files), _rules_of),
    fitted_by=["site_captures"],
    try_model=try_captures,
    schema=TDMREP_SCHEMA,
)
def read_tdmrep(batch: Documents, config: TdmrepConfig, files: ParsedCaptures[Rules | str]) -> Annotations:
    """The reservation that holds for each document: that of tdmrep.json, of the header above it, of markup above both.

    - ``date``, ``status`` (string): of the capture of the site's file: ``found``, ``absent`` (its status is not 2xx),
      ``invalid``, or ``too_complex`` (more than 10,000 rules); null without a capture;
    - ``location`` (string): the pattern of the rule that matches first, null without one;
    - ``reserved`` (int8): 1 or 0, null where nothing valid is said; ``policy`` (string): where a licence is to be had.
    """
    columns = (batch[name].to_pylist() for name in ("url", "date", "metadata"))
    rows = [_row(url, date, metadata, files) for url, date, metadata in zip(*columns, strict=True)]
    return pa.Table.from_pylist(rows, schema=TDMREP_SCHEMA)


def _row(url: str | None, date: str | None, metadata: str | None, files: ParsedCaptures[Rules | str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    reservation = Reservation()
    capture, parts = find_for(files.captures, TDMREP, url, date), parse_url(url)
    if capture is not None and parts is not None:
        rules = files.parsed(capture) if 200 <= capture.status < 300 else "absent"
        found = {"date": capture.date, "status": rules if isinstance(rules, str) else "found"}
        target = normal_target(parts.target)
        for pattern, said in () if isinstance(rules, str) else rules:
            if pattern.matches(target):
                found["location"], reservation = pattern.written, said
                break
    reservation = reservation_of(said_in_stored(metadata)[0], reservation)
    reserved = None if reservation.reserved is None else int(reservation.reserved)
    return {**found, "reserved": reserved, "policy": reservation.policy}


def _rules_of(text: str) -> Rules | str:
    """The rules of a file, in order; ``invalid`` or ``too_complex`` for a file that is not read."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return "invalid"
    if not isinstance(found, list):
        return "invalid"
    if len(found) > _MOST_RULES:
        return "too_complex"
    rules: Rules = []
    for one in found:
        location = one.get("location") if isinstance(one, dict) else None
        if not isinstance(location, str):
            continue
        value, policy = one.get("tdm-reservation"), one.get("tdm-policy")
        written = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
        policy = _text(policy) if isinstance(policy, str) else None
        rules.append((Pattern(_text(location)), above(Reservation(), written, policy)))
    return rules


def _text(value: str) -> str:
    """A string of JSON as text: an escaped lone surrogate, which UTF-8 cannot hold, is a question mark."""
    return value.encode("utf-8", "replace").decode()
