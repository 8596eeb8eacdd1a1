"""The picture of a comparison: each row's ratio with its interval, and a line at 1."""

from ..comparison import Comparison
from ..errors import ArgumentError
from ..measure import Estimate
from .plots import NAME, AnyPath, Picture, check_plot, finished, label, new_figure, set_title

_COLORS = {"FASTER": "C2", "SLOWER": "C3", "SAME": "C0"}
_MOST_ROWS = 80
_LARGEST = 1e9  # ratio


def draw_comparison(comparison: Comparison, path: AnyPath | None = None) -> Picture:
    """Draw the ratios by row; one whose interval rests on an assumed spread is hollow.

    Raises ArgumentError if no row has a ratio, and as `check_plot` does.
    """
    if path is not None:
        check_plot(path)
    ratios = [(row, row.ratio) for row in comparison.rows if row.ratio is not None]
    rows = [(row, ratio) for row, ratio in ratios if 1 / _LARGEST <= ratio.value <= _LARGEST][:_MOST_ROWS]
    if not rows:
        raise ArgumentError("this comparison has no ratio to draw: no row is comparable")
    figure = new_figure(8, 1.8 + 0.28 * len(rows))
    axes = figure.subplots()
    shown = set()
    for place, (row, ratio) in enumerate(rows):
        low, high = _ends(ratio)
        color = _COLORS.get(row.verdict, "0.5")
        axes.errorbar(
            [ratio.value],
            [place],
            xerr=[[max(0.0, ratio.value - low)], [max(0.0, high - ratio.value)]],
            fmt="o",
            color=color,
            mfc="white" if row.assumed else color,
            capsize=3,
            label="_" if row.verdict in shown else row.verdict,
        )
        shown.add(row.verdict)
    axes.axvline(1, color="0.3", lw=1, ls="--")
    axes.set_xscale("log")
    ends = [end for _, ratio in rows for end in _ends(ratio)]
    ticks = _ticks(min(ends), max(ends))
    axes.set_xlim(ticks[0], ticks[-1])
    axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(rows)), [label(row.name, NAME) for row, _ in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("times as fast, with the 95 % interval\nhollow: with an assumed spread")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    set_title(axes, f"aneperf compare: {comparison.probe}", comparison.first, comparison.second)
    return finished(figure, path)


def _ends(ratio: Estimate) -> tuple[float, float]:
    """Return the ends of the interval, as far as they are drawn."""
    return max(ratio.ci_low or ratio.value, 1 / _LARGEST), min(ratio.ci_high or ratio.value, _LARGEST)


def _ticks(low: float, high: float) -> list[float]:
    """Return round values that hold both ends and 1."""
    steps = [0.5, 0.7, 0.8, 0.9, 0.95, 1, 1.05, 1.1, 1.25, 1.5, 2]
    values = sorted({*steps, *(10.0**power * digit for power in range(-9, 10) for digit in (1, 2, 5))})
    first = max((at for at, value in enumerate(values) if value <= min(low, 0.95)), default=0)
    last = min((at for at, value in enumerate(values) if value >= max(high, 1.05)), default=len(values) - 1)
    chosen = values[first : last + 1]
    every = max(1, len(chosen) // 9)
    return sorted({*chosen[::every], chosen[-1], 1.0})
