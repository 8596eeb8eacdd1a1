"""The table of a comparison."""

from ..comparison import ComparedRow, Comparison, Side
from .columns import UNKNOWN, larger_half, significant
from .table import Table

_WIDTH = 100


def lay_out_comparison(comparison: Comparison) -> Table:
    """Lay out both sides of every row, the ratio and the verdict, with the verdicts' reasons below."""
    units = {side.unit for row in comparison.rows for side in (row.first, row.second) if side.unit}
    common = units.pop() if len(units) == 1 else None
    suffix = f" ({common})" if common else ""
    return Table(
        heading=(
            f"aneperf compare: {comparison.probe}",
            f"First: {comparison.first}.",
            f"Second: {comparison.second}.",
        ),
        header=("Config", f"First{suffix}", "±", f"Second{suffix}", "±", "Ratio", ""),
        align=("left", "right", "right", "right", "right", "right", "left"),
        rows=tuple(_cells(row, with_unit=common is None) for row in comparison.rows),
        lines=(*_legend(comparison), *_reasons(comparison), *_one_sided(comparison), *comparison.notes),
        width=_WIDTH,
    )


def _cells(row: ComparedRow, *, with_unit: bool) -> tuple[str, ...]:
    return (
        row.name,
        _value(row.first, with_unit),
        _spread(row.first),
        _value(row.second, with_unit),
        _spread(row.second),
        UNKNOWN if row.ratio is None else _ratio(row.ratio.value),
        f"{row.verdict}: {row.reason}" if row.verdict == "not comparable" else row.verdict,
    )


def _value(side: Side, with_unit: bool) -> str:
    value = significant(side.median, 4)
    return f"{value} {side.unit}" if with_unit and side.unit and side.median is not None else value


def _ratio(value: float) -> str:
    """Write how many times as fast, or as slow, the judged side is."""
    text = significant(max(value, 1 / value), 3)
    direction = "" if text == "1.00" else " faster" if value > 1 else " slower"
    return f"{text}x{direction}"


def _spread(side: Side) -> str:
    """Write the larger half of an interval in percent, or the range of several figures."""
    if not side.is_range:
        return larger_half(side)
    if side.ci_low is None or side.ci_low == side.ci_high:
        return UNKNOWN
    return f"{significant(side.ci_low, 3)}-{significant(side.ci_high, 3)}"


def _legend(comparison: Comparison) -> list[str]:
    ratios = [row.ratio for row in comparison.rows if row.ratio is not None]
    legend = []
    if ratios:
        judged, base = ("second", "first") if comparison.judged == "second" else ("first", "second")
        legend.append(f"Ratio: how many times as fast, or as slow, the {judged} is as the {base}.")
    if any(ratio.ci_low is not None for ratio in ratios):
        legend.append("FASTER, SLOWER: the 95 % intervals do not meet. SAME: the ratio is within 5 % of 1.")
    if any(ratio.ci_low is None for ratio in ratios):
        legend.append(
            "Unless both sides have a trusted interval, FASTER and SLOWER need a factor of 1.5 beyond the "
            "interval, or beyond all published figures."
        )
    return legend


def _reasons(comparison: Comparison) -> list[str]:
    """Write a line for each reason of an unclear verdict, with the rows that share it."""
    names: dict[str, list[str]] = {}
    for row in comparison.rows:
        if row.verdict == "UNCLEAR" and row.reason:
            names.setdefault(row.reason, []).append(row.name)
    return [f"UNCLEAR, {reason}: {', '.join(sharing)}." for reason, sharing in names.items()]


def _one_sided(comparison: Comparison) -> list[str]:
    places = (("first", comparison.only_first), ("second", comparison.only_second))
    return [f"Only in the {place}: {', '.join(names)}." for place, names in places if names]
