"""`aneperf.train`: a run, from its options to its result."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, fields, replace
from functools import wraps
from inspect import cleandoc, signature
from pathlib import Path
from typing import ParamSpec

from .. import device as devices
from .._ane_native import ArgumentError, Device
from ..checks import positive
from ..errors import AneError
from ..files import check_writable
from ..kernels import TransformerConfig
from ..results import Environment
from ..signals import at_first_signal
from .checkpoint import CheckpointError, Record, RunCheckpoints, load_model
from .config import Hyperparameters, TrainingConfig, option
from .data import open_data
from .events import BatchDone, CheckpointSaved, Event, Observer, RunStarted, StepDone
from .models import PRESETS, Parameters, model_config, model_name, random_parameters
from .result import TrainingResult
from .telemetry import Telemetry
from .trace import Trace
from .trainer import Trainer

_Path = str | os.PathLike[str]
_Options = ParamSpec("_Options")


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
        None, "Model", "Initial weights: a llama2.c model or a folder of checkpoints.", metavar="FILE|FOLDER"
    )
    data: _Path = option(
        "synthetic", "Run", 'File of uint16 tokens, or "synthetic" for random tokens.', metavar="FILE"
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
    checkpoints: _Path | None = option(
        None, "Checkpoints", "Folder in which to save checkpoints.", metavar="FOLDER"
    )
    checkpoint_every: int = option(1, "Checkpoints", "Batches between checkpoints.", metavar="N")
    keep: int = option(2, "Checkpoints", "Checkpoints to keep, in addition to the best.", metavar="N")
    resume: bool | int = option(
        False, "Checkpoints", "Resume from the last checkpoint, or from that of a step."
    )
    output: _Path | None = option(
        None, "Output", "Save the result as JSON.", metavar="FILE", flags=("-o", "--output")
    )
    telemetry: _Path | None = option(
        None, "Output", "Write the run's events as lines of JSON.", metavar="FILE"
    )
    trace: _Path | None = option(None, "Output", "Write a trace for ui.perfetto.dev.", metavar="FILE")
    progress: Observer | None = None  # called with every event

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.peak_tflops is not None:
            positive("peak_tflops", self.peak_tflops)

    def config(self, model: TransformerConfig) -> TrainingConfig:
        """Return the configuration of a run with these hyperparameters."""
        return TrainingConfig(model, **{f.name: getattr(self, f.name) for f in fields(Hyperparameters)})


def _takes(
    options: Callable[_Options, TrainOptions],
) -> Callable[[Callable[[TrainOptions], TrainingResult]], Callable[_Options, TrainingResult]]:
    """Make a function of options take them as keywords, and list these in its docstring."""

    def decorate(function: Callable[[TrainOptions], TrainingResult]) -> Callable[_Options, TrainingResult]:
        taken = signature(options).replace(return_annotation="TrainingResult")

        @wraps(function)
        def with_keywords(*args: _Options.args, **keywords: _Options.kwargs) -> TrainingResult:
            try:
                taken.bind(*args, **keywords)
            except TypeError as error:
                raise TypeError(f"{function.__name__}: {error}") from None
            return function(options(*args, **keywords))

        helps = {f.name: f.metadata.get("help") for f in fields(TrainOptions)}
        listed = [f"    {name}: {helps[name]}" for name in taken.parameters if helps[name]]
        with_keywords.__signature__ = taken  # type: ignore[attr-defined]
        with_keywords.__doc__ = "\n".join([cleandoc(function.__doc__ or ""), "", "Options:", *listed])
        return with_keywords

    return decorate


@_takes(TrainOptions)
def train(options: TrainOptions) -> TrainingResult:
    """Train a model: a preset, a shape, or the model of a file of weights or a checkpoint.

    Worker processes own the device; this process never opens a program. A resumed run computes the same bits
    as one that never stopped. `progress` is called with every event of `aneperf.training.events`.

    Ctrl-C, SIGTERM or SIGHUP ends the run at its last update, saves a checkpoint if it has a folder for them,
    and returns the result so far with `stopped_by` set; a second signal, half a second later, has its usual
    effect. Raises ArgumentError, CheckpointError, ResultFileError, and TrainingError where the device or its
    workers fail.
    """
    checkpoints = RunCheckpoints(options.checkpoints, options.keep, options.checkpoint_every, options.resume)
    model, parameters = _model(options, checkpoints.record)
    config = options.config(model)
    data = open_data(options.data, model.vocab, model.seq, options.seed)
    checkpoints.check(config, data.description)
    for path in (options.output, options.trace):
        if path is not None:
            check_writable(path)
    environment, device = _described(options.device)
    started = RunStarted(
        model=model_name(model),
        config=config,
        environment=environment,
        data=data.description,
        unigram_entropy=data.unigram_entropy,
        first_step=checkpoints.step,
        loss=checkpoints.loss,
    )
    result = TrainingResult.of(started, options.peak_tflops)
    if parameters is None:
        parameters = checkpoints.parts.get("parameters") or random_parameters(model, options.seed)
    with contextlib.ExitStack() as files:
        folder = None if options.state_folder is None else Path(options.state_folder)
        trainer = files.enter_context(Trainer(config, parameters, data, device=device, state_folder=folder))
        del parameters  # the trainer has a copy, and a large model does not fit in memory twice
        checkpoints.restore(trainer.state, trainer.parts)
        observers = _observers(options, result, files, resumed=checkpoints.record is not None)
        _run(trainer, started, checkpoints, result, observers)
        trainer.end_workers()
        result.parameters = {name: value.copy() for name, value in trainer.parts["parameters"].items()}
    if options.output is not None:
        result.save(options.output)
    return result


def _described(device: Device | str | None) -> tuple[Environment, str]:
    """Return a device's description and its name. The device itself is closed: the workers own it."""
    opened = devices.opened(device)
    return devices.info(opened), devices.name_of(opened)


