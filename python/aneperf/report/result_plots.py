"""The picture of a result: a scan over an axis, a roofline, histograms of calls, or medians by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ..errors import ArgumentError
from ..files import one_line
from ..results import Result, Row
from .flags import mark
from .plots import NAME, AnyPath, Picture, check_plot, finished, label, log_scale, new_figure, set_title
from .profile_plot import draw_profile
from .result_table import heading
from .scans import LEAST_POINTS, Scan, find_scan, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PlotKind = Literal["scan", "roofline", "histogram", "rows"]
_MOST_PANELS = 6
_BINS = 60
_MOST_ROWS = 60
_SMALLEST = 1e-15
_WIDE = 8  # times: values that span more get a logarithmic axis
_COLORS = ("C0", "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9")
_DOUBT = "hollow: not to be relied on"


def draw_result(result: Result, path: AnyPath | None = None, kind: PlotKind | None = None) -> Picture:
    """Draw the picture that suits the rows, or the one that is asked for.

    Rows that differ in a numeric parameter are a scan; else rows of known work and bytes a roofline; a single
    row, or few, histograms of their calls; other rows their medians. A profile has a bar for each part.
    Raises ArgumentError, also if the rows do not make the picture that is asked for, and as `check_plot`.
    """
    if kind is not None and kind not in get_args(PlotKind):
        raise ArgumentError(f"no picture is called {kind!r}: choose from {', '.join(get_args(PlotKind))}")
    if path is not None:
        check_plot(path)
    rows = [row for row in result.rows if row.status == "ok" and row.median and _is_drawable(row)]
    if not rows:
        raise ArgumentError(f"this {one_line(result.probe)} result has no timed row to draw")
    if result.probe == "suite":
        raise ArgumentError("a suite has the rows of many probes: draw the result of one")
    if result.probe == "profile" and kind is None:
        return draw_profile(result, path)
    return finished(_figure(result, rows, kind), path)


def _is_drawable(row: Row) -> bool:
    """Tell whether every number of a row is of a size that axes and their ticks can show."""
    ends = (row.median, row.ci_low, row.ci_high, row.p95)
    numbers = [*ends, *row.metrics.values(), *row.params.values()]
    return all(_within(number) for number in numbers if isinstance(number, int | float))


def _within(number: float) -> bool:
    return number == 0 or _SMALLEST <= abs(number) <= 1 / _SMALLEST


def _figure(result: Result, rows: list[Row], kind: PlotKind | None) -> Figure:
    scan, works, calls = find_scan(rows), _works(rows), [row for row in rows if row.kept]
    if kind == "scan" or (kind is None and scan is not None):
        if scan is None:
            raise ArgumentError(f"no scan: no parameter has {LEAST_POINTS} values while the others stay")
        return _draw_scan(result, scan)
    if kind == "roofline" or (kind is None and len({intensity for intensity, _ in works}) > 1):
        if len(works) < len(rows):
            raise ArgumentError('no roofline: it needs the metrics "gflop" and "bytes" of each row')
        return _draw_roofline(result, rows, works)
    if kind == "histogram" or (kind is None and len(rows) == len(calls) <= _MOST_PANELS):
        if not calls:
            raise ArgumentError("no histogram: no row has the durations of its calls")
        return _draw_histograms(result, calls[:_MOST_PANELS])
    return _draw_rows(result, rows[:_MOST_ROWS])


def _draw_scan(result: Result, scan: Scan) -> Figure:
    rows = [row for _, line in scan.lines for row in line]
    rated = all("tflops" in row.metrics for row in rows)
    figure = new_figure(8, 6.5 if rated else 4.5)
    panels: list[Axes] = figure.subplots(2 if rated else 1, 1, sharex=True, squeeze=False)[:, 0].tolist()
    for place, (name, line) in enumerate(scan.lines):
        _draw_line(panels[0], scan.axis, line, name, place, "median")
        if rated:
            _draw_line(panels[1], scan.axis, line, name, place, "tflops")
    panels[0].set_ylabel(label(f"median ({rows[0].unit})"))
    if _spans([row.median for row in rows]):
        log_scale(panels[0], "y")
    if rated:
        panels[1].set_ylabel("TFLOPS")
        panels[1].set_ylim(0, 1.1 * max(_estimate(row, "tflops")[2] for row in rows))
    values = sorted({float(row.params[scan.axis]) for row in rows})
    if _spans(values):
        panels[-1].set_xscale("log", base=2)
        panels[-1].set_xticks(
            values, [f"{value:g}" for value in values], rotation=0 if len(values) < 9 else 45
        )
        panels[-1].minorticks_off()
    panels[-1].set_xlabel(label(shown(scan.axis)))
    return _finish(figure, panels, result, rows, legend=len(scan.lines) > 1)


def _draw_line(axes: Axes, axis: str, line: list[Row], name: str, place: int, what: str) -> None:
    color = _COLORS[place % len(_COLORS)]
    x = [float(row.params[axis]) for row in line]
    estimates = [_estimate(row, what) for row in line]
    axes.plot(x, [value for value, _, _ in estimates], color=color, lw=1, label=label(name, NAME))
    _draw_points(axes, list(zip(x, estimates, line, strict=True)), color)


def _draw_points(
    axes: Axes, points: Sequence[tuple[float, tuple[float, float, float], Row]], color: str, side: str = "y"
) -> None:
    """Draw points with their intervals along an axis, hollow where they are not to be relied on."""
    for is_hollow in (False, True):
        drawn = [(at, estimate) for at, estimate, row in points if _is_doubtful(row) is is_hollow]
        if not drawn:
            continue
        places = [at for at, _ in drawn]
        values = [value for _, (value, _, _) in drawn]
        ends = [[v - low for _, (v, low, _) in drawn], [high - v for _, (v, _, high) in drawn]]
        style: Any = {"fmt": "o", "ms": 5, "color": color, "mfc": "white" if is_hollow else color}
        if side == "y":
            axes.errorbar(places, values, yerr=ends, capsize=3, lw=1, **style)
        else:
            axes.errorbar(values, places, xerr=ends, capsize=3, lw=1, **style)


def _estimate(row: Row, what: str) -> tuple[float, float, float]:
    """Return a row's value and the ends of its interval, or the value again without one."""
    if what == "tflops":
        value = row.metrics["tflops"]
        low, high = row.metrics.get("tflops_low", value), row.metrics.get("tflops_high", value)
    else:
        value = row.median or 0.0
        low = value if row.ci_low is None else row.ci_low
        high = value if row.ci_high is None else row.ci_high
    return value, min(low, value), max(high, value)


