"""Entries of the leaderboards: published figures and rows of submissions, in one form."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from ...chips import CAVEATS, Figure
from ...files import one_line
from ...measure import DOUBTFUL
from ...results import Environment, Row
from ...units import has_speed, is_rate
from ..flags import MEANINGS

Better = Literal["lower", "higher"]
_LONGEST = 60  # of a text from a file, in a cell
_COPY = "another file has the same calls: one of them is a copy, and nothing tells which"
_STATED = "its calls are not in the file, so nothing recomputes it"


@dataclass(frozen=True)
class Entry:
    """A figure of a chip: `value` in `unit`, its interval or published range, and how it was obtained.

    `source` is a name in SOURCES or a file among the submissions. `remarks` are flags and caveats with their
    meaning; a doubtful entry gets no place.
    """

    key: str
    chip: str
    value: float
    low: float | None
    high: float | None
    unit: str
    tflops: float | None
    origin: Literal["published", "submitted"]
    by: str
    how: str
    source: str
    machine: str
    macos: str
    date: str
    remarks: tuple[tuple[str, str], ...] = ()
    is_doubtful: bool = False
    is_private: bool = True  # by Apple's private framework, as aneperf measures
    is_copy: bool = False  # another submission has the same calls
    place: int | None = None


@dataclass(frozen=True)
class Board:
    """The entries of one key in one unit, the best first where one end of the unit is better.

    Entries of Apple's private framework and of other routes have boards of their own.
    """

    key: str
    unit: str
    better: Better | None
    entries: tuple[Entry, ...]

    @property
    def title(self) -> str:
        """Return the key, and that another route was taken."""
        return (
            self.key
            if self.entries[0].is_private
            else f"{self.key}, by another route than the private framework"
        )


def published_entries(figures: Iterable[Figure]) -> Iterator[Entry]:
    """Make entries of the published figures that have a value."""
    for figure in figures:
        if figure.value is None:
            continue
        quoted = figure.status == "quoted"
        yield Entry(
            key=figure.key,
            chip=figure.chip,
            value=figure.value,
            low=figure.low,
            high=figure.high,
            unit=figure.unit,
            tflops=figure.tflops,
            origin="published",
            by=figure.contributor or "not named",
            how="quoted" if quoted else "published",
            source=figure.source,
            machine=figure.machine or "unavailable",
            macos=figure.macos or "unavailable",
            date=figure.date or "unavailable",
            remarks=tuple((name, CAVEATS[name]) for name in figure.caveats),
            is_doubtful=quoted,
            is_private=figure.is_private,
        )


def submitted_entries(
    rows: Iterable[Row], environment: Environment, chip: str, contributor: str, source: str
) -> Iterator[Entry]:
    """Make entries of the ok rows with a number; intervals of a load are part of the row of all of it."""
    build = one_line(environment.os_build or "", _LONGEST)
    system = one_line(environment.os.removeprefix("macOS "), _LONGEST)
    for row in rows:
        if row.status != "ok" or row.median is None or row.unit is None or "start_s" in row.params:
            continue
        remarks = tuple((name, MEANINGS[name]) for name in row.flags if name in MEANINGS)
        if not row.durations_ns:
            remarks = (*remarks, ("stated", _STATED))
        yield Entry(
            key=row.key,
            chip=chip,
            value=row.median,
            low=row.ci_low,
            high=row.ci_high,
            unit=row.unit,
            tflops=row.metrics.get("tflops"),
            origin="submitted",
            by=contributor,
            how=_how(row, environment),
            source=source,
            machine=one_line(environment.model, _LONGEST),
            macos=f"{system} ({build})",
            date=environment.started[:10],
            remarks=remarks,
            is_doubtful=not row.durations_ns or not DOUBTFUL.isdisjoint(row.flags),
        )


def as_copy(entry: Entry) -> Entry:
    """Return the entry of a row whose calls another submission has too."""
    return replace(entry, is_copy=True, remarks=(*entry.remarks, ("copy", _COPY)))


def _how(row: Row, environment: Environment) -> str:
    version = one_line(environment.aneperf, _LONGEST)
    calls = f", {row.n} calls" if row.n else ""
    processes = f" in {len(row.processes)} processes" if row.processes else ""
    checked = "" if row.error is None else f", output checked: error {row.error:.1e}"
    return f"measured with aneperf {version}{calls}{processes}{checked}"


def boards_of(entries: Iterable[Entry]) -> list[Board]:
    """Group entries that are alike, in the order in which these come first, and give them places."""
    groups: dict[tuple[str, str, bool], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.key, entry.unit, entry.is_private), []).append(entry)
    return [_board(key, unit, found) for (key, unit, _), found in groups.items()]


def _board(key: str, unit: str, entries: list[Entry]) -> Board:
    if not has_speed(unit):
        return Board(key, unit, None, tuple(sorted(entries, key=lambda entry: (entry.chip, entry.value))))
    better: Better = "higher" if is_rate(unit) else "lower"
    sign = 1 if better == "lower" else -1
    ranked = sorted(entries, key=lambda entry: (sign * entry.value, entry.chip, entry.by, entry.source))
    return Board(key, unit, better, tuple(_placed(entry, ranked, sign) for entry in ranked))


def _placed(entry: Entry, entries: list[Entry], sign: int) -> Entry:
    """Give an entry the place after all that are surely better: those whose intervals do not meet its own.

    An entry without an interval has no place, and is surely better than none. A copy has one, but takes no
    place from others.
    """
    if not _has_place(entry):
        return entry
    best = min(sign * end for end in _ends(entry))
    rivals = [other for other in entries if _has_place(other) and not other.is_copy]
    surely = sum(max(sign * end for end in _ends(rival)) < best for rival in rivals)
    return replace(entry, place=1 + surely)


def _has_place(entry: Entry) -> bool:
    return not entry.is_doubtful and all(math.isfinite(end) for end in _ends(entry))


def _ends(entry: Entry) -> tuple[float, float]:
    """Return the ends of an entry's interval; NaN for one that is not known."""
    return (math.nan if entry.low is None else entry.low, math.nan if entry.high is None else entry.high)
