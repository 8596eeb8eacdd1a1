"""`aneperf.train`: a run, from its options to its result."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, fields, replace
from functools import wraps
from inspect import cleandoc, signature
from pathlib import Path
from typing import ParamSpec

from .. import device as devices
from .._ane_native import ArgumentError, Device
from ..bounds import CONSTANTS, PEAK_TFLOPS, within
from ..kernels import TransformerConfig, schedule
from ..kernels.config import parameter_count
from ..kinds import Kind
from ..outputs import check_outputs
from ..results import Environment
from ..signals import at_first_signal
from .checkpoint import load_model
from .config import Hyperparameters, TrainingConfig, option
from .data import SYNTHETIC, open_data
from .dynamic import fitting_kernels
from .events import BatchDone, CheckpointSaved, Event, Observer, RunStarted, StepDone
from .hugging_face import hugging_face_shape, is_hugging_face, read_origin
from .logs import Logs
from .models import PRESETS, Parameters, model_config, model_name, random_parameters
from .record import CheckpointError, Record
from .result import TrainingResult
from .run_checkpoints import RunCheckpoints
from .state import bytes_needed, check_room
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
        None,
        "Model",
        "Initial weights: a llama2.c model, a Hugging Face folder (config.json, safetensors; trained on at "
        "most 256 tokens unless --seq says else), or a folder of checkpoints.",
        metavar="FILE|FOLDER",
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
            within("peak_tflops", self.peak_tflops, PEAK_TFLOPS)

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

    Worker processes own the device; this process never opens a program. A worker that spends more than the
    device's `compile_timeout` on a kernel is killed; see `aneperf.open`. A resumed run computes the same bits
    as one that never stopped. `progress` is called with every event of `aneperf.training.events`.

    Ctrl-C, SIGTERM or SIGHUP ends the run at its last update, saves a checkpoint if it has a folder for them,
    and returns the result so far with `stopped_by` set; a second signal, half a second later, has its usual
    effect. Raises ArgumentError, CheckpointError, ResultFileError, and TrainingError where the device or its
    workers fail.
    """
    check_outputs(
        {
            "output": (options.output, Kind.RESULT),
            "telemetry": (options.telemetry, Kind.TELEMETRY),
            "trace": (options.trace, Kind.TRACE),
        },
        {"data": None if options.data == SYNTHETIC else options.data, "weights": options.weights},
        options.checkpoints,
    )
    with RunCheckpoints(
        options.checkpoints,
        options.keep,
        options.checkpoint_every,
        options.resume,
        elsewhere=_other_folders(options),
    ) as checkpoints:
        return _train(options, checkpoints)


def _train(options: TrainOptions, checkpoints: RunCheckpoints) -> TrainingResult:
    model, parameters = _model(options, checkpoints.record)
    config = options.config(model)
    if checkpoints.record is not None:
        parameters = checkpoints.parts["parameters"]
    folder = None if options.state_folder is None else Path(options.state_folder)
    separate = parameters is not None and "classifier" in parameters
    check_room(bytes_needed(parameter_count(model, separate), model.seq), folder)
    data = open_data(options.data, model.vocab, model.seq, options.seed)
    checkpoints.check(config, data.description)
    environment, device, compile_timeout = _described(options.device)
    _check_kernels(config, device)
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
    if options.weights is not None and is_hugging_face(options.weights):
        result.origin = read_origin(options.weights)
    if parameters is None:
        parameters = random_parameters(model, options.seed)
    with Trainer(
        config, parameters, data, device=device, state_folder=folder, compile_timeout=compile_timeout
    ) as trainer:
        del parameters  # the trainer has a copy, and a large model does not fit in memory twice
        checkpoints.restore(trainer.state, trainer.parts)

        def stop(number: signal.Signals) -> None:
            result.stopped_by = number
            trainer.stop()

        with (
            at_first_signal(stop),
            _recorded(options, result, resumed=checkpoints.record is not None) as tell,
        ):
            _run(trainer, started, checkpoints, result, tell)
        trainer.end_workers()
        result.parameters = {name: value.copy() for name, value in trainer.parts["parameters"].items()}
    if options.output is not None:
        result.save(options.output)
    return result


def _other_folders(options: TrainOptions) -> list[Path]:
    """List the folders that may take a checkpoint if its own folder takes no more."""
    files = [Path(path) for path in (options.output, options.telemetry, options.trace) if path is not None]
    chosen = [] if options.state_folder is None else [Path(options.state_folder)]
    return [*chosen, *(file.parent for file in files), Path(tempfile.gettempdir())]


def _described(device: Device | str | None) -> tuple[Environment, str, float]:
    """Return a device's description, name and timeout. The device itself is closed: the workers own it."""
    opened = devices.opened(device)
    return devices.info(opened), devices.name_of(opened), devices.compile_timeout_of(opened)


def _check_kernels(config: TrainingConfig, device: str) -> None:
    """Raise ArgumentError unless one process may compile all kernels of a step, and the device takes them."""
    kernels = len(schedule(config.model, config.pipeline))
    opened = devices.open(device)
    budget = opened.compile_budget.soft
    if config.pipeline == "dynamic":
        fitting_kernels(opened, config.model, config.as_published)
    if kernels > budget:
        raise ArgumentError(
            f"the pipeline {config.pipeline} compiles {kernels} kernels for {config.model.layers} layers, "
            f"and the device lets a process compile {budget}: choose the pipeline dynamic, or fewer layers"
        )


@contextlib.contextmanager
def _recorded(options: TrainOptions, result: TrainingResult, *, resumed: bool) -> Iterator[Observer]:
    """Return what tells an event to everything that records or shows the run."""

    def tell_others(event: Event) -> None:
        result.record(event)
        if options.progress is not None:
            options.progress(event)

    with Logs(tell_others) as logs:
        if options.telemetry is not None:
            telemetry = Telemetry(options.telemetry, peak_tflops=options.peak_tflops, append=resumed)
            logs.add(options.telemetry, telemetry)
        if options.trace is not None:
            logs.add(options.trace, Trace(options.trace))

        def tell(event: Event) -> None:
            logs.record(event)
            tell_others(event)

        yield tell


def _run(
    trainer: Trainer,
    started: RunStarted,
    checkpoints: RunCheckpoints,
    result: TrainingResult,
    tell: Observer,
) -> None:
    """Train to the end or to a signal; tell every event, and save checkpoints, also when training fails."""
    start, steps_in_batch = time.monotonic(), 0

    def save() -> CheckpointSaved:
        begin, loss = time.monotonic_ns(), result.batches[-1].mean_loss
        folder = checkpoints.save(trainer.config, trainer.state, trainer.parts, loss)
        return CheckpointSaved(trainer.state.step, folder, loss, begin, time.monotonic_ns())

    tell(started)
    try:
        for event in trainer.run():
            tell(event)
            if isinstance(event, StepDone):
                steps_in_batch += 1
            elif isinstance(event, BatchDone):
                steps_in_batch = 0
                if checkpoints.is_due(event.batch):
                    tell(save())
    except Exception:
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
    described = is_hugging_face(options.weights)
    if asked is None:
        return hugging_face_shape(options.weights) if described else found, parameters
    # Any length of sequences fits the parameters, and a llama2.c model does not tell its constants.
    free = ("seq",) if described else ("seq", *CONSTANTS)
    same = replace(found, **{name: getattr(asked, name) for name in free})
    if same != asked:
        raise ArgumentError(
            f"{options.weights} has another model, {model_name(found)}, than {model_name(asked)}"
        )
    return asked, parameters
