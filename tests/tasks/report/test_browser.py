"""The page in a real browser, opened from a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route

from tasks.report.data import ReportData
from tasks.report.page import write_report


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_opens_from_a_file_and_asks_nobody(
    browser: Browser, data: ReportData, tmp_path: Path, width: int, scheme: str
) -> None:
    path = tmp_path / "report.html"
    write_report(data, path)
    requests: list[str] = []
    complaints: list[str] = []

    def note(route: Route) -> None:
        requests.append(route.request.url)
        if route.request.url.startswith("file://"):
            route.continue_()
        else:
            route.abort()

    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if scheme == "dark" else "light"
    )
    context.route("**/*", note)
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.goto(path.as_uri())
    page.screenshot(path=tmp_path / "report.png", full_page=True)
    assert requests == [path.as_uri()]
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page is wider than its window"
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert paper == ("rgb(18, 23, 28)" if scheme == "dark" else "rgb(252, 252, 250)")
    # On a phone the counts are seen without scrolling, and an example does not make its row tall.
    for row in page.locator("#reasons tbody tr").all():
        count, whole = row.locator("td.num").first.bounding_box(), row.bounding_box()
        assert count is not None and whole is not None
        assert count["x"] + count["width"] <= width
        assert whole["height"] <= 80
    curve = page.locator("svg .line.a").first
    assert curve.bounding_box() is not None
    assert page.evaluate("document.querySelectorAll('svg.bar rect').length") > 10
    context.close()
