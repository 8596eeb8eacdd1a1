"""Published figures, each with its source and its known faults."""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib.resources import files
from typing import Literal, get_args

from ..errors import ArgumentError
from .catalog import CHIPS, find_chip
from .sources import CAVEATS, SOURCES

Kind = Literal["measured", "quoted", "failed"]
Route = Literal["coreml", "e5rt", "mpsgraph", "private"]
ROUTES: Mapping[Route, str] = {
    "coreml": "Core ML",
    "e5rt": "e5rt",
    "mpsgraph": "MPSGraph",
    "private": "the private framework",
}


@dataclass(frozen=True)
class Figure:
    """A published figure: `value` in `unit`, None if the run failed. `aneperf.chips` explains the key."""

    key: str  # what was run
    chip: str  # a name of CHIPS
    value: float | None
    low: float | None  # of a published range
    high: float | None
    unit: str
    tflops: float | None  # published with a time
    status: Kind
    macos: str | None  # version
    machine: str | None  # such as "Mac16,5 MacBook Pro"
    date: str | None
    contributor: str | None  # who ran it
    source: str  # of SOURCES
    caveats: tuple[str, ...]  # of CAVEATS

    @property
    def route(self) -> Route:
        """Return the library that ran the program; "private" is Apple's framework, as aneperf uses it."""
        return next((route for route in ROUTES if route in self.caveats), "private")

    @property
    def is_private(self) -> bool:
        """Tell whether it compares with rows of aneperf: only if the private framework ran it too.

        The time of another route holds what a library does on the CPU.
        """
        return self.route == "private"


def published(chip: str) -> tuple[Figure, ...]:
    """Return the figures of a chip. Raises ArgumentError for a chip that is unknown or has none."""
    name = find_chip(chip).name
    figures = tuple(figure for figure in shipped_figures() if figure.chip == name)
    if not figures:
        named = {figure.chip for figure in shipped_figures()}
        known = ", ".join(chip.name for chip in CHIPS if chip.name in named)
        raise ArgumentError(f"no figures are published for {name}: choose from {known}")
    return figures


def read_figures(text: str) -> tuple[Figure, ...]:
    """Read a table in the form of `published.csv`. Raises ArgumentError, naming line and column."""
    reader = csv.reader(io.StringIO(text), strict=True)
    names = [field.name for field in fields(Figure)]
    try:
        if (header := next(reader, [])) != names:
            raise ArgumentError(
                f"line 1: the columns are {', '.join(header)}; they must be {', '.join(names)}"
            )
        return tuple(_figure(dict(zip(names, row, strict=True)), f"line {reader.line_num}") for row in reader)
    except (csv.Error, ValueError) as error:
        raise ArgumentError(f"line {reader.line_num}: {error}") from error


@lru_cache(maxsize=1)
def shipped_figures() -> tuple[Figure, ...]:
    """Return every figure that aneperf ships."""
    return read_figures(files(__package__).joinpath("published.csv").read_text(encoding="utf-8"))


def _figure(cells: dict[str, str], where: str) -> Figure:
    numbers = {name: _number(name, cells[name], where) for name in ("value", "low", "high", "tflops")}
    status = next((kind for kind in get_args(Kind) if kind == cells["status"]), None)
    caveats = tuple(cells["caveats"].split())
    if status is None:
        raise ArgumentError(
            f"{where}: status is {cells['status']!r}: choose from {', '.join(get_args(Kind))}"
        )
    if (numbers["value"] is None) != (status == "failed"):
        raise ArgumentError(f"{where}: a figure has a value exactly if it did not fail")
    if (numbers["low"] is None) != (numbers["high"] is None):
        raise ArgumentError(f"{where}: a range has two ends")
    for name, key, known in (
        ("source", cells["source"], SOURCES),
        *(("caveat", c, CAVEATS) for c in caveats),
    ):
        if key not in known:
            raise ArgumentError(f"{where}: no {name} is called {key!r}")
    if not cells["key"] or not cells["unit"]:
        raise ArgumentError(f"{where}: a figure needs a key and a unit")
    return Figure(
        key=cells["key"],
        chip=find_chip(cells["chip"]).name,
        unit=cells["unit"],
        status=status,
        macos=cells["macos"] or None,
        machine=cells["machine"] or None,
        date=cells["date"] or None,
        contributor=cells["contributor"] or None,
        source=cells["source"],
        caveats=caveats,
        **numbers,
    )


def _number(name: str, cell: str, where: str) -> float | None:
    if not cell:
        return None
    value = float(cell)
    if not math.isfinite(value) or value < 0:
        raise ArgumentError(f"{where}: {name} is {cell}; it must be finite and not negative")
    return value
