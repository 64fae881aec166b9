"""Charts: well-formed, true to their numbers, and safe with any name."""

from __future__ import annotations

from lxml import etree

from tasks.report.figures import Curve, Segment, bar, histogram_chart, line_chart, standalone
from tasks.report.histogram import Histogram

ATTACK = '"><script>alert(1)</script>'
THREE = Histogram((0.0, 1.0, 2.0, 3.0), (("kept", (10, 0, 5)), ("out", (0, 20, 5))))


def drawn(chart: str) -> etree._Element:
    return etree.fromstring(chart)


def rectangles(chart: str, shade: str) -> list[etree._Element]:
    return [found for found in drawn(chart).iter("rect") if found.get("class") == shade]


def test_a_bar_has_the_widths_of_its_shares() -> None:
    chart = bar([Segment("a", 0.5, "kept"), Segment("b", 0.0, "none"), Segment("c", 0.25, "failed")])
    found = [(rect.get("class"), float(rect.get("x")), float(rect.get("width"))) for rect in drawn(chart).iter("rect")]
    assert found == [("a", 0.0, 50.0), ("b", 50.0, 0.0), ("c", 50.0, 25.0)]


def test_what_is_almost_nothing_is_still_seen() -> None:
    [rect] = drawn(bar([Segment("a", 1e-6, "one")])).iter("rect")
    assert float(rect.get("width")) > 0.2


def test_bars_of_a_histogram_are_as_high_as_their_counts() -> None:
    chart = histogram_chart(THREE, title="t", description="d", shades=["a", "b"], x_label="x")
    kept, out = rectangles(chart, "a"), rectangles(chart, "b")
    assert [len(kept), len(out)] == [2, 2], "an empty bin is not drawn"
    heights = [float(rect.get("height")) for rect in (*kept, *out)]
    assert [round(height / heights[1], 2) for height in heights] == [2.0, 1.0, 4.0, 1.0]
    stacked, below = out[1], kept[1]
    assert float(stacked.get("y")) + float(stacked.get("height")) == float(below.get("y"))
    assert below.findtext("title") == "2 to 3, kept: 5"


def test_limits_are_drawn_where_the_values_are_or_left_out_when_far_away() -> None:
    near = histogram_chart(THREE, title="", description="", shades=["a", "b"], x_label="x", limits=[("≤ 4", 4.0)])
    far = histogram_chart(THREE, title="", description="", shades=["a", "b"], x_label="x", limits=[("≤ 4k", 4000.0)])
    assert "≤ 4" in near and 'class="limit"' in near
    assert 'class="limit"' not in far


def test_a_long_line_is_drawn_as_means_with_a_band() -> None:
    points = tuple((float(step), float(step % 2)) for step in range(1, 8_001))
    chart = line_chart([Curve("loss", "a", points)], title="", description="", x_label="step", y_label="loss")
    [line] = [path for path in drawn(chart).iter("path") if path.get("class") == "line a"]
    [band] = [path for path in drawn(chart).iter("path") if path.get("class") == "band"]
    assert line.get("d").count("L") < 400
    means = {point.split()[1] for point in line.get("d")[1:].split("L")}
    assert len(means) == 1, "the mean of 0 and 1 is the same everywhere"
    assert len({point.split()[1] for point in band.get("d")[1:-1].split("L")}) == 2
    assert len(chart) < 60_000


def test_one_point_and_errors_can_be_drawn() -> None:
    curve = Curve("acc", "a", ((8.0, 0.25),), dots=True, errors=(0.05,))
    chart = line_chart([curve], title="", description="", x_label="step", y_label="acc")
    assert len(list(drawn(chart).iter("circle"))) == 1
    assert "nan" not in chart


def test_names_are_escaped_everywhere() -> None:
    shown = histogram_chart(
        Histogram((0.0, 1.0), ((ATTACK, (1,)),)),
        title=ATTACK,
        description=ATTACK,
        shades=["a"],
        x_label=ATTACK,
        y_label=ATTACK,
        limits=[(ATTACK, 0.5)],
    )
    lines = line_chart([Curve(ATTACK, "a", ((0, 1),), dots=True)], title="", description="", x_label=ATTACK, y_label="")
    for chart in (shown, lines, bar([Segment("a", 1.0, ATTACK)])):
        assert "<script" not in chart
        assert not list(drawn(chart).iter("script"))


def test_a_standalone_picture_brings_its_colours() -> None:
    picture = standalone(histogram_chart(THREE, title="t", description="d", shades=["a", "b"], x_label="x"))
    root = etree.fromstring(picture)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "#1f6f78" in picture
