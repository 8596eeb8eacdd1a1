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
from .catalog import find_chip

Kind = Literal["measured", "quoted", "failed"]

SOURCES: Mapping[str, str] = {
    "community": "maderix/ANE, benchmarks/community_results.json",
    "fork-benchmarks": "dev-erik's fork of maderix/ANE, docs/BENCHMARKS.md",
    "fork-chaining": "dev-erik's fork of maderix/ANE, docs/ANE_CHAINING_RESEARCH.md",
    "fork-json": "dev-erik's fork of maderix/ANE, apple_m4_max_*.json of the figure's date",
    "fork-probes": "dev-erik's fork of maderix/ANE, PROBE_RESULTS.md",
    "fork-results": "dev-erik's fork of maderix/ANE, docs/BENCHMARK_RESULTS.md",
    "m3-ultra": "maderix/ANE PR #28, benchmarks/submissions/m3-ultra-mac-studio-2026-03-03",
    "m5": "maderix/ANE PR #2, training/m5result.md",
    "m5max": "maderix/ANE PR #50, m5max_result.md",
    "readme": "maderix/ANE, README.md",
    "report": "maderix/ANE, benchmarks/ANE_BENCHMARK_REPORT.md",
    "training-readme": "maderix/ANE, training/README.md",
}

CAVEATS: Mapping[str, str] = {
    "assumed-chip": "The source names no chip; its project's own machine is an M4.",
    "assumed-ports": "The source does not say the data type of the ports; fp16 is assumed.",
    "coreml": "Run through Core ML, according to the source, not through the private framework.",
    "forward-only": "Forward evaluations only: the published pipeline does not time backward ones.",
    "from-rate": "A time computed from the published TFLOPS, not published itself.",
    "gqa-order": "The published forward and backward passes pair query and key heads differently.",
    "half-area": "At half the positions of its neighbors in the published table (32 instead of 64).",
    "no-rope": "The published static pipeline leaves out rotary embeddings, and so does less work.",
    "nominal-flops": "Nominal operations of a step over all of its time, including the CPU's share.",
    "percent": "Published with a percentage of the peak that is 1,000 times the share of 19 TFLOPS.",
    "range": "The middle of a published range, from `low` to `high`.",
    "rounded": "Published as approximate.",
    "shared-weights": (
        "The tool leaves the payload offsets of its weight file at 0, so all layers may read the same "
        "weights; where the declared sizes are checked, it does not compile."
    ),
    "swapped": (
        "m5max_result.md swaps the two M5 machines: 12.17 TFLOPS belong to the one with 32 GB, 12.44 to the "
        "one with 16 GB."
    ),
    "ten-calls": "The mean of 10 calls.",
    "unchecked": "The mean of 50 calls after 10; the outputs were not checked.",
    "untimed-wait": "Without the longest wait, which the published pipeline does not time.",
}


@dataclass(frozen=True)
class Figure:
    """A published figure: `value` in `unit`, None if the run failed. `aneperf.chips` explains the key."""

    key: str
    chip: str
    value: float | None
    low: float | None  # of a published range
    high: float | None
    unit: str
    tflops: float | None  # published with a time
    status: Kind
    macos: str | None
    machine: str | None
    date: str | None
    contributor: str | None
    source: str  # of SOURCES
    caveats: tuple[str, ...]  # of CAVEATS


def published(chip: str) -> tuple[Figure, ...]:
    """Return the figures of a chip. Raises ArgumentError for a chip that is unknown or has none."""
    name = find_chip(chip).name
    figures = tuple(figure for figure in shipped_figures() if figure.chip == name)
    if not figures:
        known = ", ".join(
            dict.fromkeys(figure.chip for figure in sorted(shipped_figures(), key=lambda f: f.chip))
        )
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
