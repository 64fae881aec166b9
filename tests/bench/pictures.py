"""Pictures of distributions: a small panel for each column of a stage, readable on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import escape

from tasks.report.scales import Scale, tick_label
from tests.bench.records import ROOT, Record

FOLDER = ROOT / "docs" / "images" / "signals"
_STYLE = """
text { font: 11px/1 system-ui, sans-serif; fill: #4b5560; }
.name { font-weight: 600; fill: #1d2733; }
.end { text-anchor: end; }
.paper { fill: #ffffff; } .bar { fill: #1f6f78; }
.axis { stroke: #aab2ba; } .limit { stroke: #b4532f; stroke-dasharray: 3 2; }
@media (prefers-color-scheme: dark) {
  text { fill: #a9b4bf; } .name { fill: #e6edf3; }
  .paper { fill: #14181d; } .bar { fill: #58b3bd; } .axis { stroke: #4b5560; } .limit { stroke: #f0936f; }
}
"""
_COLUMNS, _WIDTH, _HEIGHT, _GAP = 3, 268, 118, 14
_TOP, _BOTTOM, _SIDE = 34, 18, 8


def pictures(records: Mapping[str, Record]) -> dict[Path, str]:
    """The pictures of docs/signals.md by their place."""
    values = records["signals"].values
    return {FOLDER / f"{stage}.svg": draw(stage, found) for stage, found in values["stages"].items()}


def draw(stage: str, columns: Mapping[str, Mapping[str, Any]]) -> str:
    """One stage: its columns from left to right and from top to bottom.

    The height of a bar is the square root of its number of documents, so that rare values are seen.
    """
    across = min(_COLUMNS, len(columns))
    width = across * (_WIDTH + _GAP) + _GAP
    tops = [_GAP]
    names = list(columns)
    for start in range(0, len(names), _COLUMNS):
        row = names[start : start + _COLUMNS]
        tops.append(tops[-1] + max(_height(columns[name]) for name in row) + _GAP)
    drawn = []
    for number, name in enumerate(names):
        x, y = _GAP + number % _COLUMNS * (_WIDTH + _GAP), tops[number // _COLUMNS]
        body = _labels(columns[name]) if "labels" in columns[name] else _bars(columns[name])
        head = f'<text class="name" x="{_SIDE}" y="12">{escape(name)}</text>'
        drawn.append(f'<g transform="translate({x} {y})">{head}{body}</g>')
    title = f"<title>{escape(stage)}: the distribution of each column over the pages of the crawl</title>"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {tops[-1]}" width="{width}" role="img">{title}'
        f"<style>{_STYLE}</style>"
        f'<rect class="paper" width="{width}" height="{tops[-1]}" rx="6"/>\n' + "\n".join(drawn) + "\n</svg>\n"
    )


def _height(column: Mapping[str, Any]) -> int:
    return _TOP + 14 * len(_rows(column)) if "labels" in column else _HEIGHT


def _bars(column: Mapping[str, Any]) -> str:
    counts = column["counts"]
    first, last = column["edges"]
    limits = [limit for limit in column["limits"] if limit is not None]
    scale = Scale(
        min([first, *limits]),
        max([last, *limits]),
        _SIDE,
        _WIDTH - _SIDE,
        logarithmic=column["logarithmic"] and first > 0,
    )
    base, tallest = _HEIGHT - _BOTTOM, math.sqrt(max([*counts, 1]))
    places = [scale.place(edge) for edge in _edges(first, last, len(counts), column["logarithmic"])]
    drawn = [f'<text x="{_SIDE}" y="25">{_said(column)}</text>']
    for count, left, right in zip(counts, places, places[1:], strict=False):
        if count:
            height = max(1.0, math.sqrt(count) / tallest * (base - _TOP))
            drawn.append(
                f'<rect class="bar" x="{left:.1f}" y="{base - height:.1f}" width="{max(right - left - 0.5, 0.8):.1f}" '
                f'height="{height:.1f}"/>'
            )
    for limit in limits:
        place = f"{scale.place(limit):.1f}"
        drawn.append(f'<line class="limit" x1="{place}" x2="{place}" y1="{_TOP - 4}" y2="{base}"/>')
    drawn.append(f'<line class="axis" x1="{_SIDE}" x2="{_WIDTH - _SIDE}" y1="{base}" y2="{base}"/>')
    # Bins of whole numbers are around them.
    half = 0.5 if last - first == len(counts) and first % 1 == 0.5 else 0.0
    least, most = tick_label(scale.least + half), tick_label(scale.most - half)
    drawn.append(f'<text x="{_SIDE}" y="{_HEIGHT - 4}">{least}</text>')
    drawn.append(f'<text class="end" x="{_WIDTH - _SIDE}" y="{_HEIGHT - 4}">{most}</text>')
    return "".join(drawn)


def _edges(first: float, last: float, bins: int, logarithmic: bool) -> list[float]:
    shares = [number / max(bins, 1) for number in range(bins + 1)]
    if logarithmic and first > 0:
        return [first * (last / first) ** share for share in shares]
    return [first + (last - first) * share for share in shares]


def _said(column: Mapping[str, Any]) -> str:
    """What the bars do not show."""
    limits = [limit for limit in column["limits"] if limit is not None]
    said = [
        f"{column['zeros']:,} are 0" if column["zeros"] else "",
        f"{column['missing']:,} without a value" if column["missing"] else "",
        f"limit{'s' * (len(limits) > 1)} {' and '.join(map(tick_label, limits))}" if limits else "",
    ]
    return "; ".join(filter(None, said))


def _rows(column: Mapping[str, Any]) -> list[tuple[str, int]]:
    rest = {"others": column["others"], "without a value": column["missing"]}
    return [*((label, count) for label, count in column["labels"]), *((name, n) for name, n in rest.items() if n)]


def _short(label: str) -> str:
    return label if len(label) <= 18 else f"{label[:17]}…"


def _labels(column: Mapping[str, Any]) -> str:
    rows = _rows(column)
    tallest = math.sqrt(max([count for _, count in rows], default=1))
    drawn = []
    for number, (label, count) in enumerate(rows):
        y = 22 + 14 * number
        width = max(1.0, math.sqrt(count) / tallest * (_WIDTH - 170))
        drawn.append(
            f'<text class="end" x="108" y="{y + 9}">{escape(_short(label))}</text>'
            f'<rect class="bar" x="114" y="{y}" width="{width:.1f}" height="10"/>'
            f'<text x="{118 + width:.1f}" y="{y + 9}">{count:,}</text>'
        )
    return "".join(drawn)
