"""Find the scan in a result's rows: the parameter that they differ in, while the others stay."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..results import Row

LEAST_POINTS = 3  # of a line in a scan


@dataclass(frozen=True)
class Scan:
    """An axis, and lines of rows by what else they have: a name and rows in the axis's order."""

    axis: str
    lines: list[tuple[str, list[Row]]]

    @property
    def longest(self) -> int:
        """Return the number of different values in the longest line."""
        return max((len({row.params[self.axis] for row in line}) for _, line in self.lines), default=0)


def find_scan(rows: Sequence[Row]) -> Scan | None:
    """Return the scan over the parameter with the fewest lines; None if none has a line of three points."""
    names = dict.fromkeys(
        name for row in rows for name, value in row.params.items() if not isinstance(value, str)
    )
    scans = [_scan_over(name, rows, [other for other in names if other != name]) for name in names]
    found = [scan for scan in scans if scan.longest >= LEAST_POINTS]
    return min(found, key=lambda scan: len(scan.lines), default=None)


def _scan_over(axis: str, rows: Sequence[Row], others: Iterable[str]) -> Scan:
    """Group rows by their other numbers and their texts; names and ends of an interval do not count."""
    fixed = [name for name in others if len({row.params.get(name) for row in rows}) > 1]
    if axis == "start_s":  # of a load over time
        fixed = [name for name in fixed if name != "end_s"]
    texts = dict.fromkeys(
        name for row in rows for name, value in row.params.items() if isinstance(value, str)
    )
    fixed += [name for name in texts if name not in ("config", "output") and _groups(name, rows)]
    lines: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        if not isinstance(row.params.get(axis, ""), str):
            lines.setdefault(tuple(row.params.get(name) for name in fixed), []).append(row)
    named = []
    for values, line in lines.items():
        said = ", ".join(f"{shown(name)} {value}" for name, value in zip(fixed, values, strict=True))
        named.append((said, sorted(line, key=lambda row: float(row.params[axis]))))
    return Scan(axis, named)


def _groups(name: str, rows: Sequence[Row]) -> bool:
    """Tell whether a text puts rows into groups, as a data type does and a checksum of each does not."""
    return 1 < len({row.params.get(name) for row in rows}) < len(rows)


def shown(parameter: str) -> str:
    """Return a parameter's name for people: start (s), and n of a program's axis."""
    return re.sub(r"_s$", " (s)", parameter.removeprefix("axis_"))
