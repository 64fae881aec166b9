"""robots.txt: whether a site's captured file lets robots fetch a document, as protego judges it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pydantic
from protego import Protego

from infra.documents import Annotations, Documents
from infra.stage import StageConfig, StageKind, stage
from tasks.rights.mining import CATEGORIES
from tasks.rights.robots_usage import UsageRules
from tasks.site_captures.lookup import ParsedCaptures, find_for, load_captures, try_captures
from tasks.sources.site_files import ROBOTS

ROBOTS_SCHEMA = pa.schema(
    [
        ("date", pa.string()),
        ("status", pa.string()),
        ("disallowed", pa.int32()),
        ("agents", pa.string()),
        *((name.replace("-", "_"), pa.string()) for name in CATEGORIES),
    ]
)
_MOST_LINES = 50_000
_MOST_WORK = 5_000_000  # lines, each counted once for every line that names an agent: these can add it to each


class RobotsConfig(StageConfig):
    """`agents`: the robots that are asked for, by their product tokens, as ``CCBot``; ``*`` is any other robot."""

    agents: tuple[str, ...] = pydantic.Field(("CCBot",), min_length=1, max_length=32)

    @pydantic.field_validator("agents")
    @classmethod
    def _are_names(cls, agents: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [agent for agent in agents if not agent.strip() or "," in agent]:
            raise ValueError(f"{wrong[0]!r} is not the name of a robot, such as CCBot")
        return agents


# None for a file with more rules than are read.
Rules = tuple[Protego, UsageRules] | None


@stage(
    "robots",
    version=1,
    kind=StageKind.annotate,
    config=RobotsConfig,
    columns=["url", "date"],
    libraries=["protego", "publicsuffixlist"],
    load=lambda config, files: ParsedCaptures(load_captures(config, files), _parse),
    fitted_by=["site_captures"],
    try_model=try_captures,
    schema=ROBOTS_SCHEMA,
)
def judge_robots(batch: Documents, config: RobotsConfig, judge: ParsedCaptures[Rules]) -> Annotations:
    """What the capture of robots.txt that holds for each document says (`tasks.site_captures.lookup.Captures.find`).

    All columns are null without a capture of its site (scheme, host and port: RFC 9309 section 2.3).

    - ``date`` (string): when the file was captured;
    - ``status`` (string): ``found`` (2xx); ``unavailable`` (4xx: everything is allowed); ``unreachable`` (5xx: nothing
      is); ``redirected`` to what is not among the captures; ``too_complex``: more than 50,000 lines, or some thousand
      agents with as many rules. The last two have no verdict;
    - ``disallowed`` (int32): how many of the config's agents may not fetch it; ``agents`` (string): which, separated
      by commas;
    - ``train_ai``, ``search`` (string): the preferences of ``Content-Usage`` and ``Content-Signal``: ``n`` where one of
      the agents that may fetch it is to make no such use, ``y`` where it is allowed, null where nothing is said.
    """
    columns = (batch[name].to_pylist() for name in ("url", "date"))
    rows = [_row(url, date, config, judge) for url, date in zip(*columns, strict=True)]
    return pa.Table.from_pylist(rows, schema=ROBOTS_SCHEMA)


def _row(url: str | None, date: str | None, config: RobotsConfig, judge: ParsedCaptures[Rules]) -> dict[str, Any]:
    capture = find_for(judge.captures, ROBOTS, url, date)
    if capture is None or url is None:
        return {}
    denied: list[str] | None = None
    usage: dict[str, str] = {}
    status = {2: "found", 3: "redirected", 5: "unreachable"}.get(capture.status // 100, "unavailable")
    if status == "found":
        rules = judge.parsed(capture)
        if rules is None:
            status = "too_complex"
        else:
            # As protego, which reads an address by the rules of Python.
            denied = [agent for agent in config.agents if not rules[0].can_fetch(url.strip(), agent)]
            allowed = [agent for agent in config.agents if agent not in denied]
            for name in CATEGORIES:
                if (said := rules[1].preference(name, url.strip(), allowed)) is not None:
                    usage[name.replace("-", "_")] = "y" if said else "n"
    elif status != "redirected":
        denied = [*config.agents] if status == "unreachable" else []
    verdict = {} if denied is None else {"disallowed": len(denied), "agents": ", ".join(denied)}
    return {"date": capture.date, "status": status, **verdict, **usage}


def _parse(text: str) -> Rules:
    return None if _is_too_complex(text) else (Protego.parse(text), UsageRules(text))


def _is_too_complex(text: str) -> bool:
    lines = text.splitlines()
    naming = sum("agent" in line.lower() for line in lines)
    return len(lines) > _MOST_LINES or len(lines) * naming > _MOST_WORK
