"""Two results, or a result and the figures published of a chip, row by row.

A ratio says how many times as fast the first is as the second. The verdict is

- FASTER or SLOWER if the two 95 % intervals do not meet, and the ratio's is not all within 5 % of 1;
- SAME if the ratio's whole interval, from the smallest to the largest that both intervals allow, is within
  5 % of 1: two runs on one machine differ by as much;
- UNCLEAR otherwise.

Where a side has no interval, or one that its flags say is not to be trusted, FASTER and SLOWER take a factor
of more than 1.5, and nothing is SAME. Published figures have none. Of several, the lowest and the highest
count, and both must be exceeded by the factor: sessions of one day on one M4 Max differ by up to 1.41, and
those of two days by up to 4.2 where a call is short.

Software, which is the emulator and the stand-in, is compared with software only.
"""

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from ..errors import ArgumentError
from ..measure import UNTRUSTED, Estimate, ratio
from ..report.comparison import lay_out_comparison
from ..report.html import to_html
from ..report.table import to_text
from ..results import Result, Row
from .published import CAVEATS, SOURCES, Figure, published
from .table import find_chip

SAME_MARGIN = 1.05
PUBLISHED_MARGIN = 1.5
_TIMES = frozenset({"ns", "us", "ms", "s"})
_RATES = frozenset({"FLOPS", "GFLOPS", "TFLOPS", "TOPS", "B/s", "MB/s", "GB/s", "1/s"})

Verdict = Literal["FASTER", "SLOWER", "SAME", "UNCLEAR", "not comparable"]


@dataclass(frozen=True)
class Side:
    """What one side knows of a key: a row's median and its 95 % interval, or that of published figures.

    Those have no interval: with `is_range`, `ci_low` and `ci_high` are the lowest and the highest of them.
    """

    median: float | None
    ci_low: float | None
    ci_high: float | None
    unit: str | None
    figures: int  # that it is the median of; 1 for a measured row
    is_range: bool
    doubt: str | None  # why there is no value, or why the interval, if there is one, is not to be trusted


@dataclass(frozen=True)
class Line:
    """A key of both sides. `ratio` is above 1 where the first is faster, None where nothing can be said."""

    key: str
    name: str
    first: Side
    second: Side
    ratio: Estimate | None
    verdict: Verdict
    reason: str | None


@dataclass(frozen=True)
class Comparison:
    """Lines of two sides: prints as a table, renders in a notebook, iterates over its lines."""

    probe: str
    first: str
    second: str
    lines: tuple[Line, ...]
    only_first: tuple[str, ...]  # names of rows; of suites, how many of each probe
    only_second: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dicts(self) -> list[dict[str, Any]]:
        """A flat dict for each line: `pandas.DataFrame(comparison.to_dicts())`."""
        return [
            {
                "key": line.key,
                "first": line.first.median,
                "second": line.second.median,
                "unit": line.first.unit,
                "ratio": line.ratio and line.ratio.value,
                "ratio_low": line.ratio and line.ratio.ci_low,
                "ratio_high": line.ratio and line.ratio.ci_high,
                "verdict": line.verdict,
                "reason": line.reason,
            }
            for line in self.lines
        ]

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    def __str__(self) -> str:
        return to_text(lay_out_comparison(self))

    def _repr_html_(self) -> str:
        return to_html(lay_out_comparison(self))


def compare(result: Result, other: Result | str) -> Comparison:
    """`result` beside another result, or beside the figures published of a chip, such as "M4 Max".

    Raises ArgumentError for an unknown chip, and if no row has its like on the other side.
    """
    software, against = _software(result), None
    units = {row.key: row.unit for row in result}  # None for a row that could not be measured
    notes: tuple[str, ...] = ()
    if isinstance(other, Result):
        named = {row.key: _of_row(row) for row in other}
        label, against = other.environment.label, _software(other)
    elif isinstance(other, str):
        figures = [figure for figure in published(other) if units.get(figure.key, "") in (figure.unit, None)]
        named = {key: _of_figures([figure for figure in figures if figure.key == key]) for key in units}
        named = {key: side for key, side in named.items() if side.figures}
        label = f"published figures of {find_chip(other).name}"
        notes = _provenance(figures)
    else:
        raise ArgumentError(f"a result is compared with a Result or a chip's name, not with {other!r}")
    incomparable = None if (software is None) == (against is None) else software or against
    pairs = [(row, _of_row(row), named[row.key]) for row in result if row.key in named]
    # Rows that hold no number on either side, for the same reason, have nothing to compare.
    pairs = [pair for pair in pairs if pair[1].median is not None or pair[1].doubt != pair[2].doubt]
    if not pairs:
        raise ArgumentError(f"no row of this {result.probe} result has its like on the other side: {label}")
    lines = tuple(
        Line(row.key, _name(result, row), first, second, *_judge(first, second, incomparable))
        for row, first, second in pairs
    )
    return Comparison(
        probe=result.probe,
        first=result.environment.label,
        second=label,
        lines=lines,
        only_first=_names(result, named),
        only_second=_names(other, units) if isinstance(other, Result) else (),
        notes=notes,
    )


