"""How results print, compare and plot without importing the code that does it.

Results are data, and `report`, which presents them, imports them: an import back would close a circle.
Instead `report` registers its functions here when it is imported, under the name of a class, and the methods
of a result look them up. The first look-up imports `aneperf.report` by name. So a result prints even if only
`aneperf.results` was imported, and code that only reads and checks results never loads rich. No other lower
layer knows a higher one; the contract in pyproject.toml forbids it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

_functions: dict[tuple[str, str], Callable[..., Any]] = {}


def register(kind: str, **functions: Callable[..., Any]) -> None:
    """Offer functions of a value to `call_report`, each under its keyword; `kind` is the value's class.

    A class is named and not imported, so that printing a probe's result does not load training.
    """
    _functions.update({(kind, name): function for name, function in functions.items()})


def call_report(name: str, value: object, *arguments: object) -> Any:
    """Call the function that `report` registered under `name` for the class of `value`."""
    import_module("aneperf.report")
    kinds = (base.__name__ for base in type(value).__mro__)
    return next(_functions[kind, name] for kind in kinds if (kind, name) in _functions)(value, *arguments)


class Picture(Protocol):
    """A drawn figure: a notebook shows it."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write PNG, SVG, PDF or another format, as the name ends. Raises ArgumentError, ResultFileError."""


class Displayed:
    """A mixin: prints as text and renders in a notebook, as `report` lays the value out."""

    __slots__ = ()

    def __str__(self) -> str:
        return str(call_report("to_text", self))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return str(call_report("to_html", self))
