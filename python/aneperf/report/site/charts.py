"""Pictures of figures by chip: a point for each, published or submitted, and the chip's known peak."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ...chips import Chip
from ..columns import significant
from ..page.model import Drawing
from ..page.svg import drawing
from ..plots import label, new_figure
from .entries import Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ORIGINS = {"published": ("o", "C0"), "submitted": ("s", "C1")}
_HEIGHT = 0.3  # inches, of a chip
_FRAME = 0.9  # of the axis and its label


def draw_by_chip(
    name: str,
    title: str,
    chips: Mapping[Chip, Sequence[Entry]],
    value: Callable[[Entry], float | None],
    axis: str,
    peaks: Mapping[Chip, float] | None = None,
) -> tuple[Drawing, ...]:
    """Draw entries as points, with a line for each chip. Nothing for fewer than two: a table is better."""
    points = {chip: [one for one in found if value(one) is not None] for chip, found in chips.items()}
    points = {chip: found for chip, found in points.items() if found}
    if sum(map(len, points.values())) < 2:
        return ()
    figure = new_figure(height=_FRAME + _HEIGHT * len(points))
    axes = figure.subplots()
    hints: dict[str, str] = {}
    for line, (chip, found) in enumerate(points.items()):
        if peaks and chip in peaks:
            axes.plot([peaks[chip]], [line], "|", color="0.3", ms=14, mew=2, label="_peak")
        for entry in found:
            _point(axes, entry, value(entry) or 0.0, line, hints)
    axes.set_yticks(range(len(points)), [label(chip.name) for chip in points])
    axes.set_ylim(len(points) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel(label(axis))
    axes.grid(axis="x")
    shown = [entry for found in points.values() for entry in found]
    signs = [sign for origin, sign in _SIGNS.items() if any(entry.origin == origin for entry in shown)]
    signs += ["hollow: doubtful"] if any(entry.is_doubtful for entry in shown) else []
    signs += ["upright lines: known peaks"] if peaks and peaks.keys() & points.keys() else []
    return (drawing(figure, name, title, f"{title}. {'; '.join(signs).capitalize()}.", hints),)


_SIGNS = {"published": "circles: published", "submitted": "squares: submitted"}


def _point(axes: Axes, entry: Entry, value: float, line: int, hints: dict[str, str]) -> None:
    marker, color = _ORIGINS[entry.origin]
    if entry.low is not None and entry.high is not None and value == entry.value:
        axes.plot([entry.low, entry.high], [line, line], "-", color=color, lw=1, label="_interval")
    (point,) = axes.plot(
        [value], [line], marker, color=color, mfc="none" if entry.is_doubtful else color, ms=5, alpha=0.8
    )
    name = f"point-{len(hints)}"
    point.set_gid(name)
    number = significant(value, 4)
    hints[name] = f"{entry.chip}: {number}, {entry.key}, {entry.by}, {entry.how}, {entry.source}"