def _software(result: Result) -> str | None:
    """What stands in for an engine; None for an engine."""
    return result.environment.device if result.environment.is_software else None


def _of_row(row: Row) -> Side:
    if row.status != "ok" or row.median is None:
        doubt = row.status if row.status != "ok" else "ok without a median"
        return Side(None, None, None, row.unit, 1, False, doubt)
    doubts = [flag for flag in row.flags if flag in UNTRUSTED]
    if row.ci_low is None or row.ci_high is None:
        doubts.append("no interval")
    return Side(row.median, row.ci_low, row.ci_high, row.unit, 1, False, ", ".join(doubts) or None)


def _of_figures(figures: Sequence[Figure]) -> Side:
    """Figures of one key and unit: their median between the lowest and the highest."""
    known = [(figure.value, figure) for figure in figures if figure.value is not None]
    unit = figures[0].unit if figures else None
    if not known:
        return Side(None, None, None, unit, len(figures), True, "published as failed")
    low = min(figure.low or value for value, figure in known)
    high = max(figure.high or value for value, figure in known)
    middle = median(value for value, _ in known)
    return Side(middle, low, high, unit, len(known), True, "no interval published")


def _name(result: Result, row: Row) -> str:
    """What people call a row; in a suite, several probes measure what has one name."""
    if result.probe != "suite" or "config" not in row.params:
        return str(row.params.get("config", row.key))
    return f"{row.key.partition('/')[0]}: {row.params['config']}"


def _names(result: Result, other_side: Container[str]) -> tuple[str, ...]:
    """The rows whose keys the other side lacks; of a suite, only how many of each probe."""
    lacking = [row for row in result if row.key not in other_side]
    if result.probe != "suite":
        return tuple(_name(result, row) for row in lacking)
    counts = Counter(row.key.partition("/")[0] for row in lacking)
    return tuple(f"{count} of {probe}" for probe, count in counts.items())


def _judge(
    first: Side, second: Side, incomparable: str | None
) -> tuple[Estimate | None, Verdict, str | None]:
    if incomparable is not None:
        return None, "not comparable", incomparable
    doubts = [side.doubt or "" for side in (first, second) if side.median is None]
    if doubts:
        return None, "not comparable", ", against ".join(dict.fromkeys(doubts))
    if first.unit != second.unit:
        return None, "not comparable", f"{first.unit} and {second.unit}"
    if first.unit not in _TIMES | _RATES:
        return None, "not comparable", f"no faster or slower in {first.unit}"
    if not first.median or not second.median:  # the ratio of one to the other would have no inverse
        return None, "not comparable", "a median of 0"
    try:
        faster = ratio(first, second) if first.unit in _RATES else ratio(second, first)
    except ArgumentError as error:
        return None, "not comparable", str(error)
    low, high = faster.ci_low or faster.value, faster.ci_high or faster.value
    if doubt := first.doubt or second.doubt or ("no interval" if faster.ci_low is None else None):
        verdict = _verdict(low / PUBLISHED_MARGIN, high * PUBLISHED_MARGIN)
        return Estimate(faster.value, None, None), verdict, doubt if verdict == "UNCLEAR" else None
    if low >= 1 / SAME_MARGIN and high <= SAME_MARGIN:
        return faster, "SAME", None
    verdict = _verdict(low, high)
    return faster, verdict, "the intervals meet" if verdict == "UNCLEAR" else None


def _verdict(low: float, high: float) -> Verdict:
    return "FASTER" if low > 1 else "SLOWER" if high < 1 else "UNCLEAR"


def _provenance(figures: Sequence[Figure]) -> tuple[str, ...]:
    """The sources and caveats of the figures that are shown."""
    sources = dict.fromkeys(SOURCES[figure.source] for figure in figures)
    caveats = Counter(caveat for figure in figures for caveat in figure.caveats)
    return (
        f"Sources: {'; '.join(sources)}.",
        *(f"{n} of {len(figures)} figures: {CAVEATS[caveat]}" for caveat, n in caveats.most_common()),
    )