def _observers(
    options: TrainOptions, result: TrainingResult, files: contextlib.ExitStack, *, resumed: bool
) -> list[Observer]:
    """Open what records the run; `files` closes it."""
    observers: list[Observer] = [result.record]
    if options.telemetry is not None:
        lines = Telemetry(options.telemetry, peak_tflops=options.peak_tflops, append=resumed)
        observers.append(files.enter_context(lines).record)
    if options.trace is not None:
        observers.append(files.enter_context(Trace(options.trace)).record)
    if options.progress is not None:
        observers.append(options.progress)
    return observers


def _run(
    trainer: Trainer,
    started: RunStarted,
    checkpoints: RunCheckpoints,
    result: TrainingResult,
    observers: list[Observer],
) -> None:
    """Train to the end or to a signal; tell every event, and save checkpoints, also when training fails."""
    start, steps_in_batch = time.monotonic(), 0

    def tell(event: Event) -> None:
        for observer in observers:
            observer(event)

    def save() -> CheckpointSaved:
        begin, loss = time.monotonic_ns(), result.batches[-1].mean_loss
        folder = checkpoints.save(trainer.config, trainer.state, trainer.parts, loss)
        return CheckpointSaved(trainer.state.step, folder, loss, begin, time.monotonic_ns())

    tell(started)

    def stop(number: signal.Signals) -> None:
        result.stopped_by = number
        trainer.stop()

    with at_first_signal(stop):
        try:
            for event in trainer.run():
                tell(event)
                if isinstance(event, StepDone):
                    steps_in_batch += 1
                elif isinstance(event, BatchDone):
                    steps_in_batch = 0
                    if checkpoints.is_due(event.batch):
                        tell(save())
        except AneError:
            # Whatever failed, the state is that of the last update.
            if checkpoints.is_behind(trainer.state) and result.batches:
                with contextlib.suppress(CheckpointError):
                    save()
            raise
        if checkpoints.is_behind(trainer.state) and result.batches:
            tell(save())
    result.seconds, result.steps_lost = time.monotonic() - start, steps_in_batch


def _model(options: TrainOptions, record: Record | None) -> tuple[TransformerConfig, Parameters | None]:
    """Return the shape to train, and the initial parameters if a file has them."""
    asked = None if options.model is None else model_config(options.model)
    if record is not None:
        return asked or record.config.model, None
    if options.weights is None:
        return asked or model_config("stories110m"), None
    found, parameters = load_model(options.weights)
    if asked is None:
        return found, parameters
    # The length of sequences and the constants do not change the shapes of parameters.
    same = replace(found, seq=asked.seq, rope_theta=asked.rope_theta, norm_eps=asked.norm_eps)
    if same != asked:
        raise ArgumentError(
            f"{options.weights} has another model, {model_name(found)}, than {model_name(asked)}"
        )
    return asked, parameters
