"""Verdicts: how a changed result compares with an earlier one, or a result with published figures, by row.

The second of two results is judged, or the result where the other side is published figures. A ratio says how
many times as fast the judged side is as the other. The verdict is

- FASTER or SLOWER if the two 95 % intervals do not meet, and part of the ratio's interval is more than 5 %
  from 1;
- SAME if the ratio's whole interval, from the smallest to the largest ratio that both intervals allow, is
  within 5 % of 1: two runs on one machine differ by as much;
- UNCLEAR otherwise.

If a side has no interval, or one that its flags make doubtful, FASTER and SLOWER need a factor of more than
1.5, and nothing is SAME. If other work took the CPU from a side ("preempted"), it is UNCLEAR. Published
figures never have an interval. If there are several, the factor counts from the lowest or the highest of
them: sessions of one day on one M4 Max differ by up to 1.41, and those of two days by up to 4.2 where a call
is short.

Software, which is the emulator and the stand-in, is compared with software only.
"""

import sys
from collections import Counter
from collections.abc import Container, Sequence
from statistics import median

from ..checks import shown
from ..chips import CAVEATS, SOURCES, Figure, find_chip, published
from ..comparison import NO_DIRECTION, ComparedRow, Comparison, Side, Verdict
from ..errors import ArgumentError
from ..files import one_line
from ..measure import PREEMPTED, UNTRUSTED, Estimate, ratio
from ..results import Result, Row

SAME_MARGIN = 1.05
PUBLISHED_MARGIN = 1.5
_TIMES = frozenset({"ns", "us", "ms", "s"})
_RATES = frozenset({"FLOPS", "GFLOPS", "TFLOPS", "TOPS", "B/s", "MB/s", "GB/s", "1/s"})


def compare_results(result: Result, other: Result | str) -> Comparison:
    """Judge `other`, a later result, against `result`; or `result` against a chip's published figures.

    Raises ArgumentError for an unknown chip, and if the two sides have no row in common.
    """
    notes: tuple[str, ...] = ()
    if isinstance(other, Result):
        sides, label = {row.key: _of_row(row) for row in other}, other.environment.label
    elif isinstance(other, str):
        sides, label, notes = _published_sides(result, other)
    else:
        raise ArgumentError(f"a result is compared with a Result or a chip's name, not with {shown(other)}")
    software, against = _software(result), _software(other)
    incomparable = None if (software is None) == (against is None) else software or against
    pairs = [(row, _of_row(row), sides[row.key]) for row in result if row.key in sides]
    # Two rows without a number for the same reason have nothing to compare, but an error is always shown.
    pairs = [
        (row, first, second)
        for row, first, second in pairs
        if first.median is not None or first.doubt != second.doubt or first.doubt == "error"
    ]
    if not pairs:
        raise ArgumentError(
            f"this {one_line(result.probe)} result has no row in common with the other side: {label}"
        )
    of_results = isinstance(other, Result)
    return Comparison(
        probe=result.probe,
        first=result.environment.label,
        second=label,
        judged="second" if of_results else "first",
        rows=tuple(
            ComparedRow(
                row.key,
                _name(result, row),
                first,
                second,
                *_judge(*((second, first) if of_results else (first, second)), incomparable),
            )
            for row, first, second in pairs
        ),
        only_first=_names(result, sides),
        only_second=_names(other, {row.key for row in result}) if isinstance(other, Result) else (),
        notes=notes,
    )


def _published_sides(result: Result, chip: str) -> tuple[dict[str, Side], str, tuple[str, ...]]:
    """Return a chip's figures by key, for the result's rows, with their label and notes."""
    units = {row.key: row.unit for row in result}  # None for a row that could not be measured
    figures = [figure for figure in published(chip) if units.get(figure.key, "") in (figure.unit, None)]
    by_key: dict[str, list[Figure]] = {}
    for figure in figures:
        by_key.setdefault(figure.key, []).append(figure)
    sides = {key: _of_figures(same) for key, same in by_key.items()}
    return sides, f"published figures of {find_chip(chip).name}", _provenance(figures)


def _software(side: Result | str) -> str | None:
    """Return the name of the software that replaces an engine; None for an engine."""
    return side.environment.device if isinstance(side, Result) and side.environment.is_software else None


