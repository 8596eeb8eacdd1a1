"""Comparison: two results row by row, or a result and the figures published for a chip."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from .display import Displayed, Picture, call_report
from .measure import Estimate

Verdict = Literal["FASTER", "SLOWER", "SAME", "UNCLEAR", "not comparable"]
NO_DIRECTION = "no faster or slower in"  # begins the reason of a row whose unit says nothing about speed


@dataclass(frozen=True)
class Side:
    """One side of a compared row: the median of a measured row or of published figures, and its interval.

    Published figures have no interval. With `is_range`, `ci_low` and `ci_high` are the lowest and the highest
    figure.
    """

    median: float | None
    ci_low: float | None
    ci_high: float | None
    unit: str | None
    figures: int  # behind the median; 1 for a measured row
    is_range: bool
    doubt: str | None  # why there is no value, or why the interval is not to be trusted


@dataclass(frozen=True)
class ComparedRow:
    """A key that both sides have. `ratio` is above 1 where the judged side is faster, None where unknown."""

    key: str
    name: str
    first: Side
    second: Side
    ratio: Estimate | None
    verdict: Verdict
    reason: str | None

    @property
    def fails(self) -> bool:
        """Tell whether a gate must not pass the row."""
        if self.verdict != "not comparable":
            return self.verdict == "SLOWER"
        failed_when_published = self.second.is_range and self.second.median is None
        return not failed_when_published and not str(self.reason).startswith(NO_DIRECTION)


@dataclass(frozen=True, repr=False)
class Comparison(Displayed):
    """The rows that two sides share: prints as a table, renders in a notebook, iterates over its rows.

    Ratios and verdicts are about the `judged` side: the second of two results, which is the changed one, and
    the result where the other side is published figures.
    """

    probe: str
    first: str
    second: str
    judged: Literal["first", "second"]
    rows: tuple[ComparedRow, ...]
    only_first: tuple[str, ...]  # names of rows; for a suite, the number of rows of each probe
    only_second: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return a flat dict for each row: `pandas.DataFrame(comparison.to_dicts())`."""
        return [
            {
                "key": row.key,
                "first": row.first.median,
                "second": row.second.median,
                "unit": row.first.unit,
                "ratio": row.ratio and row.ratio.value,
                "ratio_low": row.ratio and row.ratio.ci_low,
                "ratio_high": row.ratio and row.ratio.ci_high,
                "verdict": row.verdict,
                "reason": row.reason,
            }
            for row in self.rows
        ]

    def failures(self) -> tuple[str, ...]:
        """Return what a gate must not pass: rows that are slower, that failed, or that one side lacks.

        Published figures are for a few rows only, and lack the others.
        """
        found = [
            f"{row.name} is {row.verdict}" + (f": {row.reason}" if row.reason else "")
            for row in self.rows
            if row.fails
        ]
        if self.judged == "second":
            for place, names in (("first", self.only_first), ("second", self.only_second)):
                found += [f"{name} is only in the {place}" for name in names]
        return tuple(found)

    def __iter__(self) -> Iterator[ComparedRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Picture:
        """Draw each row's ratio with its interval, and save the picture if there is a path.

        A notebook shows the returned picture. Needs `pip install '.[report]'`.
        """
        picture: Picture = call_report("plot", self, path)
        return picture
