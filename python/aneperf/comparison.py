"""Comparison: results of two sides row by row, or results and the figures published for a chip."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .checks import choice
from .display import Displayed, Picture, call_report
from .measure import Estimate

Verdict = Literal["SLOWER", "FASTER", "SAME", "UNCLEAR", "not comparable"]
Failure = Literal["slower", "error", "missing", "unclear"]
Place = Literal["first", "second"]
FAILURES: tuple[Failure, ...] = get_args(Failure)
GATED: tuple[Failure, ...] = ("slower", "error", "missing")
THRESHOLD = 0.01
ALL = "all"
_NAMED = 6  # rows in a list of names


@dataclass(frozen=True)
class Side:
    """One side of a compared row: the median of measured rows or of published figures, and its interval.

    Published figures have no interval. With `is_range`, `ci_low` and `ci_high` are the lowest and the highest
    figure.
    """

    median: float | None
    ci_low: float | None
    ci_high: float | None
    unit: str | None
    figures: int  # behind the median: files, or published figures
    is_range: bool
    units: tuple[float, ...] = ()  # medians of the files, or else of the processes, that tell what varies
    doubt: str | None = None  # why there is no value, or why the interval is not to be trusted
    detail: str | None = None  # the row's own reason


@dataclass(frozen=True)
class ComparedRow:
    """A key that both sides have. `ratio` is above 1 where the judged side is faster, None where unknown.

    `assumed` tells that too few processes or files measured the row: what varies between them is assumed.
    """

    key: str
    name: str
    first: Side
    second: Side
    ratio: Estimate | None = None
    verdict: Verdict = "not comparable"
    reason: str | None = None
    failure: Failure | None = None  # why a gate may stop the row
    assumed: bool = False
    pairs: int = 0  # of processes that took turns and gave the ratio, if any did


@dataclass(frozen=True)
class MissingRow:
    """A row that only one side has; `group` counts it with others, such as those of a suite's probe."""

    key: str
    name: str
    only_in: Place
    group: str | None


@dataclass(frozen=True)
class Difference:
    """A fact of the device or the machine that is not the same on both sides."""

    fact: str
    first: str
    second: str


@dataclass(frozen=True)
class Names:
    """Short names of the two sides, for columns and reasons."""

    first: str = "before"
    second: str = "after"


@dataclass(frozen=True, repr=False)
class Comparison(Displayed):
    """The rows that two sides share: prints as a table, renders in a notebook, iterates over its rows.

    Ratios and verdicts are about the `judged` side: the second of two results, which is the changed one, and
    the result where the other side is published figures.
    """

    probe: str
    first: str  # what was measured, in a sentence
    second: str
    names: Names
    judged: Place
    rows: tuple[ComparedRow, ...]
    threshold: float  # a difference of up to this is neither FASTER nor SLOWER
    missing: tuple[MissingRow, ...] = ()  # none if the second side is published: it has a few rows only
    unmeasured: int = 0  # rows that are ok on both sides and have no duration
    differences: tuple[Difference, ...] = ()
    same: bool = False  # both sides are the same measurement
    notes: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()  # what to run for rows that compare, if none of these does

    @property
    def judged_name(self) -> str:
        """Return the short name of the side that is judged."""
        return self.names.first if self.judged == "first" else self.names.second

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return a flat dict for each row: `pandas.DataFrame(comparison.to_dicts())`."""
        compared = [
            {
                "key": row.key,
                "first": row.first.median,
                "second": row.second.median,
                "unit": row.first.unit or row.second.unit,
                "ratio": row.ratio and row.ratio.value,
                "ratio_low": row.ratio and row.ratio.ci_low,
                "ratio_high": row.ratio and row.ratio.ci_high,
                "verdict": row.verdict,
                "reason": row.reason,
                "spread": None if row.ratio is None else "assumed" if row.assumed else "measured",
                "pairs": row.pairs,
            }
            for row in self.rows
        ]
        nothing = dict.fromkeys(compared[0] if compared else ())
        return compared + [
            {
                **nothing,
                "key": row.key,
                "verdict": "not comparable",
                "reason": self.only_in(row.only_in),
            }
            for row in self.missing
        ]

    def failures(self, fail_on: Collection[str] = GATED, allow_different: Collection[str] = ()) -> list[str]:
        """Return why a gate must not pass, in a line for each reason; none if it may.

        `fail_on` has the kinds of failure that count, of `FAILURES`. Facts of the environment that differ
        count unless `allow_different` names them, or is "all". A comparison that judged no row fails.
        Raises ArgumentError for an unknown kind.
        """
        for kind in fail_on:
            choice("kind of failure", kind, FAILURES)
        found = []
        if ALL not in allow_different:
            found += [
                f"{fact.fact} differs: {fact.first}, then {fact.second}"
                for fact in self.differences
                if fact.fact not in allow_different
            ]
        found += [
            f"{row.name} is {row.verdict}" + (f": {row.reason}" if row.reason else "")
            for row in self.rows
            if row.failure in fail_on
        ]
        if "missing" in fail_on:
            found += self.one_sided()
        if not found and not self._has_judged():
            found.append("no row could be judged")
        return found

    def _has_judged(self) -> bool:
        """Tell whether a row has a verdict, or is as it was where no row has times to compare."""
        rated = [row for row in self.rows if row.ratio is not None]
        if rated:
            return any(row.verdict != "UNCLEAR" for row in rated)
        return self.unmeasured > 0 or any(row.failure is None for row in self.rows)

    def only_in(self, place: Place) -> str:
        """Say which side has a row that the other lacks."""
        return f"only in {self.names.first if place == 'first' else self.names.second}"

    def one_sided(self) -> list[str]:
        """Say which rows only one side has, in a line for each side."""
        lines = []
        for place in get_args(Place):
            rows = [row for row in self.missing if row.only_in == place]
            groups = list(dict.fromkeys(row.group for row in rows))
            if not rows:
                continue
            if groups == [None]:
                names = [row.name for row in rows[:_NAMED]]
                names += [f"{len(rows) - _NAMED} more"] * (len(rows) > _NAMED)
            else:
                names = [f"{sum(row.group == group for row in rows)} of {group}" for group in groups]
            lines.append(f"{self.only_in(place)}: {', '.join(names)}")
        return lines

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