def _of_row(row: Row) -> Side:
    if row.status != "ok" or row.median is None:
        doubt = row.status if row.status != "ok" else "ok without a median"
        return Side(None, None, None, row.unit, 1, False, doubt)
    doubts = [flag for flag in row.flags if flag in UNTRUSTED or flag == PREEMPTED]
    if row.ci_low is None or row.ci_high is None:
        doubts.append("no interval")
    return Side(row.median, row.ci_low, row.ci_high, row.unit, 1, False, ", ".join(doubts) or None)


def _of_figures(figures: Sequence[Figure]) -> Side:
    """Return the median, the lowest and the highest of figures of one key and unit."""
    known = [(figure.value, figure) for figure in figures if figure.value is not None]
    unit = figures[0].unit
    if not known:
        return Side(None, None, None, unit, len(figures), True, "published as failed")
    low = min(figure.low or value for value, figure in known)
    high = max(figure.high or value for value, figure in known)
    middle = median(value for value, _ in known)
    return Side(middle, low, high, unit, len(known), True, "no interval published")


def _name(result: Result, row: Row) -> str:
    """Return a row's short name, with the probe's in a suite, where names repeat."""
    if result.probe != "suite" or "config" not in row.params:
        return row.name
    return f"{row.key.partition('/')[0]}: {row.name}"


def _names(result: Result, other_side: Container[str]) -> tuple[str, ...]:
    """Name the rows that the other side lacks; for a suite, count them by probe."""
    lacking = [row for row in result if row.key not in other_side]
    if result.probe != "suite":
        return tuple(_name(result, row) for row in lacking)
    counts = Counter(row.key.partition("/")[0] for row in lacking)
    return tuple(f"{count} of {probe}" for probe, count in counts.items())


def _judge(judged: Side, base: Side, incomparable: str | None) -> tuple[Estimate | None, Verdict, str | None]:
    if incomparable is not None:
        return None, "not comparable", incomparable
    doubts = [side.doubt or "" for side in (base, judged) if side.median is None]
    if doubts:
        return None, "not comparable", ", against ".join(dict.fromkeys(doubts))
    if judged.unit != base.unit:
        return None, "not comparable", f"{base.unit} and {judged.unit}"
    if judged.unit not in _TIMES | _RATES:
        return None, "not comparable", f"{NO_DIRECTION} {judged.unit}"
    if not judged.median or not base.median:  # one of the two ratios would be infinite
        return None, "not comparable", "a median of 0"
    try:
        faster = ratio(judged, base) if judged.unit in _RATES else ratio(base, judged)
    except ArgumentError as error:
        return None, "not comparable", str(error)
    if faster.value < sys.float_info.min:  # its inverse would be infinite
        return None, "not comparable", "too far apart for a ratio"
    if PREEMPTED in (base.doubt or "") + (judged.doubt or ""):
        return Estimate(faster.value, None, None), "UNCLEAR", PREEMPTED
    low, high = faster.ci_low or faster.value, faster.ci_high or faster.value
    if doubt := base.doubt or judged.doubt or ("no interval" if faster.ci_low is None else None):
        verdict = _verdict(low / PUBLISHED_MARGIN, high * PUBLISHED_MARGIN)
        return Estimate(faster.value, None, None), verdict, doubt if verdict == "UNCLEAR" else None
    if low >= 1 / SAME_MARGIN and high <= SAME_MARGIN:
        return faster, "SAME", None
    verdict = _verdict(low, high)
    return faster, verdict, "the intervals meet" if verdict == "UNCLEAR" else None


def _verdict(low: float, high: float) -> Verdict:
    return "FASTER" if low > 1 else "SLOWER" if high < 1 else "UNCLEAR"


def _provenance(figures: Sequence[Figure]) -> tuple[str, ...]:
    """Name the sources and caveats of the figures."""
    sources = dict.fromkeys(SOURCES[figure.source] for figure in figures)
    caveats = Counter(caveat for figure in figures for caveat in figure.caveats)
    return (
        f"Sources: {'; '.join(sources)}.",
        *(f"{n} of {len(figures)} figures: {CAVEATS[caveat]}" for caveat, n in caveats.most_common()),
    )
