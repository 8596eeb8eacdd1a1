"""Rows with the times and intervals that a test of comparisons wants."""

from typing import Any

import numpy as np

from aneperf.comparison import ComparedRow
from aneperf.measure import geometric_mean
from aneperf.results import Row
from support.fakes import a_result, a_row, an_environment

M4_MAX = an_environment(device="ane", chip="Apple M4 Max", os="macOS 26.3", cpu="Apple M4 Max")
STAND_IN = an_environment(device="stand-in", chip="h16")


def timed(median: float | None, half: float | None = 0.01, depth: int = 128, **changes: Any) -> Row:
    """Return a row of one process, whose interval is `half` of its median to either side."""
    ends = (
        {}
        if half is None or median is None
        else {"ci_low": median * (1 - half), "ci_high": median * (1 + half)}
    )
    fields: dict[str, Any] = {"mean": None, "p05": None, "p95": None, "ci_low": None, "ci_high": None}
    return a_row(depth, **{**fields, "median": median, **ends, **changes})


def in_processes(*medians: float, **changes: Any) -> Row:
    """Return a row that several processes measured."""
    middle = geometric_mean(medians)
    ends = {"ci_low": middle.ci_low, "ci_high": middle.ci_high}
    none = (0,) * len(medians)
    several = {"warm_up": None, "processes": none, "warm_ups": none, "medians": medians}
    return timed(middle.value, None, **ends, **several, **changes)


def around(median: float, spread: float = 0.002, count: int = 5, **changes: Any) -> Row:
    """Return a row of processes whose medians spread evenly."""
    return in_processes(*(median * np.linspace(1 - spread, 1 + spread, count)).tolist(), **changes)


def line(first: Row, second: Row, **environments: Any) -> ComparedRow:
    """Compare results of one row each."""
    (only,) = a_result(first, **environments).compare(a_result(second, **environments))
    return only
