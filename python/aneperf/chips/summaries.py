"""Summarize what is published of a key on each chip, and compare a measured number with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from ..units import has_speed, is_rate
from .catalog import CHIPS, find_chip
from .published import Figure, Route, shipped_figures

_ORDER = {chip.name: place for place, chip in enumerate(CHIPS)}


@dataclass(frozen=True)
class Summary:
    """The figures of one key and unit on one chip, by one route.

    `value` is the median of those that did not fail, and `low` and `high` are the lowest and the highest,
    published ranges included. All three are None if every run failed.
    """

    key: str
    chip: str
    unit: str
    value: float | None
    low: float | None
    high: float | None
    figures: tuple[Figure, ...]

    @property
    def route(self) -> Route:
        """Return the library that ran the program."""
        return self.figures[0].route

    @property
    def is_private(self) -> bool:
        """Tell whether it compares with rows of aneperf, as `Figure.is_private` does."""
        return self.figures[0].is_private

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the names of its sources in `SOURCES`."""
        return tuple(dict.fromkeys(figure.source for figure in self.figures))

    @property
    def caveats(self) -> tuple[str, ...]:
        """Return the names in `CAVEATS` of every fault that one of its figures has."""
        return tuple(sorted({caveat for figure in self.figures for caveat in figure.caveats}))


@dataclass(frozen=True)
class Standing:
    """How a measured number compares with a summary of the same key.

    `ratio` tells how many times as fast the measured one is as the median, and `low` and `high` as the
    fastest and the slowest figure. They are None if every run failed, if a number is 0, for another route
    than the private framework, and for units without speed, such as W. They are no verdict: `aneperf.compare`
    weighs what the measured row varies by.
    """

    summary: Summary
    ratio: float | None
    low: float | None
    high: float | None


def summaries(*, chip: str | None = None, key: str | None = None) -> tuple[Summary, ...]:
    """Return what is published of a chip, of a key, or of all, by key and then by chip.

    Keys have the order of `published.csv`, and chips that of `CHIPS`. Empty where nothing is published.
    Raises ArgumentError for an unknown chip.
    """
    name = None if chip is None else find_chip(chip).name
    keys = {figure.key: place for place, figure in reversed(list(enumerate(shipped_figures())))}
    groups: dict[tuple[str, str, str, Route], list[Figure]] = {}
    for figure in shipped_figures():
        if name in (None, figure.chip) and key in (None, figure.key):
            place = (figure.key, figure.chip, figure.unit, figure.route)
            groups.setdefault(place, []).append(figure)
    found = [summarize_figures(figures) for figures in groups.values()]
    return tuple(sorted(found, key=lambda one: (keys[one.key], _ORDER[one.chip], one.unit)))


def summarize_figures(figures: Sequence[Figure]) -> Summary:
    """Return the median, the lowest and the highest of figures of one key, chip, unit and route."""
    first = figures[0]
    known = [(figure, figure.value) for figure in figures if figure.value is not None]
    return Summary(
        first.key,
        first.chip,
        first.unit,
        median(value for _, value in known) if known else None,
        min((value if figure.low is None else figure.low for figure, value in known), default=None),
        max((value if figure.high is None else figure.high for figure, value in known), default=None),
        tuple(figures),
    )


def compare_value(key: str, unit: str | None, value: float | None, chip: str | None = None) -> list[Standing]:
    """Compare a measured number of a row with what is published of its key, on one chip or on each.

    A number of the emulator is a CPU's: it has no standing among chips, and none should be asked for.
    Raises ArgumentError for an unknown chip.
    """
    return [_stand(value, summary) for summary in summaries(chip=chip, key=key) if summary.unit == unit]


def _stand(value: float | None, summary: Summary) -> Standing:
    if not value or not summary.is_private or not has_speed(summary.unit):
        return Standing(summary, None, None, None)
    slowest, fastest = summary.high, summary.low
    if is_rate(summary.unit):
        slowest, fastest = fastest, slowest
    return Standing(
        summary,
        *(_times_as_fast(value, other, summary.unit) for other in (summary.value, fastest, slowest)),
    )


def _times_as_fast(value: float, other: float | None, unit: str) -> float | None:
    if not other:
        return None
    return value / other if is_rate(unit) else other / value
