"""Makes a forecast: finds the inputs, measures a sample, and extrapolates."""

from __future__ import annotations

from collections.abc import Callable

from infra.engine.sampling import FOUND
from infra.store.inputs import InputFile, take_inventory
from infra.store.lake import Lake
from tasks.forecast.earlier import sample_earlier
from tasks.forecast.model import Extrapolation, digests_by_source
from tasks.forecast.record import Forecast, forecast_key
from tasks.forecast.sample import Halved, measure
from tasks.recipe.resolved import ResolvedRecipe

FEWEST_RECORDS = 40  # of a sample, so that each half has about twenty
MOST_FILES = 512  # of each source; the sample finds all records of a file


class NoForecast(ValueError):
    """The inputs give no forecast; says why, and what to do."""


def make_forecast(
    lake: Lake, resolved: ResolvedRecipe, share: float, workers: int, progress: Callable[[str], None]
) -> Forecast:
    """Forecast a build from a sample of about `share` of its records; more of them where that is very few.

    `lake` keeps the digests of the inputs, which a build then need not compute again, and has the earlier builds with
    which the recipe compares. Raises NoForecast,
    also for a share beyond 0 to 1, and what a build raises.
    """
    if not 0 < share <= 1:
        raise NoForecast(f"the sample is {share}: give a share of the records above 0 and at most 1, such as 0.05")
    origins = (*resolved.references, *resolved.sources)
    files = {origin.name: take_inventory(lake, origin.section.inputs).files for origin in origins}
    every = max(round(1 / share), 1)
    sampled = {name: _some(group) for name, group in files.items()}
    progress(f"{sum(map(len, files.values())):,} input files, one of {every} records")
    earlier = sample_earlier(lake, (name for step in resolved.across for name in step.against))
    halved = measure(lake, resolved.recipe, sampled, earlier, every, progress)
    found, read = _records(halved)
    if not found:
        raise NoForecast(
            "the inputs have no records: check that the recipe's reader fits their format (`millrace recipe check`)"
        )
    if read < FEWEST_RECORDS and every > 1:
        every = max(found // FEWEST_RECORDS, 1)
        progress(f"{read} of {found:,} records are too few: one of {every} is taken")
        halved = measure(lake, resolved.recipe, sampled, earlier, every, progress)
    key = forecast_key(resolved.recipe.model_dump(mode="json"), digests_by_source(files))
    made = Extrapolation(halved, files, sampled, earlier, every, workers)
    return made.forecast(key, resolved.recipe.name, resolved.recipe.tokenizer.file is None)


def _some(files: tuple[InputFile, ...]) -> tuple[InputFile, ...]:
    """The files that are looked into: all, or so many with the lowest digests, which are as good as drawn by lot."""
    if len(files) <= MOST_FILES:
        return files
    chosen = set(sorted(file.sha256 for file in files)[:MOST_FILES])
    return tuple(file for file in files if file.sha256 in chosen)


def _records(halved: Halved) -> tuple[int, int]:
    """The records that were found, and those that were read."""
    accounts = [item.account for item in halved.whole.artifacts if item.name.endswith("/documents")]
    found = sum(count for one in accounts for name, count in one.measures.items() if name.partition("/")[0] == FOUND)
    return found, sum(one.rows_in for one in accounts)
