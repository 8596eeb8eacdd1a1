"""The losses of a run as a picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ArgumentError
from ..kinds import Kind
from ..outputs import whole_file

if TYPE_CHECKING:
    from ..training.result import TrainingResult

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


def draw_losses(result: TrainingResult, path: str | os.PathLike[str]) -> None:
    """Draw each step's loss, a running mean, and the data's unigram entropy, which a model has to beat.

    The file's name chooses the format, PNG if it names none. Raises as `check_plot` does.
    """
    picture_format, kind = check_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
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
    axes.set_title(f"{result.model}, {result.config.pipeline}\n{result.environment.label}", fontsize=9)
    axes.legend()
    axes.grid(alpha=0.3)
    with whole_file(path, kind) as file:
        figure.savefig(file, format=picture_format, dpi=150)


def check_plot(path: str | os.PathLike[str]) -> tuple[str, Kind]:
    """Return the format that the file's name chooses, and its kind.

    Raises ArgumentError if no plot can be drawn in it.
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise ArgumentError(f"plots need matplotlib: pip install '.[report]' ({error})") from error
    chosen = Path(path).suffix.lstrip(".").lower() or "png"
    known = FigureCanvasBase.get_supported_filetypes()
    if chosen not in known:
        raise ArgumentError(f"{path}: not a picture format: choose from {', '.join(sorted(known))}")
    return chosen, _KINDS.get(chosen, Kind.PICTURE)
