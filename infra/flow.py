"""The decorator of this project's flows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from pydantic_core import to_jsonable_python

P = ParamSpec("P")
R = TypeVar("R")


def flow(*, name: str) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """A function as a flow of that name. What it prints is in the flow run's log.

    Prefect also reads `name` from the source, as a keyword.
    """
    return lambda function: _Flow(function, name=name, log_prints=True)


class _Flow(Flow[P, R]):
    """A flow whose parameters are plain data or pydantic models."""

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters as JSON has them. Raises PydanticSerializationError for others.

        Prefect does this with a function of FastAPI. To import that takes each command 0.15 s.
        """
        return {name: to_jsonable_python(value) for name, value in parameters.items()}
