"""How results print, compare and plot without importing the code that does it.

Results are data, and `report`, which presents them, imports them: an import back would close a circle.
Instead `report` registers its functions here when it is imported, by class and name, and the methods of a
result look them up. The first look-up imports `aneperf.report` by name, so that a result prints even if only
`aneperf.results` was imported, and code that only reads and checks results never loads rich. No other lower
layer knows a higher one; the contracts in pyproject.toml forbid it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

_functions: dict[tuple[type, str], Callable[..., Any]] = {}


def register(kind: type, **functions: Callable[..., Any]) -> None:
    """Make functions of a value of `kind` available to `call_report`, each under its keyword."""
    _functions.update({(kind, name): function for name, function in functions.items()})


def call_report(name: str, value: object, *arguments: object) -> Any:
    """Call the function that `report` registered under `name` for the class of `value`."""
    import_module("aneperf.report")
    kind = next(base for base in type(value).__mro__ if (base, name) in _functions)
    return _functions[kind, name](value, *arguments)


class Displayed:
    """A mixin: prints as text and renders in a notebook, as `report` lays the value out."""

    __slots__ = ()

    def __str__(self) -> str:
        return str(call_report("to_text", self))

    def _repr_html_(self) -> str:
        return str(call_report("to_html", self))
