"""The losses of a run as a picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from ..errors import ArgumentError
from ..files import whole_file

if TYPE_CHECKING:
    from ..training.result import TrainingResult


def draw_losses(result: TrainingResult, path: str | os.PathLike[str]) -> None:
    """The loss of every step, a running mean, and the data's unigram entropy, which a model has to pass.

    PNG unless the file's name tells another format.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    steps = result.first_step + np.arange(len(result.losses))
    axes.plot(steps, result.losses, ".", color="0.7", label="step")
    if averaged := result.averaged_steps:
        means = np.convolve(result.losses, np.full(averaged, 1 / averaged), "valid")
        axes.plot(steps[averaged - 1 :], means, label=f"mean of {averaged} steps")
    entropy = result.unigram_entropy
    axes.axhline(entropy, color="0.3", ls="--", lw=1, label=f"unigram entropy of the data, {entropy:.2f}")
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    axes.set_title(f"{result.model}, {result.config.pipeline}\n{result.environment.label}", fontsize=9)
    axes.legend()
    axes.grid(alpha=0.3)
    with whole_file(path) as file:
        figure.savefig(file, format=picture_format(path), dpi=150)


def picture_format(path: str | os.PathLike[str]) -> str:
    """The one that a file's name tells, or PNG. Raises ArgumentError for what cannot be written."""
    chosen = Path(path).suffix.lstrip(".").lower() or "png"
    known = FigureCanvasBase.get_supported_filetypes()
    if chosen not in known:
        raise ArgumentError(f"{path}: no picture is written so: choose from {', '.join(sorted(known))}")
    return chosen
