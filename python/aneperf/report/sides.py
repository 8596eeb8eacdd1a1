"""The two sides of a comparison: for each key the rows of one file or of several, or published figures."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import geometric_mean

from ..chips import CAVEATS, ROUTES, SOURCES, Figure, find_chip, published, summarize_figures
from ..comparison import Side
from ..errors import ArgumentError
from ..files import one_line
from ..machine import UNAVAILABLE
from ..measure import DOUBTFUL
from ..results import Environment, Result, Row

ERROR = "error"
NO_MEDIAN = "ok without a median"
_LONGEST_COMMIT = 20  # characters


@dataclass(frozen=True)
class Sides:
    """One side's rows by key, in the order of its files, with their names and, in a suite, their probes."""

    rows: dict[str, Side]
    label: str
    probe: str = ""
    software: str | None = None  # the device that replaces an engine
    names: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def is_software(self) -> bool:
        """Tell whether the numbers describe a CPU."""
        return self.software is not None


def of_results(results: Sequence[Result]) -> Sides:
    """Gather the rows of one result or several; those of one key are pooled.

    Raises ArgumentError for results of an engine and of software.
    """
    if len({result.environment.is_software for result in results}) > 1:
        raise ArgumentError("one side has results of an engine and of software, which are never pooled")
    rows: dict[str, list[Side]] = {}
    names: dict[str, str] = {}
    groups: dict[str, str | None] = {}
    for result in results:
        for row in result:
            rows.setdefault(row.key, []).append(_of_row(row, result.environment))
            probe = row.key.partition("/")[0] if result.probe == "suite" else None
            groups[row.key] = probe
            names[row.key] = f"{probe}: {row.name}" if probe and "config" in row.params else row.name
    return Sides(
        rows={key: _pooled(same) for key, same in rows.items()},
        label="; ".join(dict.fromkeys(_label(result.environment) for result in results)),
        probe=" and ".join(dict.fromkeys(one_line(result.probe) for result in results)),
        software=results[0].environment.device if results[0].environment.is_software else None,
        names=names,
        groups=groups,
    )


def _label(environment: Environment) -> str:
    """Say what was measured, and the commit if there was one."""
    if environment.commit == UNAVAILABLE:
        return environment.label
    return f"{environment.label}; commit {one_line(environment.commit, _LONGEST_COMMIT)}"


def of_chip(results: Sequence[Result], chip: str) -> Sides:
    """Return a chip's published figures for the rows of results. Raises ArgumentError for an unknown chip."""
    units = {row.key: row.unit for result in results for row in result}  # None for a row without a number
    figures = [figure for figure in published(chip) if units.get(figure.key, "") in (figure.unit, None)]
    by_key: dict[str, list[Figure]] = {}
    for figure in figures:
        by_key.setdefault(figure.key, []).append(figure)
    return Sides(
        rows={key: _of_figures(same) for key, same in by_key.items()},
        label=f"published figures of {find_chip(chip).name}",
        notes=_provenance(figures),
    )


def _pooled(sides: Sequence[Side]) -> Side:
    """Return the side of a key that several files of it may have. An error in one of them is an error."""
    failed = next((side for side in sides if side.doubt == ERROR), None)
    timed = [side for side in sides if side.median is not None]
    if failed is not None or not timed:
        return failed or sides[0]
    if len(timed) == 1:
        return timed[0]
    if len(units := {str(side.unit) for side in timed}) > 1:
        return Side(None, None, None, None, len(timed), is_range=False, doubt=" and ".join(sorted(units)))
    medians = tuple(side.median for side in timed if side.median is not None)
    doubts = dict.fromkeys(side.doubt for side in timed if side.doubt is not None)
    return replace(
        timed[0],
        median=geometric_mean(medians) if all(medians) else 0.0,
        ci_low=None,
        ci_high=None,
        figures=len(timed),
        units=medians,
        doubt=", ".join(doubts) or None,
    )


def _of_row(row: Row, environment: Environment) -> Side:
    if row.status != "ok" or row.median is None:
        doubt = row.status if row.status != "ok" else NO_MEDIAN
        return Side(None, None, None, row.unit, 1, is_range=False, doubt=doubt, detail=row.reason)
    doubts = [flag for flag in row.flags if flag in DOUBTFUL]
    if environment.busy:
        doubts.append("busy machine")
    if row.ci_low is None or row.ci_high is None:
        doubts.append("no interval")
    return Side(
        row.median,
        row.ci_low,
        row.ci_high,
        row.unit,
        1,
        is_range=False,
        units=row.medians or (row.median,),
        doubt=", ".join(doubts) or None,
    )


def _of_figures(figures: Sequence[Figure]) -> Side:
    """Return the median, the lowest and the highest of figures of one key and unit.

    Those of the private framework count, if there are any: a figure of another route is never judged.
    """
    found = summarize_figures([figure for figure in figures if figure.is_private] or figures)
    figures = found.figures
    count = sum(figure.value is not None for figure in figures)
    if found.value is None:
        return Side(None, None, None, found.unit, len(figures), is_range=True, doubt="published as failed")
    if not found.is_private:
        doubt = f"run through {ROUTES[found.route]}"
        return Side(None, None, None, found.unit, count, is_range=True, doubt=doubt)
    return Side(
        found.value,
        found.low,
        found.high,
        found.unit,
        count,
        is_range=True,
        units=(found.value,),
        doubt="no interval published",
    )


def _provenance(figures: Sequence[Figure]) -> tuple[str, ...]:
    """Name the sources and caveats of the figures, and the routes whose times are not compared."""
    routes = " and ".join(dict.fromkeys(ROUTES[figure.route] for figure in figures if not figure.is_private))
    other = f"Figures run through {routes} are not compared: they hold what that library does on the CPU."
    sources = dict.fromkeys(SOURCES[figure.source].name for figure in figures)
    caveats = Counter(caveat for figure in figures for caveat in figure.caveats)
    return (
        *([other] if routes else []),
        f"Sources: {'; '.join(sources)}.",
        *(f"{n} of {len(figures)} figures: {CAVEATS[caveat]}" for caveat, n in caveats.most_common()),
    )
