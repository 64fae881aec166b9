"""The dashboard in a real browser: a person logs in, and another web site's page gets nothing."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from infra.server.password import password
from tests.conftest_servers import PrefectServer


def test_a_person_logs_in_with_the_line_of_the_file(browser: Browser, prefect_server: PrefectServer) -> None:
    dashboard = prefect_server.api_url.removesuffix("/api")
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.goto(f"{dashboard}/runs")
        page.locator("input[type=password]").fill(password(prefect_server.state_folder))
        with page.expect_response(f"{dashboard}/api/flow_runs/**") as answer:
            page.get_by_role("button", name="Login").click()
        assert answer.value.status == 200
        expect(page.locator("input[type=password]")).to_have_count(0, timeout=120_000)


@pytest.fixture
def other_site(tmp_path: Path) -> Iterator[str]:
    """A web site of another origin, with an empty page."""
    (tmp_path / "index.html").write_text("<!doctype html><title>other</title>")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("content", ["application/json", "text/plain"])
def test_a_page_of_another_site_reads_nothing_and_starts_nothing(
    browser: Browser, prefect_server: PrefectServer, other_site: str, content: str
) -> None:
    """With a preflight and without; even a page that knows the password may not send it."""
    secret = ":".join(prefect_server.auth)
    ask = """([url, content, secret]) => fetch(url, {
        method: "POST",
        body: "{}",
        headers: {"content-type": content, ...(secret && {authorization: "Basic " + btoa(secret)})},
    }).then(answer => answer.text(), error => "refused: " + error.message)"""
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.goto(other_site)
        for known in ("", secret):
            url = f"{prefect_server.api_url}/deployments/filter"
            assert page.evaluate(ask, [url, content, known]) == "refused: Failed to fetch", json.dumps([content, known])
