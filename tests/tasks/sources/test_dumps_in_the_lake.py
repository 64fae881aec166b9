"""Dumps read by workers: shards and balanced books, and a broken file beside others."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.engine.plans import ConfiguredStage, SourcePlan
from infra.engine.pool import LocalPool
from infra.stage import Stage
from infra.store.inputs import take_inventory
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from infra.tables import read_table
from tasks.sources.reddit import read_reddit
from tasks.sources.reddit_lines import base36
from tasks.sources.stack_exchange import read_stack_exchange
from tasks.sources.wikipedia import read_wikipedia
from tests.tasks.sources import test_reddit, test_stack_exchange, test_wikipedia
from tests.tasks.sources.dumps import COMPRESSIONS

PAGES = test_wikipedia.dump(*map(test_wikipedia.page, range(1, 30)))
ROWS = test_stack_exchange.dump(*map(test_stack_exchange.row, range(1, 30)))
COMMENTS = b"".join(test_reddit.comment(base36(n), thread=base36(n)) for n in range(40, 69))


def built(lake: Lake, pool: LocalPool, stage: Stage, paths: list[Path]) -> Manifest:
    files = take_inventory(lake, [str(path) for path in paths]).files
    plan = SourcePlan(ConfiguredStage(stage, stage.config()), files)
    [manifest] = plan.run(lake, pool, lambda label, done, total: None)
    return manifest


@pytest.mark.parametrize(
    ("stage", "content"),
    [(read_wikipedia, PAGES), (read_stack_exchange, ROWS), (read_reddit, COMMENTS)],
    ids=["wikipedia", "stack_exchange", "reddit"],
)
def test_a_broken_file_leaves_the_others_untouched(
    lake: Lake, pool: LocalPool, tmp_path: Path, stage: Stage, content: bytes
) -> None:
    compress = COMPRESSIONS["bzip2"]
    whole, cut, other = (tmp_path / f"{name}.askubuntu.com.xml" for name in ("a", "b", "c"))
    whole.write_bytes(compress(content))
    cut.write_bytes(compress(content)[:-20])
    other.write_bytes(b"\xff not of this kind \x00" * 9)
    manifest = built(lake, pool, stage, [whole, cut, other])
    account = manifest.account
    reasons = set(account.failed)
    assert account.kept == manifest.rows == 29
    assert "truncated" in reasons and len(reasons) == 2
    assert {failure["file"] for failure in account.failures} == {cut.name, other.name}
    assert account.rows_in == account.kept + sum(account.dropped.values()) + sum(account.failed.values())
    assert account.bytes_in == sum(account.bytes_out.values())
    table = read_table(Path(lake.uri, manifest.parts[0].path))
    assert len(set(table["id"].to_pylist())) == 29
