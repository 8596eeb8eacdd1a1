"""A profile as a picture: a bar for each part."""

from __future__ import annotations

from collections.abc import Callable

from ..outputs import check_output
from ..results import Result, Row
from .plots import NAME, AnyPath, Picture, check_plot, finished, label, new_figure, set_title

_MOST_BARS = 40
_INCHES_PER_BAR = 0.22


def prepare_plot(path: AnyPath) -> Callable[[Result], None]:
    """Return what draws a profile to `path`, whose name chooses the format; PNG if it names none.

    Raises ArgumentError for another format, ResultFileError for a bad path, both at once.
    """
    _, kind = check_plot(path)
    check_output(path, kind)

    def draw(result: Result) -> None:
        draw_profile(result, path)

    return draw


def draw_profile(result: Result, path: AnyPath | None = None) -> Picture:
    """Draw the median time of each part, in the program's order, with its interval.

    Of more than 40 parts, the last bar has the sum of the smallest. Raises as `check_plot` does.
    """
    if path is not None:
        check_plot(path)
    *parts, whole = result.rows
    kept = {row.key for row in sorted(parts, key=_ms)[-_MOST_BARS:]}
    shown, rest = ([row for row in parts if (row.key in kept) is wanted] for wanted in (True, False))
    labels = [label(f"{row.name}  {row.params.get('kind', '')}", NAME) for row in shown]
    times = [_ms(row) for row in shown]
    errors = [_half_widths(row) for row in shown]
    if rest:
        labels.append(f"{len(rest)} others")
        times.append(sum(map(_ms, rest)))
        errors.append((0.0, 0.0))
    figure = new_figure(9, 1.5 + _INCHES_PER_BAR * max(4, len(labels)))
    axes = figure.subplots()
    bars = range(len(labels))
    axes.barh(bars, times, xerr=list(zip(*errors, strict=True)), color="C0", ecolor="0.3", height=0.75)
    axes.set_yticks(bars, labels, fontsize=7)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set(xlabel="ms")
    name = whole.key.partition("/")[2]
    total = f"{whole.median:.4g} ms in all" if whole.median is not None else whole.status
    set_title(axes, f"{name}, {total}", result.environment.label)
    axes.grid(alpha=0.3, axis="x")
    return finished(figure, path)


def _ms(row: Row) -> float:
    return row.median or 0.0


def _half_widths(row: Row) -> tuple[float, float]:
    if row.ci_low is None or row.ci_high is None:
        return 0.0, 0.0
    return _ms(row) - row.ci_low, row.ci_high - _ms(row)
