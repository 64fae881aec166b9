"""Charts as inline SVG: no scripts, real text, colours from the page with light ones as fallback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from tasks.report.histogram import Histogram
from tasks.report.scales import Scale, round_up, tick_label

# The page defines the variables; the fallback values are for standalone pictures.
STYLE = """
.chart text { font: 11px/1 var(--sans, system-ui, sans-serif); fill: var(--muted, #5b6570); }
.chart text.strong { fill: var(--ink, #1d2733); }
.chart text.end { text-anchor: end; }
.chart text.middle { text-anchor: middle; }
.chart .axis { stroke: var(--rule-strong, #aab2ba); stroke-width: 1; fill: none; }
.chart .grid { stroke: var(--rule, #e3e6e8); stroke-width: 1; fill: none; }
.chart .limit { stroke: var(--out, #b4532f); stroke-width: 1.25; stroke-dasharray: 4 3; fill: none; }
.chart text.limit-label { fill: var(--out, #b4532f); stroke: none; }
.chart .mark { stroke: var(--d, #9aa5ae); stroke-width: 1.25; stroke-dasharray: 2 3; fill: none; }
.chart .a { fill: var(--a, #1f6f78); } .chart .b { fill: var(--b, #d09a3a); } .chart .c { fill: var(--c, #b4532f); }
.chart .d { fill: var(--d, #9aa5ae); }
.chart .line { fill: none; stroke-width: 1.75; stroke-linejoin: round; }
.chart .line.a { stroke: var(--a, #1f6f78); fill: none; } .chart .line.b { stroke: var(--b, #d09a3a); fill: none; }
.chart .line.c { stroke: var(--c, #b4532f); fill: none; } .chart .line.d { stroke: var(--d, #9aa5ae); fill: none; }
.chart .band { fill: var(--a, #1f6f78); opacity: .22; }
.chart .dot { stroke: var(--paper, #ffffff); stroke-width: 1.5; }
"""
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 18.0, 26.0, 38.0
_POINTS = 400


@dataclass(frozen=True, slots=True)
class Curve:
    """A named line. `shade` is a letter of `STYLE`; `dots` marks points; `errors` extend to both sides of a point."""

    name: str
    shade: str
    points: tuple[tuple[float, float], ...]
    dots: bool = False
    errors: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of a bar: a share of the whole from 0 to 1, and the text shown on hover."""

    shade: str
    share: float
    title: str


def bar(segments: Sequence[Segment]) -> Markup:
    """A horizontal bar of full width, for a table cell whose text states the value."""
    drawn, at = [], 0.0
    for segment in segments:
        # Give every non-zero segment a visible minimum width.
        width = max(segment.share * 100, 0.25) if segment.share > 0 else 0.0
        drawn.append(
            f'<rect class="{segment.shade}" x="{at:.3f}" y="0" width="{width:.3f}" height="10">'
            f"<title>{escape(segment.title)}</title></rect>"
        )
        at += segment.share * 100
    return Markup(
        '<svg class="chart bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        + "".join(drawn)
        + "</svg>"
    )


def histogram_chart(
    histogram: Histogram,
    *,
    title: str,
    description: str,
    shades: Sequence[str],
    x_label: str,
    y_label: str = "documents",
    limits: Sequence[tuple[str, float]] = (),
    width: int = 350,
    height: int = 200,
) -> Markup:
    """Stacked bars with one shade per series; `limits` are vertical lines given as (label, value)."""
    edges = histogram.edges
    logarithmic = histogram.logarithmic
    inside = [value for _, value in limits if _within_reach(value, edges, logarithmic)]
    beyond = [value * 1.2 if value > 0 else value for value in inside if value > edges[-1] and not logarithmic]
    x = Scale(min([edges[0], *inside]), max([edges[-1], *inside, *beyond]), _LEFT, width - _RIGHT, logarithmic)
    stacks = list(zip(*(counts for _, counts in histogram.series), strict=True))
    y = Scale(0, round_up(max(map(sum, stacks))), height - _BOTTOM, _TOP)
    drawn = [_axes(x, y, x_label, y_label, whole=True)]
    for number, stack in enumerate(stacks):
        left, right = x.place(edges[number]), x.place(edges[number + 1])
        below = 0
        for (name, _), count, shade in zip(histogram.series, stack, shades, strict=True):
            if count:
                top, bottom = y.place(below + count), y.place(below)
                gap = min(0.6, (right - left) / 4)
                drawn.append(
                    f'<rect class="{shade}" x="{left + gap / 2:.2f}" y="{min(top, bottom - 0.8):.2f}" '
                    f'width="{right - left - gap:.2f}" height="{max(bottom - top, 0.8):.2f}"><title>'
                    f"{tick_label(edges[number])} to {tick_label(edges[number + 1])}, {escape(name)}: {count:,}"
                    "</title></rect>"
                )
            below += count
    drawn += [_across(label, x.place(value), width, height, "limit") for label, value in limits if value in inside]
    return _svg(drawn, title, description, width, height)


def line_chart(
    curves: Sequence[Curve],
    *,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    logarithmic_y: bool = False,
    marks: Sequence[tuple[str, float]] = (),
    width: int = 350,
    height: int = 210,
) -> Markup:
    """Lines over a common axis; `marks` are vertical lines given as (label, x).

    A line with many points is drawn as means of intervals, with a band between the minimum and maximum of each.
    """
    xs = [point[0] for curve in curves for point in curve.points]
    ys = [point[1] for curve in curves for point in curve.points]
    for curve in curves:
        for (_, value), error in zip(curve.points, curve.errors, strict=False):
            ys += [value - error, value + error]
    least, most = min(ys), max(ys)
    room = (most - least) * 0.06 or abs(most) * 0.1 or 1.0
    bottom = least * 0.9 if logarithmic_y else least - room
    x = Scale(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, _LEFT, width - _RIGHT)
    y = Scale(bottom, most * 1.1 if logarithmic_y else most + room, height - _BOTTOM, _TOP, logarithmic_y)
    drawn = [_axes(x, y, x_label, y_label)]
    drawn += [_across(label, x.place(at), width, height, "mark") for label, at in marks]
    for curve in curves:
        means, band = _thinned(curve.points)
        if band:
            outline = [*((at, high) for at, _, high in band), *((at, low) for at, low, _ in reversed(band))]
            drawn.append(f'<path class="band" d="{_path(outline, x, y)}Z"/>')
        drawn.append(f'<path class="line {curve.shade}" d="{_path(means, x, y)}"/>')
        drawn += [
            f'<path class="line {curve.shade}" d="M{x.place(at):.2f} {y.place(value - error):.2f}'
            f'V{y.place(value + error):.2f}"/>'
            for (at, value), error in zip(curve.points, curve.errors, strict=False)
        ]
        if curve.dots:
            drawn += [
                f'<circle class="dot {curve.shade}" cx="{x.place(at):.2f}" cy="{y.place(value):.2f}" r="3.5">'
                f"<title>{escape(curve.name)}, {escape(x_label)} {at:,.0f}: {value:.4g}</title></circle>"
                for at, value in curve.points
            ]
    return _svg(drawn, title, description, width, height)


def standalone(chart: Markup) -> str:
    """The chart as a self-contained SVG file, in the light colours on white."""
    head, _, rest = str(chart).partition(">")
    paper = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{STYLE}</style>{paper}{rest}'


def _svg(drawn: Sequence[str], title: str, description: str, width: int, height: int) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}. {escape(description)}">' + "".join(drawn) + "</svg>"
    )


def _axes(x: Scale, y: Scale, x_label: str, y_label: str, whole: bool = False) -> str:
    """The grid, the axes and their labels; `whole` restricts vertical ticks to whole numbers."""
    drawn = []
    for tick in y.ticks(4):
        if not (whole and tick != int(tick)):
            at = y.place(tick)
            drawn.append(f'<path class="grid" d="M{x.start:.2f} {at:.2f}H{x.end:.2f}"/>')
            drawn.append(f'<text class="end" x="{x.start - 6:.2f}" y="{at + 3.5:.2f}">{tick_label(tick)}</text>')
    for tick in x.ticks(6 if x.end > 400 else 4):
        at = x.place(tick)
        drawn.append(f'<path class="axis" d="M{at:.2f} {y.start:.2f}v4"/>')
        drawn.append(f'<text class="middle" x="{at:.2f}" y="{y.start + 16:.2f}">{tick_label(tick)}</text>')
    drawn.append(f'<path class="axis" d="M{x.start:.2f} {y.start:.2f}H{x.end:.2f}"/>')
    drawn.append(f'<text class="end strong" x="{x.end:.2f}" y="{y.start + 32:.2f}">{escape(x_label)}</text>')
    drawn.append(f'<text class="strong" x="4" y="11">{escape(y_label)}</text>')
    return "".join(drawn)


def _across(label: str, at: float, width: int, height: int, kind: str) -> str:
    side, beside = ("end", at - 4) if at > width - 90 else ("", at + 4)
    return (
        f'<path class="{kind}" d="M{at:.2f} {_TOP - 6}V{height - _BOTTOM}"/>'
        f'<text class="{kind}-label {side}" x="{beside:.2f}" y="{_TOP + 2:.2f}">{escape(label)}</text>'
    )


def _within_reach(value: float, edges: Sequence[float], logarithmic: bool) -> bool:
    """Whether a limit is close enough to the values that showing it keeps them readable."""
    if logarithmic:
        return edges[0] / 10 <= value <= edges[-1] * 10
    reach = 15 * (edges[-1] - edges[0])
    return edges[0] - reach <= value <= edges[-1] + reach


def _path(points: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    return "M" + "L".join(f"{x.place(at):.2f} {y.place(value):.2f}" for at, value in points)


def _thinned(
    points: Sequence[tuple[float, float]],
) -> tuple[list[tuple[float, float]], list[tuple[float, float, float]]]:
    """Means of intervals, and (x, minimum, maximum) of each; the points themselves if they are few."""
    if len(points) <= _POINTS:
        return list(points), []
    stretch = -(-len(points) // _POINTS)
    means, band = [], []
    for first in range(0, len(points), stretch):
        some = points[first : first + stretch]
        values = [value for _, value in some]
        at = sum(x for x, _ in some) / len(some)
        means.append((at, sum(values) / len(values)))
        band.append((at, min(values), max(values)))
    return means, band