def _is_doubtful(row: Row) -> bool:
    return bool(mark(row.flags)) or row.ci_low is None


def _works(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Return FLOP per byte and TFLOPS of the rows that have both."""
    return [
        (1e9 * row.metrics["gflop"] / row.metrics["bytes"], row.metrics["gflop"] / (row.median or 1))
        for row in rows
        if row.metrics.get("bytes") and row.metrics.get("gflop") and row.unit == "ms"
    ]


def _draw_roofline(result: Result, rows: list[Row], works: list[tuple[float, float]]) -> Figure:
    """Draw rates over intensity, below the highest rate and the highest traffic of these rows."""
    figure = new_figure(8, 5.5)
    axes = figure.subplots()
    for place, (row, (intensity, rate)) in enumerate(zip(rows, works, strict=True)):
        color = _COLORS[place % len(_COLORS)]
        ends = [rate * (row.median or 1) / (end or row.median or 1) for end in (row.ci_high, row.ci_low)]
        _draw_points(axes, [(intensity, (rate, min(ends[0], rate), max(ends[1], rate)), row)], color)
        axes.annotate(
            label(row.name, NAME), (intensity, rate), xytext=(6, 4), textcoords="offset points", fontsize=7
        )
    rate, traffic = max(rate for _, rate in works), max(rate / intensity for intensity, rate in works)
    low, high = min(i for i, _ in works) / 2, max(i for i, _ in works) * 2
    ridge = rate / traffic
    axes.plot(
        [low, min(ridge, high)],
        [low * traffic, min(ridge, high) * traffic],
        color="0.5",
        lw=1,
        label=f"highest traffic of these rows, {1000 * traffic:.3g} GB/s",
    )
    axes.plot(
        [min(ridge, high), high],
        [rate, rate],
        color="0.5",
        lw=1,
        ls="--",
        label=f"highest rate of these rows, {rate:.3g} TFLOPS",
    )
    axes.set(xlabel="FLOP per byte", ylabel="TFLOPS")
    log_scale(axes, "x")
    log_scale(axes, "y")
    return _finish(figure, [axes], result, rows, legend=True)


def _draw_histograms(result: Result, rows: list[Row]) -> Figure:
    """Draw the durations of calls after the warm-up, with the median and its interval."""
    figure = new_figure(8, 1.2 + 2.2 * len(rows))
    panels: list[Axes] = figure.subplots(len(rows), 1, squeeze=False)[:, 0].tolist()
    for axes, row in zip(panels, rows, strict=True):
        ms = np.array(row.kept) * 1e-6
        # The slowest calls would leave the others one bar: they are counted in the last one.
        low, high = float(ms.min()), float(np.percentile(ms, 99.5))
        high = max(high, low * 1.001)
        wide = low > 0 and high > _WIDE * low
        bins = np.geomspace(low, high, _BINS) if wide else np.linspace(low, high, _BINS)
        counts, _ = np.histogram(np.clip(ms, bins[0], bins[-1]), bins)
        axes.stairs(counts, bins, fill=True, color="C0", alpha=0.7)
        if wide:
            log_scale(axes, "x")
        if row.unit == "ms" and row.median is not None:
            axes.axvline(row.median, color="C3", lw=1.5, label=f"median {row.median:.4g} ms")
            if row.ci_low is not None and row.ci_high is not None:
                axes.axvspan(row.ci_low, row.ci_high, color="C3", alpha=0.2, label="its 95 % interval")
        # An interval of few processes can be far wider than what the calls span.
        axes.set_xlim(float(bins[0]), float(bins[-1]))
        if row.p95 is not None:
            axes.axvline(row.p95, color="0.3", lw=1, ls=":", label=f"p95 {row.p95:.4g} ms")
        flag = mark(row.flags)
        axes.set_ylabel(f"calls of {len(ms)}", fontsize=8)
        axes.set_title(label(f"{row.name}: {flag}" if flag else row.name, 2 * NAME), fontsize=9)
        axes.legend(fontsize=7)
    panels[-1].set_xlabel("ms a call; the last bar holds all above the 99.5 % quantile")
    title = heading(f"aneperf {result.probe}", result.environment)[:2]
    figure.suptitle("\n".join(map(label, title)), fontsize=9)
    return figure


def _draw_rows(result: Result, rows: list[Row]) -> Figure:
    """Draw the medians of rows of one unit, with their intervals, one below the other."""
    rows = [row for row in rows if row.unit == rows[0].unit]
    figure = new_figure(8, 1.5 + 0.3 * len(rows))
    axes = figure.subplots()
    _draw_points(axes, [(at, _estimate(row, "median"), row) for at, row in enumerate(rows)], "C0", "x")
    axes.set_yticks(range(len(rows)), [label(row.name, NAME) for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(label(f"median ({rows[0].unit})"))
    if _spans([row.median for row in rows]):
        log_scale(axes, "x")
    else:
        axes.set_xlim(0, 1.1 * max(_estimate(row, "median")[2] for row in rows))
    return _finish(figure, [axes], result, rows, legend=False)


def _spans(values: Sequence[float | None]) -> bool:
    """Tell whether positive values span so much that a logarithmic axis shows them better."""
    known = [value for value in values if value is not None]
    return min(known) > 0 and max(known) > _WIDE * min(known)


def _finish(
    figure: Figure, panels: Sequence[Axes], result: Result, rows: Sequence[Row], *, legend: bool
) -> Figure:
    for axes in panels:
        axes.grid(alpha=0.3)
    if any(map(_is_doubtful, rows)):
        panels[0].plot([], [], "o", color="0.3", mfc="white", label=_DOUBT)
        legend = True
    if legend:
        panels[0].legend(fontsize=8)
    set_title(panels[0], *heading(f"aneperf {result.probe}", result.environment)[:2])
    return figure
