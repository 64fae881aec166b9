"""The forms of the dashboard in a real browser: a wrong value is refused by name, and a right one starts a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from flows.recipe import load_recipe
from infra.server.password import password
from infra.store.lake import Lake
from infra.store.names import Reference, point
from tests.conftest_servers import PrefectServer

WAIT = 120_000  # milliseconds
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def deployments(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The project's deployments on that server, by name, with their ids. No worker carries their runs out."""
    from prefect.client.orchestration import get_client

    from flows.deploying import deploy
    from infra.server.objects import apply_objects, read_objects

    lake = str(tmp_path_factory.mktemp("lake"))
    point(Lake.open(lake), "corpus/tiny", Reference("build", "3fa9" * 16, "0" * 64))
    with get_client(sync_client=True) as client:
        list(apply_objects(client, read_objects()))
        lines = list(deploy(client, lake))
        names = [line.removeprefix("deployed ") for line in lines if line.startswith("deployed ")]
        assert [line for line in lines if "its schedule weekly would have no inputs" in line]
        return {name.rpartition("/")[2]: str(client.read_deployment_by_name(name).id) for name in names}


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def page(request: pytest.FixtureRequest, browser: Browser, prefect_server: PrefectServer) -> Iterator[Page]:
    """A page of the dashboard, logged in."""
    dashboard = prefect_server.api_url.removesuffix("/api")
    with browser.new_context(viewport=request.param, base_url=dashboard) as context:
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.goto("/runs")
        page.locator("input[type=password]").fill(password(prefect_server.state_folder))
        with page.expect_response(f"{dashboard}/api/flow_runs/**"):
            page.get_by_role("button", name="Login").click()
        yield page


def field(page: Page, *names: str) -> Locator:
    """The field at a path of titles, as a person reads them."""
    found = page.locator(".schema-input")
    for name in names:
        words = f"normalize-space()='{name}' or normalize-space()='{name} (Optional)'"
        label = "./descendant::span[contains(@class, 'schema-form-property__label')]"
        own = page.locator(f"xpath={label}[1][{words}]")
        found = found.locator(".schema-form-property").filter(has=own).first
    return found


def look(page: Page, name: str) -> None:
    """Keep a picture, where somebody wants to look at it."""
    if folder := os.environ.get("MILLRACE_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}-{page.viewport_size['width']}.png", full_page=True)  # type: ignore[index]


def submit(page: Page) -> None:
    page.get_by_role("button", name="Submit").click()


def started(page: Page) -> dict[str, Any]:
    """What the run that the form starts was created with.

    A busy SQLite file answers 503 (docs/prefect.md); a person presses the button again.
    """
    for _ in range(5):
        with page.expect_response(lambda answer: answer.url.endswith("/create_flow_run")) as answer:
            submit(page)
        if answer.value.status != 503:
            break
    assert answer.value.status == 201, answer.value.text()
    found: dict[str, Any] = answer.value.json()["parameters"]
    return found


def test_a_training_is_started_from_its_form(page: Page, deployments: dict[str, str]) -> None:
    page.goto(f"/deployments/deployment/{deployments['training']}/run")
    steps = field(page, "training", "steps")
    expect(steps).to_contain_text("Optimizer steps of the run. At least 1.", timeout=WAIT)
    look(page, "training")
    steps.locator("input").fill("0")
    submit(page)
    refused = page.get_by_text("Validation failed for field 'training.steps'. Failure reason: 0 is less than").first
    expect(refused).to_be_visible(timeout=WAIT)
    look(page, "training-refused")
    steps.locator("input").fill("120")
    field(page, "training", "schedule", "learning_rate").locator("input").fill("0.002")
    corpus = field(page, "corpus")
    expect(corpus.get_by_text("listed", exact=True)).to_be_visible()
    corpus.get_by_text("other", exact=True).click()
    corpus.locator("textarea").fill("3fa9")
    look(page, "training-filled")
    parameters = started(page)
    assert parameters.pop("lake")
    assert parameters == {
        "config": "tiny-pythia",
        "corpus": {"name": "3fa9"},
        "training": {"steps": 120, "schedule": {"learning_rate": 0.002}},
    }, "an empty field is no value"


def test_a_corpus_is_started_from_its_form(page: Page, deployments: dict[str, str]) -> None:
    page.goto(f"/deployments/deployment/{deployments['corpus']}/run")
    threshold = field(page, "values", "sources", "crawl", "near_duplicates", "threshold").locator("input")
    expect(threshold).to_have_value("0.8", timeout=WAIT)
    look(page, "corpus")
    submit(page)
    inputs = field(page, "inputs")
    expect(inputs).to_contain_text("'inputs' is a required property", timeout=WAIT)
    look(page, "corpus-refused")
    inputs.get_by_role("button", name="Add item").click()
    inputs.locator("textarea").fill("crawl/*.warc.gz")
    threshold.fill("1.5")
    submit(page)
    told = "'values.sources.crawl.near_duplicates.threshold'. Failure reason: 1.5 is greater than"
    refused = page.get_by_text(told).first
    expect(refused).to_be_visible(timeout=WAIT)
    threshold.fill("0.7")
    look(page, "corpus-filled")
    parameters = started(page)
    assert parameters["inputs"] == ["crawl/*.warc.gz"]
    resolved = load_recipe(parameters["recipe"], inputs=parameters["inputs"], values=parameters["values"])
    assert resolved == load_recipe("crawl", ["near_duplicates.threshold=0.7"], parameters["inputs"])
