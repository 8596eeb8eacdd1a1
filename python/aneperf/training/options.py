"""The options of `aneperf.train`, and with them those of the command."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, fields
from functools import wraps
from inspect import cleandoc, signature
from typing import Any, ParamSpec, TypeVar

from .._ane_native import Device
from ..bounds import MINUTES, PEAK_TFLOPS, STEPS, within
from ..checks import count
from ..kernels import TransformerConfig
from ..kernels.presets import PRESETS
from .config import Hyperparameters, TrainingConfig, option
from .events import Observer

_Path = str | os.PathLike[str]
_Options = ParamSpec("_Options")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class TrainOptions(Hyperparameters):
    """The options of `train`: hyperparameters, and where a run reads, computes and writes."""

    model: str | TransformerConfig | None = option(
        None,
        "Model",
        f"Preset ({', '.join(PRESETS)}); by default the model of the weights or the checkpoint, "
        "or else stories110m.",
        metavar="NAME",
    )
    _: KW_ONLY
    weights: _Path | None = option(
        None,
        "Model",
        "Initial weights: a llama2.c model, a Hugging Face folder (config.json, safetensors; trained on at "
        "most 256 tokens unless --seq says else), or a folder of checkpoints.",
        metavar="FILE|FOLDER",
    )
    data: _Path = option(
        "synthetic",
        "Run",
        'File of tokens that aneperf data wrote, or of uint16 numbers; "synthetic" for random tokens.',
        metavar="FILE",
    )
    device: Device | str | None = option(
        None,
        "Run",
        "Device: ane, emulator or emulator:CHIP; by default ane where there is one.",
        metavar="DEVICE",
    )
    peak_tflops: float | None = option(
        None, "Run", "Peak rate of the device, to report its utilization; see aneperf peak.", metavar="TFLOPS"
    )
    state_folder: _Path | None = option(
        None, "Run", "Folder for the training state where shared memory is too small.", metavar="FOLDER"
    )
    eval_data: _Path | None = option(
        None,
        "Validation",
        "File of tokens for a validation loss; the best checkpoint by it is kept in --checkpoints, folder "
        "best.",
        metavar="FILE",
    )
    eval_every: int = option(
        10, "Validation", "Updates between validation losses; another follows the last update.", metavar="N"
    )
    eval_sequences: int = option(
        20,
        "Validation",
        "Sequences of a validation loss: the same ones each time, evenly spaced in the file.",
        metavar="N",
    )
    checkpoints: _Path | None = option(
        None, "Checkpoints", "Folder in which to save checkpoints.", metavar="FOLDER"
    )
    checkpoint_every: float = option(
        10.0,
        "Checkpoints",
        "Minutes between checkpoints; 0 saves one after every update. The end of a run, a signal and an "
        "error always save one.",
        metavar="MINUTES",
    )
    keep: int = option(2, "Checkpoints", "Checkpoints to keep, in addition to the best.", metavar="N")
    resume: bool | int = option(
        False,
        "Checkpoints",
        "Resume from the last checkpoint, or from that of a step, with the options of its run.",
    )
    output: _Path | None = option(
        None, "Output", "Save the result as JSON.", metavar="FILE", flags=("-o", "--output")
    )
    telemetry: _Path | None = option(
        None, "Output", "Write the run's events as lines of JSON.", metavar="FILE"
    )
    tensorboard: _Path | None = option(
        None, "Output", "Write an event file for TensorBoard; needs tensorboardX.", metavar="FOLDER"
    )
    energy: bool = option(
        False, "Output", "Report the energy of a token, where the machine tells its power; takes longer."
    )
    trace: _Path | None = option(None, "Output", "Write a trace for ui.perfetto.dev.", metavar="FILE")
    progress: Observer | None = None  # called with every event

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("eval_every", "eval_sequences", "keep"):
            count(name, getattr(self, name), most=STEPS)
        within("checkpoint_every", self.checkpoint_every, MINUTES)
        if self.peak_tflops is not None:
            within("peak_tflops", self.peak_tflops, PEAK_TFLOPS)

    def config(self, model: TransformerConfig) -> TrainingConfig:
        """Return the configuration of a run with these hyperparameters."""
        return TrainingConfig(model, **{f.name: getattr(self, f.name) for f in fields(Hyperparameters)})


def takes(
    options: Callable[_Options, TrainOptions],
) -> Callable[[Callable[[Mapping[str, Any]], _Result]], Callable[_Options, _Result]]:
    """Make a function of the options that are given take them as keywords, and list them in its docstring."""

    def decorate(function: Callable[[Mapping[str, Any]], _Result]) -> Callable[_Options, _Result]:
        result = signature(function).return_annotation
        taken = signature(options).replace(return_annotation=result)

        @wraps(function)
        def with_keywords(*args: _Options.args, **keywords: _Options.kwargs) -> _Result:
            try:
                given = taken.bind(*args, **keywords).arguments
            except TypeError as error:
                raise TypeError(f"{function.__name__}: {error}") from None
            return function(given)

        helps = {f.name: f.metadata.get("help") for f in fields(TrainOptions)}
        listed = [f"    {name}: {helps[name]}" for name in taken.parameters if helps[name]]
        with_keywords.__signature__ = taken  # type: ignore[attr-defined]
        with_keywords.__doc__ = "\n".join([cleandoc(function.__doc__ or ""), "", "Options:", *listed])
        return with_keywords

    return decorate
