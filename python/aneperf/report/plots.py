"""Pictures: what they have in common, and the losses of a run."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import ArgumentError
from ..kinds import Kind
from ..outputs import whole_file
from .table import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..training.result import TrainingResult

NAME = 48  # the longest name of a row, a line or a component in a picture
AnyPath = str | os.PathLike[str]
_KINDS = {
    "png": Kind.PNG,
    "pdf": Kind.PDF,
    "svg": Kind.SVG,
    "svgz": Kind.GZIP,
    **dict.fromkeys(("jpg", "jpeg"), Kind.JPEG),
    **dict.fromkeys(("tif", "tiff"), Kind.TIFF),
    **dict.fromkeys(("ps", "eps"), Kind.POSTSCRIPT),
    "webp": Kind.WEBP,
}
_MANY_DECADES = 1e4  # times: the largest over the smallest value


class Picture:
    """A drawn figure of matplotlib, which a notebook shows and `save` writes."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure

    def save(self, path: AnyPath) -> None:
        """Write PNG, SVG, PDF or another format, as the name ends; PNG if it names none.

        Raises as `check_plot` does.
        """
        picture_format, kind = check_plot(path)
        with whole_file(path, kind) as file:
            self.figure.savefig(file, format=picture_format, dpi=150)

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.figure.savefig(stream, format="png", dpi=100)
        return stream.getvalue()


def new_figure(width: float = 8, height: float = 4.5) -> Figure:
    """Return an empty figure. Raises ArgumentError without matplotlib."""
    _need_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _need_matplotlib() -> None:
    try:
        import matplotlib.backend_bases  # noqa: F401
    except ImportError as error:
        raise ArgumentError(
            f"plots need matplotlib: pip install '.[report]' in a checkout of aneperf ({error})"
        ) from error


def finished(figure: Figure, path: AnyPath | None) -> Picture:
    """Return the picture of a figure, saved to `path` if there is one."""
    picture = Picture(figure)
    if path is not None:
        picture.save(path)
    return picture


def label(text: object, longest: int = 120) -> str:
    """Return a text, which may come from a file, for matplotlib: without formulas, and not too long."""
    drawn = printable(str(text))
    cut = drawn if len(drawn) <= longest else f"{drawn[: longest - 3]}..."
    # A legend leaves out what begins with an underscore.
    return f"{' ' if cut.startswith('_') else ''}{cut}".replace("$", r"\$")


def set_title(axes: Axes, *lines: str) -> None:
    """Write lines above the axes: a title, and what was measured."""
    axes.set_title("\n".join(map(label, lines)), fontsize=9)


def log_scale(axes: Axes, side: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with plain numbers at 1, 2 and 5 of each decade, or of many at 1 alone."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set(**{f"{side}scale": "log"})
    axis = axes.xaxis if side == "x" else axes.yaxis
    low, high = axis.get_data_interval()
    is_long = low > 0 and high > _MANY_DECADES * low
    axis.set_major_locator(LogLocator(subs=(1,) if is_long else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def draw_losses(result: TrainingResult, path: AnyPath | None = None) -> Picture:
    """Draw each step's loss, a running mean, and the data's unigram entropy, which a model has to beat.

    Raises as `check_plot` does.
    """
    if path is not None:
        check_plot(path)
    figure = new_figure()
    axes = figure.subplots()
    steps = result.first_step + np.arange(len(result.losses))
    axes.plot(steps, result.losses, ".", color="0.7", label="step")
    if averaged := result.averaged_steps:
        means = np.convolve(result.losses, np.full(averaged, 1 / averaged), "valid")
        axes.plot(steps[averaged - 1 :], means, label=f"mean of {averaged} steps")
    if result.validations:
        validated, losses = zip(*((found.step, found.loss) for found in result.validations), strict=True)
        axes.plot(validated, losses, "o-", ms=3, label="validation")
    entropy = result.unigram_entropy
    axes.axhline(entropy, color="0.3", ls="--", lw=1, label=f"unigram entropy of the data, {entropy:.2f}")
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    set_title(axes, f"{result.model}, {result.config.pipeline}", result.environment.label)
    axes.legend()
    axes.grid(alpha=0.3)
    return finished(figure, path)


def check_plot(path: AnyPath) -> tuple[str, Kind]:
    """Return the format that the file's name chooses, and its kind.

    Raises ArgumentError if no plot can be drawn in it.
    """
    _need_matplotlib()
    from matplotlib.backend_bases import FigureCanvasBase

    chosen = Path(path).suffix.lstrip(".").lower() or "png"
    known = FigureCanvasBase.get_supported_filetypes()
    if chosen not in known:
        raise ArgumentError(f"{path}: not a picture format: choose from {', '.join(sorted(known))}")
    return chosen, _KINDS.get(chosen, Kind.PICTURE)
