"""The rows of ratios.py and how they print."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import rich.box
from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """A line of the table. The verdict is over `ratio`, or over `ours` where nothing is compared with."""

    case: str
    ours: float | None = None
    unit: str = ""
    reference: str = ""
    reference_value: float | None = None
    ratio: float | None = None
    low: float | None = None  # 5 % and 95 % of what is judged
    high: float | None = None
    target: float | None = None
    at_most: bool = False  # the target is a bound from above
    note: str = ""

    @property
    def verdict(self) -> str:
        judged = self.ours if self.ratio is None else self.ratio
        if judged is None:
            return "unavailable"
        if self.target is None:
            return "no target"
        return "met" if (judged < self.target if self.at_most else judged >= self.target) else "missed"


def spread(values: list[float]) -> tuple[float, float, float]:
    """Return the median, 5 % and 95 %."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    return statistics.median(values), cuts[0], cuts[-1]


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def judged_cells(row: Row) -> list[str]:
    """Return the ratio (or the figure itself), its range, the target and the verdict."""
    value = f"{number(row.ours)} {row.unit}" if row.ratio is None and row.ours else number(row.ratio)
    interval = "-" if row.low is None else f"{number(row.low)}-{number(row.high)}"
    target = "-" if row.target is None else f"{'<' if row.at_most else '>='} {row.target:g}"
    return [value, interval, target, row.verdict]


def flat_table(rows: list[Row]) -> Table:
    """Print a line for each row, whole, for a pipe."""
    table = Table("case", "ours", "", "against", "its", "ratio", "5-95 %", "target", "verdict", "note")
    table.box, table.pad_edge = None, False
    for column in table.columns:
        column.no_wrap = True
    for row in rows:
        ratio, *judged = judged_cells(row)
        ratio = "-" if row.ratio is None else ratio
        figures = [number(row.ours), row.unit, row.reference or "-", number(row.reference_value)]
        table.add_row(*map(escape, [row.case, *figures, ratio, *judged, row.note]))
    return table


def grouped_table(rows: list[Row]) -> Table:
    """Print a section for each case, narrow enough for a terminal."""
    table = Table(box=rich.box.SIMPLE_HEAD)
    table.add_column("against", ratio=1)
    for title in ("its", "ratio", "5-95 %", "target"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    colors = {"met": "green", "missed": "red"}
    case = ""
    for row in rows:
        if row.case != case:
            ours = f": {number(row.ours)} {row.unit}" if row.ratio is not None and not row.at_most else ""
            table.add_section()
            table.add_row(f"[bold]{escape(row.case)}[/]{ours}")
            case = row.case
        *figures, verdict = judged_cells(row)
        against = [escape(row.reference)] if row.reference else []
        against += [f"[dim]{escape(row.note)}[/]"] if row.note else []
        verdict = f"[{colors.get(verdict, 'dim')}]{verdict}[/]"
        table.add_row("\n".join(against), number(row.reference_value), *figures, verdict)
    return table
