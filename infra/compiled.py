"""Functions that numba compiles, without importing numba: that takes half a second, which most commands need not spend.

`njit` is numba's decorator of that name. Numba is imported, and the function compiled, when it is first called.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
_declared: list[str] = []


def njit(**options: Any) -> Callable[[F], F]:
    """``@njit(cache=True)``: as `numba.njit`. Compiled functions can call each other, also across modules."""

    def declare(function: F) -> F:
        _declared.append(function.__module__)
        return cast(F, _Compiled(function, options))

    return declare


def needed_libraries() -> list[str]:
    """What a process imports before it forks workers that call such functions: numba, if any was declared."""
    return ["numba"] if _declared else []


class _Compiled:
    """A function that is compiled at its first call."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self._function, self._options = function, options

    def __call__(self, *arguments: Any) -> Any:
        return self.compiled(*arguments)

    @functools.cached_property
    def compiled(self) -> Any:
        """Numba's dispatcher. What the function calls is compiled too, and its module refers to that from now on."""
        import numba

        names = self._function.__globals__
        for name in self._function.__code__.co_names:
            if isinstance(names.get(name), _Compiled):
                names[name] = names[name].compiled
        return numba.njit(**self._options)(self._function)
