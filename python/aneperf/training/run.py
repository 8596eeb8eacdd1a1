"""`aneperf.train`: a run, from its options to its result."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import device as devices
from .._ane_native import ArgumentError, Device
from ..bounds import CONSTANTS
from ..kernels import TransformerConfig, schedule
from ..kinds import Kind
from ..outputs import check_outputs
from ..results import Environment
from ..signals import at_first_signal
from .checkpoint import Run, load_model, load_origin, load_record
from .compaction import Rows, compact
from .config import TrainingConfig, differences
from .data import SYNTHETIC, TokenFile, open_data
from .dynamic import fitting_kernels
from .evaluation import Evaluation
from .events import BatchDone, CheckpointSaved, Evaluated, Event, Observer, RunStarted, StepDone
from .hugging_face import Origin, hugging_face_shape, is_hugging_face
from .logs import Logs
from .models import Parameters, model_config, model_name, random_parameters
from .options import TrainOptions, takes
from .record import CheckpointError, Record
from .result import TrainingResult
from .resume import (
    Found,
    absolute_path,
    check_same_run,
    checkpoint_to_resume,
    kept_options,
    resumed_options,
)
from .run_checkpoints import RunCheckpoints
from .state import SAVED_PARTS, bytes_needed, check_room, part_shapes
from .telemetry import Telemetry
from .tensorboard import TensorBoard, check_tensorboard
from .trace import Trace
from .trainer import Trainer
from .vocabulary import Vocabulary, vocabulary_of_json


@takes(TrainOptions)
def train(given: Mapping[str, Any]) -> TrainingResult:
    """Train a model: a preset, a shape, or the model of a file of weights or a checkpoint.

    Worker processes own the device; this process never opens a program. A worker that spends more than the
    device's `compile_timeout` on a kernel is killed; see `aneperf.open`. A resumed run has the options of the
    checkpoint's run, except for those that are given, and computes the same bits as one that never stopped.
    `progress` is called with every event of `aneperf.training.events`.

    Ctrl-C, SIGTERM or SIGHUP ends the run at its last update, saves a checkpoint if it has a folder for them,
    and returns the result so far with `stopped_by` set; a second signal, half a second later, has its usual
    effect. Raises ArgumentError, CheckpointError, ResultFileError, and TrainingError where the device or its
    workers fail.
    """
    options = TrainOptions(**given)
    _check_outputs(options)
    with checkpoint_to_resume(options.checkpoints, options.resume) as found:
        if found is not None:
            options = resumed_options(found.record, given)
            _check_outputs(options)
        if options.eval_data is None and (alone := {"eval_every", "eval_sequences"} & given.keys()):
            raise ArgumentError(f"{min(alone)} needs eval_data (--eval-data)")
        return _train(options, found)


def _train(options: TrainOptions, found: Found | None) -> TrainingResult:
    model, parameters = _model(options, None if found is None else found.record)
    config = options.config(model)
    origin = None
    if found is not None:
        parameters, origin = found.weights, found.origin
    elif options.weights is not None:
        origin = load_origin(options.weights)
    folder = None if options.state_folder is None else Path(options.state_folder)
    record = None if found is None else found.record
    if record is None and options.weights is not None:
        record = load_record(options.weights)
    vocabulary = partial(_vocabulary, origin, record)
    data = open_data(options.data, model.vocab, model.seq, options.seed, vocabulary)
    tokens = compact(data) if config.compact_vocabulary else None
    trained = model if tokens is None else replace(model, vocab=len(tokens))
    separate = parameters is not None and "classifier" in parameters
    check_room(bytes_needed(part_shapes(replace(config, model=trained), separate), model.seq), folder)
    evaluation = _evaluation(options, model, vocabulary, tokens, found)
    described = None if evaluation is None else evaluation.description
    if found is not None:
        check_same_run(found.record, options, config, data.description, described)
    environment, device, compile_timeout = _described(options.device)
    _check_kernels(config, device)
    started = RunStarted(
        model=model_name(model),
        config=config,
        environment=environment,
        data=data.description,
        unigram_entropy=data.unigram_entropy,
        vocab=trained.vocab,
        first_step=0 if found is None else found.record.step,
        loss=None if found is None else found.record.loss,
    )
    result = TrainingResult.of(started, options.peak_tflops)
    result.origin = origin
    checkpoints = RunCheckpoints(
        options.checkpoints,
        Run(
            config,
            data.description,
            described,
            kept_options(options, device, compile_timeout),
            origin,
            data.vocabulary,
        ),
        keep=options.keep,
        minutes=options.checkpoint_every,
        first_step=started.first_step,
        elsewhere=_other_folders(options),
    )
    if parameters is None:
        parameters = random_parameters(model, options.seed)
    rows = Rows(parameters, tokens)
    with Trainer(
        replace(config, model=trained),
        rows.gather(parameters),
        data,
        device=device,
        state_folder=folder,
        compile_timeout=compile_timeout,
        evaluation=evaluation,
    ) as trainer:
        del parameters  # the trainer has a copy, and a large model does not fit in memory twice
        if found is not None:
            found.restore(trainer.state, trainer.parts, rows)

        def stop(number: signal.Signals) -> None:
            result.stopped_by = number
            trainer.stop()

        with (
            at_first_signal(stop),
            _recorded(options, result, resumed=found is not None) as tell,
        ):
            _run(trainer, rows, started, checkpoints, result, tell)
        trainer.end_workers()
        whole = rows.scatter("parameters", trainer.weights)
        result.parameters = {name: value.copy() for name, value in whole.items()}
        if config.lora is not None:
            if options.weights is not None and is_hugging_face(options.weights):
                result.base = absolute_path(options.weights)
            result.adapters = {name: value.copy() for name, value in trainer.parts["parameters"].items()}
    if options.output is not None:
        result.save(options.output)
    return result


def _check_outputs(options: TrainOptions) -> None:
    check_outputs(
        {
            "output": (options.output, Kind.RESULT),
            "telemetry": (options.telemetry, Kind.TELEMETRY),
            "trace": (options.trace, Kind.TRACE),
        },
        {
            "data": None if options.data == SYNTHETIC else options.data,
            "eval_data": options.eval_data,
            "weights": options.weights,
        },
        options.checkpoints,
    )
    if options.tensorboard is not None:
        check_tensorboard(options.tensorboard, options.checkpoints)


def _evaluation(
    options: TrainOptions,
    model: TransformerConfig,
    trained_with: Callable[[], Vocabulary | None],
    tokens: NDArray[np.int64] | None,
    found: Found | None,
) -> Evaluation | None:
    if options.eval_data is None:
        return None
    data = TokenFile(options.eval_data, model.vocab, model.seq, 0, trained_with)
    if tokens is not None:
        data.renumber(tokens)
    evaluation = Evaluation(data, sequences=options.eval_sequences, every=options.eval_every)
    best = None if found is None else found.best
    if best is not None and best.evaluation == evaluation.description and best.validation_loss is not None:
        evaluation.compare(best.validation_loss, best.step)
    return evaluation


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
        if options.tensorboard is not None:
            logs.add(options.tensorboard, TensorBoard(options.tensorboard))

        def tell(event: Event) -> None:
            logs.record(event)
            tell_others(event)

        yield tell


def _run(
    trainer: Trainer,
    rows: Rows,
    started: RunStarted,
    checkpoints: RunCheckpoints,
    result: TrainingResult,
    tell: Observer,
) -> None:
    """Train to the end or to a signal; tell every event, and save checkpoints, also when training fails."""
    start, steps_in_batch = time.monotonic(), 0

    def save(best: Evaluated | None = None) -> CheckpointSaved:
        begin, loss = time.monotonic_ns(), result.batches[-1].mean_loss
        parts = {part: rows.scatter(part, trainer.parts[part]) for part in SAVED_PARTS}
        if best is None:
            folder = checkpoints.save(trainer.state, parts, loss)
        else:
            folder = checkpoints.save_best(trainer.state, parts, loss, best.loss)
        return CheckpointSaved(
            trainer.state.step, folder, loss, begin, time.monotonic_ns(), is_best=best is not None
        )

    tell(started)
    try:
        for event in trainer.run():
            tell(event)
            if isinstance(event, StepDone):
                steps_in_batch += 1
            elif isinstance(event, BatchDone):
                steps_in_batch = 0
                if checkpoints.is_due:
                    tell(save())
            elif isinstance(event, Evaluated) and event.is_best and checkpoints.keeps_best:
                tell(save(event))
    except Exception:
        # Whatever failed, the state is that of the last update.
        if checkpoints.is_behind(trainer.state) and result.batches:
            with contextlib.suppress(CheckpointError):
                save()
        raise
    if checkpoints.is_behind(trainer.state) and result.batches:
        tell(save())
    result.seconds, result.steps_lost = time.monotonic() - start, steps_in_batch


def _vocabulary(origin: Origin | None, record: Record | None) -> Vocabulary | None:
    """Return the vocabulary that the weights were trained with, if their folder or checkpoint tells."""
    if origin is not None and origin.tokenizer is not None:
        return vocabulary_of_json(origin.tokenizer)
    return None if record is None else record.vocabulary


def _model(options: TrainOptions, record: Record | None) -> tuple[TransformerConfig, Parameters | None]:
    """Return the shape to train, and the initial parameters if a file has them."""
    asked = None if options.model is None else model_config(options.model)
    if record is not None:
        return asked or record.config.model, None
    if options.weights is None:
        return asked or model_config("stories110m"), None
    found, parameters = load_model(options.weights)
    if asked is None:
        return hugging_face_shape(options.weights) if is_hugging_face(options.weights) else found, parameters
    # Any length of sequences fits the parameters, and a llama2.c model, a file, does not tell its constants.
    free = ("seq",) if Path(options.weights).is_dir() else ("seq", *CONSTANTS)
    same = replace(found, **{name: getattr(asked, name) for name in free})
    if different := differences(options.config(asked), options.config(same)):
        raise ArgumentError(
            f"{options.weights} has another model, {model_name(found)}, than {model_name(asked)}: "
            f"{'; '.join(different)}"
        )
    return asked, parameters
