"""Small recipes as mappings, for tests to change and to resolve."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tasks.recipe.resolve import resolve
from tasks.recipe.resolved import ResolvedRecipe
from tasks.recipe.schema import Recipe

SCORE = {"column": "language.score", "at_least": 0.5, "reason": "low_score"}


def source(*steps: Any, rules: Iterable[Any] = (), **more: Any) -> dict[str, Any]:
    """A source of JSON lines with steps and rules."""
    return {"read": "jsonl", "inputs": ["text.jsonl"], "steps": list(steps), "rules": list(rules), **more}


def recipe(**sections: Any) -> Recipe:
    """A recipe of one source ``web`` that goes through ``language``, unless `sections` say otherwise."""
    return Recipe.model_validate({"name": "small", "sources": {"web": source("language")}, **sections})


def resolved(**sections: Any) -> ResolvedRecipe:
    """That recipe resolved."""
    return resolve(recipe(**sections))
