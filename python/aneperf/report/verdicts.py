"""Verdicts: how changed results compare with earlier ones, or results with published figures, by row.

The second of two sides is judged, or the first where the second is published figures. A ratio says how many
times as fast the judged side is as the other. Its interval decides, never the ratio itself:

- FASTER or SLOWER: the whole interval lies more than `threshold` from 1. The level of this interval is the
  table's: at most 1 % of its FASTER and SLOWER are false, on average (Benjamini and Hochberg 1995);
- SAME: the whole 95 % interval is within 5 % of 1, or within the threshold if that is more;
- UNCLEAR: anything else.

The interval rests on what varies between pairs of processes that took turns, or else between files, or else
between the processes that measured a row. Where too few of any measured it, an assumed spread takes its
place. Then an interval that flags or a busy machine make doubtful, or none, is widened by a factor of 1.5, a
row is UNCLEAR if other work took the CPU ("preempted"), and SAME means within 10 %. Published figures have no
interval. If there are several, the ratio's goes from the lowest to the highest of them, and is widened by 1.5
too: sessions of one day on one M4 Max differ by up to 1.41, and those of two days by up to 4.2 where a call
is short.

Software, which is the emulator and the stand-in, is compared with software only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..comparison import ComparedRow, Failure, Names, Place, Side, Verdict
from ..measure import CONFIDENCE, PREEMPTED, Estimate, Evidence, contrast_of_ratios, discoveries, evidence
from ..units import has_speed, is_rate
from .sides import ERROR, Sides

SAME_MARGIN, SAME_MARGIN_ASSUMED = 0.05, 0.1
DOUBT_FACTOR = 1.5
HOLDS_1 = "the interval holds 1"
_FALSE_RATE = 0.01  # of the FASTER and SLOWER of a table
_NORMAL_95 = 1.96  # half of a 95 % interval in standard errors
_FARTHEST = 700.0  # natural logarithm of a ratio: a float ends at e^709


@dataclass(frozen=True)
class _Refusal:
    """Why two sides have no ratio, and how a gate takes it."""

    reason: str
    failure: Failure | None


def judge_rows(
    base: Sides,
    other: Sides,
    judged: Place,
    names: Names,
    threshold: float,
    ratios: Mapping[str, Sequence[float]],
) -> tuple[ComparedRow, ...]:
    """Judge every row that both sides have.

    Two rows without a number for the same reason have nothing to compare, but an error is always shown.
    """
    incomparable = base.software or other.software if base.is_software != other.is_software else None
    shared = [(key, side, other.rows[key]) for key, side in base.rows.items() if key in other.rows]
    pairs = [
        (key, first, second, _weigh(first, second, judged, incomparable, names, ratios.get(key, ())))
        for key, first, second in shared
        if not (first.median is second.median is None and first.doubt == second.doubt != ERROR)
    ]
    weighed = {key: found for key, _, _, found in pairs if isinstance(found, Evidence)}
    sides = {key: (first, second) for key, first, second, _ in pairs}
    p_values = [
        1.0 if found.assumed and PREEMPTED in _doubts(*sides[key]) else found.p_value(threshold)
        for key, found in weighed.items()
    ]
    is_found = dict(zip(weighed, discoveries(p_values, _FALSE_RATE), strict=True))
    rows = []
    for key, first, second, found in pairs:
        row = ComparedRow(key, base.names[key], first, second)
        if isinstance(found, _Refusal):
            rows.append(replace(row, reason=found.reason, failure=found.failure))
            continue
        ratio = found.estimate()
        verdict, reason = _verdict(found, ratio, is_found[key], threshold, _doubts(first, second))
        failures: dict[Verdict, Failure] = {"SLOWER": "slower", "UNCLEAR": "unclear"}
        rows.append(
            replace(
                row,
                ratio=ratio,
                verdict=verdict,
                reason=reason,
                failure=failures.get(verdict),
                assumed=found.assumed and not second.is_range,
                pairs=found.pairs,
            )
        )
    return tuple(rows)


def _weigh(
    first: Side,
    second: Side,
    judged: Place,
    incomparable: str | None,
    names: Names,
    ratios: Sequence[float],
) -> Evidence | _Refusal:
    """Return the evidence of how many times as fast the judged side is, or why there is none."""
    if incomparable is not None:
        return _Refusal(incomparable, "error")
    if first.median is None or second.median is None:
        return _refuse(first, second, names)
    if first.unit != second.unit:
        return _Refusal(f"{first.unit} and {second.unit}", "error")
    if not has_speed(first.unit):
        return _Refusal(f"no faster or slower in {first.unit}" if first.unit else "without a unit", None)
    if first.median == second.median == 0:
        return _Refusal("both 0", None)
    if (paired := contrast_of_ratios(ratios)) is not None:
        return Evidence(paired, assumed=False, pairs=len(ratios))
    by_file = max(side.figures for side in (first, second) if not side.is_range) > 1
    units = [_units(side, by_file) for side in (first, second)]
    if not all(median > 0 for side in units for median in side):
        return _Refusal("a median of 0", "error")
    logarithms = [math.log(median) for side in units for median in side]
    if max(logarithms) - min(logarithms) > _FARTHEST:
        return _Refusal("too far apart for a ratio", "error")
    if is_rate(first.unit) == (judged == "second"):
        units.reverse()
    within = math.hypot(*(_error(side) for side in (first, second) if len(_units(side, by_file)) == 1))
    found = evidence(units[0], units[1], within)
    if second.is_range and second.ci_low and second.ci_high:
        below, above = second.median / second.ci_low, second.ci_high / second.median
        smaller, larger = (above, below) if is_rate(first.unit) else (below, above)
        return replace(found, smaller=smaller * DOUBT_FACTOR, larger=larger * DOUBT_FACTOR)
    if found.assumed and _doubts(first, second):
        return replace(found, smaller=DOUBT_FACTOR, larger=DOUBT_FACTOR)
    return found


def _refuse(first: Side, second: Side, names: Names) -> _Refusal:
    """Say which side has no number, and why."""
    if second.is_range and second.median is None:
        return _Refusal(str(second.doubt), None)
    lacking = [
        (side, name) for side, name in ((first, names.first), (second, names.second)) if side.median is None
    ]
    failure: Failure = "error" if any(side.doubt == ERROR for side, _ in lacking) else "missing"
    return _Refusal(", ".join(f"{side.doubt} in {name}" for side, name in lacking), failure)


def _units(side: Side, by_file: bool) -> tuple[float, ...]:
    """Return the medians that show what varies: of files, or of the processes of the only file."""
    return (side.median or 0.0,) if by_file and side.figures == 1 else side.units


def _error(side: Side) -> float:
    """Return the standard error of a median's logarithm by its interval; 0 if there is none."""
    if not side.median or not side.ci_low or side.ci_high is None or side.is_range:
        return 0.0
    middle = math.log(side.median)
    return max(math.log(side.ci_high) - middle, middle - math.log(side.ci_low)) / _NORMAL_95


def _doubts(*sides: Side) -> str:
    """List what makes the intervals of sides doubtful, each once."""
    return ", ".join(dict.fromkeys(doubt for side in sides if side.doubt for doubt in side.doubt.split(", ")))


def _verdict(
    found: Evidence, interval: Estimate, is_found: bool, threshold: float, doubts: str
) -> tuple[Verdict, str | None]:
    """Return the verdict, and why it is unclear."""
    if is_found:
        return "FASTER" if interval.value > 1 else "SLOWER", None
    if found.assumed and doubts:
        return "UNCLEAR", doubts
    if interval.ci_low is None or interval.ci_high is None:
        return "UNCLEAR", "no interval"
    margin = 1 + max(threshold, SAME_MARGIN_ASSUMED if found.assumed else SAME_MARGIN)
    if 1 / margin <= interval.ci_low and interval.ci_high <= margin:
        return "SAME", None
    if interval.ci_low <= 1 <= interval.ci_high:
        return "UNCLEAR", HOLDS_1
    if found.p_value(threshold) > 1 - CONFIDENCE:
        return "UNCLEAR", f"the interval is not beyond {100 * threshold:g} %"
    return "UNCLEAR", "sure to 95 % and not to the 99 % or more that a verdict takes"
