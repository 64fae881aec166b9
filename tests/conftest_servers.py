"""One Prefect server and one browser for all tests of a process."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from infra.server.local import local_server
from infra.server.password import password


@dataclass(frozen=True)
class PrefectServer:
    """A running server with all services, and this process set up to use it."""

    api_url: str
    state_folder: Path
    auth: tuple[str, str]


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A server with an empty history, that lives as long as the tests."""
    state = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            patch.delenv(name)
        with local_server(state, services=True) as api_url:
            user, _, secret = password(state).partition(":")
            yield PrefectServer(api_url, state, (user, secret))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; skips where there is none, and fails there in CI."""
    chromium = shutil.which("chromium")
    if chromium is None:
        reason = "no browser for the pages: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
