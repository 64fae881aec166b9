"""Rights: what a page and its response said of them when it was captured, as columns. Nothing here is a verdict."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pydantic

from infra.documents import Annotations, Documents
from infra.stage import StageConfig, StageKind, stage
from tasks.rights.directives import FLAGS, flags_of
from tasks.rights.licences import creative_commons, licence_of
from tasks.rights.mining import CATEGORIES, reservation_of, usage_of
from tasks.rights.said import Said, said_in_stored

RIGHTS_SCHEMA = pa.schema(
    [
        pa.field("date", pa.string()),
        *(pa.field(flag, pa.int8()) for flag in FLAGS),
        pa.field("tdm_reserved", pa.int8()),
        pa.field("tdm_policy", pa.string()),
        *(pa.field(name.replace("-", "_"), pa.string()) for name in CATEGORIES),
        pa.field("licence", pa.string()),
        pa.field("mentioned_licence", pa.string()),
        pa.field("said", pa.string()),
        pa.field("cut", pa.int8()),
    ]
)


class RightsConfig(StageConfig):
    """`agents`: what is said to one of these robots counts as well as what is said to all. Case does not matter."""

    agents: tuple[str, ...] = ()

    @pydantic.field_validator("agents")
    @classmethod
    def _are_names(cls, agents: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [agent for agent in agents if not agent.strip() or agent == "*"]:
            raise ValueError(f"{wrong[0]!r} is not the name of a robot; what is said to all counts in any case")
        return agents


@stage(
    "rights",
    version=1,
    kind=StageKind.annotate,
    config=RightsConfig,
    columns=["metadata", "date"],
    schema=RIGHTS_SCHEMA,
)
def read_rights(batch: Documents, config: RightsConfig) -> Annotations:
    """What the metadata ``rights`` of each document say (`tasks.sources.declared`); all null where that is nothing.

    - ``date`` (string): when it was said, which is when the page was captured;
    - ``noindex``, ``nofollow``, ``noarchive``, ``nosnippet``, ``noimageindex``, ``notranslate``, ``noai``,
      ``noimageai`` (int8): 1 where it is said so, 0 where the opposite is, null where neither is;
    - ``tdm_reserved`` (int8), ``tdm_policy`` (string): TDMRep's reservation, 1 or 0, and the address of its policy;
    - ``train_ai``, ``search`` (string): the preferences of ``Content-Usage``, ``y`` or ``n``;
    - ``licence`` (string): the one licence that the page declares; ``mentioned_licence``: the one of Creative Commons
      to which it links without saying of what;
    - ``said`` (string): all of it, a line each; ``cut`` (int8): 1 where some of it was too long to be kept.
    """
    agents = frozenset(agent.strip().lower() for agent in config.agents)
    rows = [
        _row(metadata, date, agents)
        for metadata, date in zip(batch["metadata"].to_pylist(), batch["date"].to_pylist(), strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=RIGHTS_SCHEMA)


def _row(metadata: str | None, date: str | None, agents: frozenset[str]) -> dict[str, Any]:
    said, cut = said_in_stored(metadata)
    if not said:
        return {}
    tdm = reservation_of(said)
    usage = usage_of(", ".join(one.value for one in said if (one.place, one.name) == ("header", "content-usage")))
    return {
        "date": date,
        **flags_of(said, agents),
        "tdm_reserved": None if tdm.reserved is None else int(tdm.reserved),
        "tdm_policy": tdm.policy,
        **{name.replace("-", "_"): "y" if allowed else "n" for name, allowed in usage.items()},
        "licence": licence_of(said),
        "mentioned_licence": _mentioned(said),
        "said": "\n".join(f"{one.place} {one.name}: {one.value}" for one in said),
        "cut": int(cut),
    }


def _mentioned(said: list[Said]) -> str | None:
    found = {creative_commons(one.value) for one in said if one.place == "mention"} - {None}
    return found.pop() if len(found) == 1 else None
