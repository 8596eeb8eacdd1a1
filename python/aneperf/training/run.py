"""`aneperf.train`: a run from its options to its result."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, fields, replace
from functools import wraps
from inspect import cleandoc, signature
from pathlib import Path
from types import FrameType
from typing import ParamSpec

from .. import device as devices
from .._ane_native import ArgumentError, Device
from ..checks import positive
from ..errors import AneError
from ..files import check_writable
from ..kernels import TransformerConfig
from ..results import Environment
from .checkpoint import CheckpointError, Checkpoints, Record
from .config import Hyperparameters, TrainingConfig, differences, model_config, model_name, option
from .data import Data, open_data
from .events import BatchDone, Began, CheckpointSaved, Event, Observer, StepDone
from .model_files import load_model
from .models import PRESETS, Parameters, random_parameters
from .result import TrainingResult
from .telemetry import Telemetry
from .trace import Trace
from .trainer import Progress, Trainer

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
    checkpoint_every: int = option(1, "Checkpoints", "Batches from one checkpoint to the next.", metavar="N")
    keep: int = option(2, "Checkpoints", "Checkpoints to keep, in addition to the best.", metavar="N")
    resume: bool | int = option(
        False, "Checkpoints", "Resume from the last checkpoint, or from that of a step."
    )
    output: _Path | None = option(
        None, "Output", "Save the result as JSON.", metavar="FILE", flags=("-o", "--output")
    )
    telemetry: _Path | None = option(None, "Output", "Write each step as lines of JSON.", metavar="FILE")
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
        @wraps(function)
        def with_keywords(*args: _Options.args, **keywords: _Options.kwargs) -> TrainingResult:
            return function(options(*args, **keywords))

        taken = signature(options).replace(return_annotation="TrainingResult")
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

    Ctrl-C ends the run at its last update, saves a checkpoint if it has a folder for them, and returns the
    result so far with `interrupted` set; a second Ctrl-C raises KeyboardInterrupt. Raises ArgumentError,
    CheckpointError, ResultFileError, and TrainingError where the device or its workers fail.
    """
    saved = _Saved(options.checkpoints, options.keep, options.checkpoint_every, options.resume)
    shape, parameters = _model(options, saved.record)
    config = options.config(shape)
    data = open_data(options.data, shape.vocab, shape.seq, options.seed)
    saved.check(config, data)
    for path in (options.output, options.trace):
        if path is not None:
            check_writable(path)
    environment, device = _described(options.device)
    began = Began(
        model_name(shape),
        config,
        environment,
        data.description,
        data.unigram_entropy,
        saved.step,
        saved.loss,
    )
    if parameters is None:
        parameters = saved.parts["parameters"] if saved.record else random_parameters(shape, options.seed)
    result = TrainingResult.beginning(began, options.peak_tflops)
    with contextlib.ExitStack() as stack:
        folder = None if options.state_folder is None else Path(options.state_folder)
        trainer = stack.enter_context(Trainer(config, parameters, data, device=device, state_folder=folder))
        del parameters  # the trainer has a copy, and a large model does not fit in memory twice
        saved.restore(trainer)
        observers = _observers(options, result, stack, resumed=saved.record is not None)
        _run(trainer, began, saved, result, observers)
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
    options: TrainOptions, result: TrainingResult, stack: contextlib.ExitStack, *, resumed: bool
) -> list[Observer]:
    """Open the files that record the run, which `stack` closes."""
    observers: list[Observer] = [result.record]
    if options.telemetry is not None:
        lines = Telemetry(options.telemetry, peak_tflops=options.peak_tflops, append=resumed)
        observers.append(stack.enter_context(lines).record)
    if options.trace is not None:
        observers.append(stack.enter_context(Trace(options.trace)).record)
    if options.progress is not None:
        observers.append(options.progress)
    return observers


