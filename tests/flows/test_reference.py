"""Language models fitted on Wikipedia, scoring a crawl: what cc_net does, with its buckets meaning something."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow.compute as pc
import yaml

from flows.recipe import RECIPES
from infra.engine.shards import PartReader
from infra.store.lake import Lake
from infra.tables import read_table
from tasks.builds import find_build
from tasks.settings import load_yaml
from tests.flows.conftest import Millrace


def test_models_are_fitted_on_reference_text(
    millrace: Millrace, pages: list[str], shared_data: Path, tmp_path: Path
) -> None:
    recipe = load_yaml((RECIPES / "crawl.yaml").read_text())
    wikipedia = str(shared_data / "wikipedia" / "xquad-12lang-paragraphs.jsonl.gz")
    recipe["references"] = {"wikipedia": {"read": "jsonl", "inputs": [wikipedia], "steps": ["language"]}}
    model = {"fit": "language_models", "on": ["wikipedia"], "minimum_documents": 100, "vocabulary_size": 2000}
    recipe["models"] = {"language_models": model}
    rule = {"column": "perplexity.bucket", "one_of": ["head", "middle", "all"], "reason": "tail"}
    recipe["sources"]["crawl"]["rules"].append(rule)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    arguments = [argument for path in pages for argument in ("--input", path)]
    lake_folder = str(tmp_path / "lake")
    built = millrace.json("build", str(tmp_path / "recipe.yaml"), "--lake", lake_folder, *arguments)
    lake = Lake.open(lake_folder)
    record = find_build(lake)
    models = {part.name for part in record.manifest(lake, "models/language_models").parts}
    assert {"en.sp.model", "en.arpa.bin", "de.sp.model", "zh.sp.model", "cutoffs.json"} <= models
    reader = PartReader(lake, tmp_path)
    scored = [read_table(reader.path(part)) for part in record.manifest(lake, "crawl/perplexity").parts]
    buckets = Counter(bucket for table in scored for bucket in table["bucket"].to_pylist())
    assert buckets["tail"] > buckets["head"], "web pages are further from Wikipedia than Wikipedia is"
    assert all(pc.min(table["perplexity"]).as_py() > 1 for table in scored)
    entry = next(entry for entry in built["ledger"] if entry["stage"] == "perplexity")
    assert entry["dropped"] == {"tail": entry["documents_in"] - entry["documents_kept"]}
    assert 0 < built["documents"] < entry["documents_in"]
    assert millrace.json("verify", "corpus/crawl", "--lake", lake_folder)["faults"] == []
