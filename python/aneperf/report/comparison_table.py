"""The table of a comparison."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, get_args

from ..comparison import ComparedRow, Comparison, Side, Verdict
from ..measure import ASSUMED_SPREAD, Estimate
from .columns import UNKNOWN, significant
from .table import Table
from .verdicts import DOUBT_FACTOR, HOLDS_1, SAME_MARGIN, SAME_MARGIN_ASSUMED

_MARK = "*"  # of a verdict that rests on an assumed spread
_FACTS = 6  # that are named, of those that differ
_NAMES = 6  # of rows that share a reason
_SHORT = 9  # characters of a name that fits above "1.19x slower" with " is"
_LARGEST = 10  # ratio with two decimals
_FOLDED = "No row of {} is comparable: {}. --verbose shows them."
_LONG = 40  # rows; a longer table leaves out those that are SAME


def lay_out_comparison(comparison: Comparison, *, verbose: bool = False) -> Table:
    """Lay out both sides of every row, the ratio and the verdict, with the verdicts' reasons below.

    A long table leaves out the rows that are SAME, and one line stands for rows that are all refused for one
    reason, unless the table is `verbose`.
    """
    is_long = len(comparison) > _LONG and not verbose
    refusal = None if verbose else _refusal_of_all(comparison)
    drawn = [] if refusal else [row for row in comparison if not (is_long and row.verdict == "SAME")]
    units = Counter(side.unit for row in comparison for side in (row.first, row.second) if side.unit)
    common = max(units, key=units.__getitem__, default=None)
    names = comparison.names
    judged = comparison.judged_name
    ratio = f"{judged} is" if len(judged) <= _SHORT else "Ratio"
    header = ["Config", names.first, names.second, ratio, "Interval", ""]
    rows = [_cells(row, common) for row in drawn]
    numbers: list[Literal["right"]] = ["right"] * 4
    spare = [1, 2]
    if any(row.second.is_range for row in comparison.rows):
        header.insert(3, "Range")
        numbers.append("right")
        spare = [3, 1]
        for row, cells in zip(drawn, rows, strict=True):
            cells.insert(3, _range(row.second))
    same_left_out = not refusal and len(drawn) < len(comparison)
    left_out = ["The SAME rows are left out; --verbose shows them."] if same_left_out else []
    title = f"aneperf compare: {comparison.probe}" + (f", medians in {common}" if common else "")
    return Table(
        heading=(title, *_sides(comparison), *_warnings(comparison)),
        header=tuple(header) if rows else (),
        align=("left", *numbers, "left"),
        rows=tuple(map(tuple, rows)),
        lines=(
            *([_FOLDED.format(len(comparison), refusal)] if refusal else _told(comparison, left_out)),
            *comparison.advice,
        ),
        spare=tuple(spare),
    )


def _told(comparison: Comparison, left_out: Sequence[str]) -> list[str]:
    return [
        *_summary(comparison),
        *left_out,
        *_reasons(comparison),
        *_legend(comparison),
        *comparison.notes,
    ]


def _refusal_of_all(comparison: Comparison) -> str | None:
    """Return why no row of several compares with published figures, if that is one reason."""
    reasons = {row.reason for row in comparison if row.ratio is None}
    is_one = comparison.judged == "first" and len(comparison) > 1 and len(reasons) == 1
    return reasons.pop() if is_one and all(row.ratio is None for row in comparison) else None


def _sides(comparison: Comparison) -> list[str]:
    names = comparison.names
    if comparison.first == comparison.second:
        return [f"{names.first}, {names.second}: {comparison.first}."]
    return [f"{names.first}: {comparison.first}.", f"{names.second}: {comparison.second}."]


def _warnings(comparison: Comparison) -> list[str]:
    """Say what makes the verdicts pointless, or about something else than the code."""
    if comparison.same:
        return ["Both sides are the same measurement."]
    found = [f"{fact.fact} {fact.first}, then {fact.second}" for fact in comparison.differences]
    if not found:
        return []
    more = [f"{len(found) - _FACTS} more"] if len(found) > _FACTS else []
    return [f"Measured differently: {'; '.join(found[:_FACTS] + more)}."]


def _cells(row: ComparedRow, common: str | None) -> list[str]:
    ratio, unit = row.ratio, row.first.unit or row.second.unit
    verdict = f"{row.verdict} {_MARK}" if row.assumed else row.verdict
    return [
        f"{row.name} ({unit})" if unit and unit != common else row.name,
        significant(row.first.median, 4),
        significant(row.second.median, 4),
        UNKNOWN if ratio is None else _ratio(ratio.value),
        UNKNOWN if ratio is None else _interval(ratio),
        verdict if ratio is not None else _state(row),
    ]


def _state(row: ComparedRow) -> str:
    """Say why a row has no ratio: in a word if a side has no number, which is explained below."""
    if lacking := dict.fromkeys(str(side.doubt) for side in (row.first, row.second) if side.median is None):
        return ", ".join(lacking)
    return f"{row.verdict}: {row.reason}" if row.failure else str(row.reason)


def _range(side: Side) -> str:
    """Write the lowest and the highest of several published figures."""
    if side.ci_low is None or side.ci_low == side.ci_high:
        return UNKNOWN
    return f"{significant(side.ci_low, 3)}-{significant(side.ci_high, 3)}"


def _ratio(value: float) -> str:
    """Write how many times as fast, or as slow, the judged side is."""
    text = significant(max(value, 1 / value), 3)
    direction = "" if text == "1.00" else " faster" if value > 1 else " slower"
    return f"{text}x{direction}"


def _interval(ratio: Estimate) -> str:
    """Write the interval in the direction of the ratio."""
    if not ratio.ci_low or ratio.ci_high is None:  # one of them may be too small or large for a float
        return UNKNOWN
    ends = (ratio.ci_low, ratio.ci_high) if ratio.value >= 1 else (1 / ratio.ci_high, 1 / ratio.ci_low)
    return "-".join(f"{end:.2f}" if end < _LARGEST else significant(end, 3) for end in ends)


def _summary(comparison: Comparison) -> list[str]:
    counts = Counter(row.verdict for row in comparison.rows)
    found = [f"{counts[verdict]} {verdict}" for verdict in get_args(Verdict) if counts[verdict]]
    if comparison.unmeasured:
        found.append(f"{comparison.unmeasured} without a time on either side")
    lines = [f"{', '.join(found)}."] if found else ["No row in common."]
    return [*lines, *(f"{line[0].upper()}{line[1:]}." for line in comparison.one_sided())]


def _reasons(comparison: Comparison) -> list[str]:
    """Write a line for each reason of an unclear verdict, and of a row without a number."""
    sharing: dict[str, list[str]] = {}
    for row in comparison.rows:
        if row.verdict == "UNCLEAR" and row.reason and row.reason != HOLDS_1:
            sharing.setdefault(f"UNCLEAR, {row.reason}.", []).append(row.name)
        for side, name in ((row.first, comparison.names.first), (row.second, comparison.names.second)):
            if side.detail is not None:
                sharing.setdefault(f"{side.doubt} in {name}: {side.detail}", []).append(row.name)
    lines = []
    for reason, names in sharing.items():
        more = [f"{len(names) - _NAMES} more"] if len(names) > _NAMES else []
        lines.append(f"{', '.join(names[:_NAMES] + more)}: {reason}")
    return lines


def _legend(comparison: Comparison) -> list[str]:
    rated = [row for row in comparison.rows if row.ratio is not None]
    verdicts = {row.verdict for row in rated}
    legend = []
    if rated:
        if len(comparison.judged_name) > _SHORT:
            legend.append(f"Ratio: how many times as fast, or as slow, {comparison.judged_name} is.")
        if pairs := {row.pairs for row in rated if row.pairs}:
            number = "-".join(str(end) for end in sorted({min(pairs), max(pairs)}))
            legend.append(
                f"The ratio is that of the turns of {number} pairs of processes, not of the medians."
            )
        legend.append(f"Interval: of the ratio, 95 %{_widened(rated)}.")
    if verdicts & {"FASTER", "SLOWER"}:
        by = f"surely by more than {100 * comparison.threshold:g} %"
        legend.append(f"FASTER, SLOWER: {by}; at most 1 % of them by chance.")
    for assumed, margin in ((False, SAME_MARGIN), (True, SAME_MARGIN_ASSUMED)):
        if any(row.verdict == "SAME" and row.assumed == assumed for row in rated):
            mark = f" {_MARK}" if assumed else ""
            within = 100 * max(margin, comparison.threshold)
            legend.append(f"SAME{mark}: the interval is within {within:g} % of 1.")
    if any(row.assumed for row in rated):
        legend.append(
            f"{_MARK}: too few processes to tell what varies between them: {100 * ASSUMED_SPREAD:g} % is "
            "assumed. Measure with --processes 5, or compare several files a side."
        )
    return legend


def _widened(rated: list[ComparedRow]) -> str:
    """Say which intervals are wider than what was measured."""
    where = []
    if any(row.second.is_range for row in rated):
        where.append("beyond all published figures")
    if any(row.assumed and (row.first.doubt or row.second.doubt) for row in rated):
        where.append("where a side's own is doubtful or unknown")
    return f", widened by {DOUBT_FACTOR:g} {' and '.join(where)}" if where else ""