def _run(
    trainer: Trainer, began: Began, saved: _Saved, result: TrainingResult, observers: list[Observer]
) -> None:
    start, pending = time.monotonic(), 0

    def tell(event: Event) -> None:
        for observer in observers:
            observer(event)

    tell(began)
    with _interrupts_stop(trainer, result):
        try:
            for event in trainer.run():
                tell(event)
                if isinstance(event, StepDone):
                    pending += 1
                elif isinstance(event, BatchDone):
                    pending = 0
                    if saved.is_due(event):
                        tell(saved.save(trainer, result))
        except AneError:
            # The state is that of the last update, whatever failed.
            if saved.is_behind(trainer) and result.batches:
                with contextlib.suppress(CheckpointError):
                    saved.save(trainer, result)
            raise
        if saved.is_behind(trainer) and result.batches:
            tell(saved.save(trainer, result))
    result.seconds, result.steps_lost = time.monotonic() - start, pending


@contextlib.contextmanager
def _interrupts_stop(trainer: Trainer, result: TrainingResult) -> Iterator[None]:
    """Ctrl-C stops the run where it leaves nothing torn; the next one does what it did before."""
    if threading.current_thread() is not threading.main_thread():
        yield  # where Ctrl-C does not arrive
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)
        result.interrupted = True
        trainer.stop()

    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)


class _Saved:
    """The checkpoints of a run, and the one that it goes on from."""

    def __init__(self, folder: _Path | None, keep: int, every: int, resume: bool | int) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ArgumentError(f"checkpoint_every {every!r} is not an integer of at least 1")
        if folder is None and resume is not False:
            raise ArgumentError("resume needs the folder of the checkpoints")
        self._checkpoints = None if folder is None else Checkpoints(folder, keep)
        self._every, self._data = every, ""
        self.record: Record | None = None
        self.parts: Mapping[str, Parameters] = {}
        if self._checkpoints is not None and resume is not False:
            self.record, self.parts = self._checkpoints.load(None if resume is True else resume)
        elif self._checkpoints is not None and (steps := self._checkpoints.steps()):
            raise ArgumentError(
                f"{folder} has checkpoints, the last of step {steps[-1]}: resume, or name another folder"
            )
        self.step = self._last = 0 if self.record is None else self.record.step
        self.loss = None if self.record is None else self.record.loss

    def check(self, config: TrainingConfig, data: Data) -> None:
        """Raise CheckpointError unless the run goes on as the checkpoint's would have."""
        self._data = data.description
        record = self.record
        if record is None:
            return
        found = differences(config, record.config)
        if data.description != record.data:
            found.append(f"data is {data.description!r}, was {record.data!r}")
        if found:
            raise CheckpointError(
                f"the checkpoint of step {record.step} is of another run: {'; '.join(found)}"
            )
        if record.step >= config.steps:
            raise CheckpointError(
                f"the checkpoint of step {record.step} has the {config.steps} steps of this run: ask for more"
            )
        if record.step % config.accumulation:
            raise CheckpointError(
                f"the checkpoint of step {record.step} ends with less than a batch of {config.accumulation}, "
                "which no longer run does: resume an earlier one, or begin from its weights"
            )

    def restore(self, trainer: Trainer) -> None:
        """Give the trainer all that the checkpoint has beside the parameters."""
        if self.record is None:
            return
        record = self.record
        trainer.progress = Progress(record.loss_scale, record.step, record.applied_updates)
        for part in ("mean", "variance"):
            for name, value in self.parts[part].items():
                trainer.parts[part][name][:] = value
        self.parts = {}

    def is_due(self, done: BatchDone) -> bool:
        """Whether a checkpoint follows this batch."""
        return self._checkpoints is not None and (done.batch + 1) % self._every == 0

    def is_behind(self, trainer: Trainer) -> bool:
        """Whether there is a state that no checkpoint has."""
        return self._checkpoints is not None and self._last < trainer.progress.step

    def save(self, trainer: Trainer, result: TrainingResult) -> CheckpointSaved:
        """Save the state as it is after the last update."""
        assert self._checkpoints is not None
        begin = time.monotonic_ns()
        loss, self._last = result.batches[-1].mean_loss, trainer.progress.step
        folder = self._checkpoints.save(trainer.config, trainer.progress, trainer.parts, loss, self._data)
        return CheckpointSaved(self._last, folder, loss, begin, time.monotonic_ns())


def _model(options: TrainOptions, record: Record | None) -> tuple[TransformerConfig, Parameters | None]:
    """Return the shape to train, and the initial parameters if a file of weights has them."""
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
