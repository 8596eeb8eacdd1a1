"""`aneperf.train`: a run from its options to its result."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Literal

from .. import device as devices
from .._ane_native import ArgumentError, Device
from ..errors import AneError
from ..files import check_writable
from ..kernels import TransformerConfig
from ..kernels.schedule import Pipeline
from ..measure import positive
from .checkpoint import CheckpointError, Checkpoints, Record
from .config import TrainingConfig, differences, model_config, model_name
from .data import Data, open_data
from .events import BatchDone, Began, CheckpointSaved, Event, StepDone
from .model_files import load_model
from .models import Parameters, random_parameters
from .result import Observer, TrainingResult
from .telemetry import Telemetry
from .trace import Trace
from .trainer import Progress, Trainer

_Path = str | os.PathLike[str]


def train(
    model: str | TransformerConfig | None = None,
    *,
    pipeline: Pipeline = TrainingConfig.pipeline,
    steps: int = TrainingConfig.steps,
    data: _Path = "synthetic",
    weights: _Path | None = None,
    device: Device | str | None = None,
    checkpoints: _Path | None = None,
    checkpoint_every: int = 1,
    keep: int = 2,
    resume: bool | int = False,
    json: _Path | None = None,
    telemetry: _Path | None = None,
    trace: _Path | None = None,
    state_folder: _Path | None = None,
    peak_tflops: float | None = None,
    progress: Observer | None = None,
    as_published: bool = TrainingConfig.as_published,
    accumulation: int = TrainingConfig.accumulation,
    learning_rate: float = TrainingConfig.learning_rate,
    beta1: float = TrainingConfig.beta1,
    beta2: float = TrainingConfig.beta2,
    epsilon: float = TrainingConfig.epsilon,
    weight_decay: float = TrainingConfig.weight_decay,
    warmup: int = TrainingConfig.warmup,
    decay: Literal["constant", "cosine"] = TrainingConfig.decay,
    final_rate: float = TrainingConfig.final_rate,
    clip: float | None = TrainingConfig.clip,
    loss_scale: float = TrainingConfig.loss_scale,
    seed: int = TrainingConfig.seed,
) -> TrainingResult:
    """Train a model: a preset's name or a shape; None is that of the weights or checkpoint, or stories110m.

    `data` is a file of uint16 tokens, or "synthetic"; `weights` a model of llama2.c or a folder of
    checkpoints to begin from, None being random ones. The folder `checkpoints` gets one after every
    `checkpoint_every` batches and at the end; `resume` goes on from its last, or from that of a step, with
    the same bits as a run that never stopped. `json` gets the result, `telemetry` lines of JSON, `trace` a
    trace for Perfetto. The parameters' memory is in `state_folder` instead of shared memory if that is too
    small. `progress` is called with every event of `training.events`. The other options are TrainingConfig's.

    The device belongs to worker processes, never to this one. Ctrl-C ends the run at its last update, saves a
    checkpoint if there is a folder for it, and returns what there is with `interrupted` set; a second one
    raises KeyboardInterrupt. Raises ArgumentError, CheckpointError, ResultFileError, and TrainingError where
    the device or its workers fail.
    """
    saved = _Saved(checkpoints, keep, checkpoint_every, resume)
    shape, parameters = _model(model, weights, seed, saved.record)
    config = TrainingConfig(
        shape,
        pipeline=pipeline,
        as_published=as_published,
        steps=steps,
        accumulation=accumulation,
        learning_rate=learning_rate,
        beta1=beta1,
        beta2=beta2,
        epsilon=epsilon,
        weight_decay=weight_decay,
        warmup=warmup,
        decay=decay,
        final_rate=final_rate,
        clip=clip,
        loss_scale=loss_scale,
        seed=seed,
    )
    if peak_tflops is not None:
        positive("peak_tflops", peak_tflops)
    source = open_data(data, shape.vocab, shape.seq, seed)
    saved.check(config, source)
    for path in (json, trace):
        if path is not None:
            check_writable(path)
    opened = devices.opened(device)
    environment, name = devices.info(opened), devices.name_of(opened)
    del opened
    began = Began(
        model_name(shape),
        config,
        environment,
        source.description,
        source.unigram_entropy,
        saved.step,
        saved.loss,
    )
    if parameters is None:
        parameters = saved.parts["parameters"] if saved.record else random_parameters(shape, seed)
    result = TrainingResult.beginning(began, peak_tflops)
    with contextlib.ExitStack() as stack:
        trainer = stack.enter_context(
            Trainer(
                config,
                parameters,
                source,
                device=name,
                state_folder=None if state_folder is None else Path(state_folder),
            )
        )
        del parameters  # of which the trainer has its own, and a large model has no room for two
        saved.restore(trainer)
        observers: list[Observer] = [result.record]
        if telemetry is not None:
            lines = Telemetry(telemetry, peak_tflops=peak_tflops, append=saved.record is not None)
            observers.append(stack.enter_context(lines).record)
        if trace is not None:
            observers.append(stack.enter_context(Trace(trace)).record)
        if progress is not None:
            observers.append(progress)
        _run(trainer, began, saved, result, observers)
        trainer.end_workers()
        result.parameters = {name: value.copy() for name, value in trainer.parts["parameters"].items()}
    if json is not None:
        result.save(json)
    return result


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


def _model(
    model: str | TransformerConfig | None, weights: _Path | None, seed: int, record: Record | None
) -> tuple[TransformerConfig, Parameters | None]:
    """The shape to train, and the parameters to begin from if a file has them."""
    asked = None if model is None else model_config(model)
    if record is not None:
        return asked or record.config.model, None
    if weights is None:
        return asked or model_config("stories110m"), None
    found, parameters = load_model(weights)
    if asked is None:
        return found, parameters
    # The length of sequences and the constants are no shapes of parameters.
    same = replace(found, seq=asked.seq, rope_theta=asked.rope_theta, norm_eps=asked.norm_eps)
    if same != asked:
        raise ArgumentError(f"{weights} has another model, {model_name(found)}, than {model_name(asked)}")
    return asked, parameters
