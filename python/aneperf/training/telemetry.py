"""A run as lines of JSON, in the format of the published training and with what that leaves out.

The types step, batch and perf have the published keys and meanings: `t_` are means over the batch so far, of
the forward pass only; a batch's number is how many steps it has. Source: maderix/ANE, training/train_large.m.
What is not a number is null.
"""

from __future__ import annotations

import contextlib
import math
import os
from types import TracebackType
from typing import Any

import msgspec

from .._ane_native import __version__
from ..errors import ResultFileError
from .accounting import StepTimes, published_times, step_flops
from .events import BatchDone, CheckpointSaved, Event, KernelsCompiled, RunStarted, StepDone, WorkerReplaced


class Telemetry:
    """A file that gets its lines as they happen. Raises ResultFileError where it cannot be written."""

    def __init__(self, path: str | os.PathLike[str], *, peak_tflops: float | None, append: bool) -> None:
        self._path, self._peak = path, peak_tflops
        try:
            self._file = open(path, "ab" if append else "wb")  # noqa: SIM115  see __exit__
        except (OSError, ValueError) as error:
            raise ResultFileError(f"{path}: cannot write: {error}") from error
        self._batch: list[StepTimes] = []
        self._compiles = self._device_flops = 0

    def __enter__(self) -> Telemetry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # every line is flushed, and what failed was told
            self._file.close()

    def record(self, event: Event) -> None:
        """Write what happened."""
        if isinstance(event, RunStarted):
            self._begin(event)
        elif isinstance(event, KernelsCompiled):
            self._compiles = event.ready.compiles_used
            self._write(
                "worker",
                event="loaded",
                step=event.step,
                pid=event.pid,
                new=event.prepared is not None,
                kernels=event.ready.compiled,
                compile_ms=round(event.ready.compile_ms, 1),
                compiles=event.ready.compiles_used,
                compiles_left=event.ready.compiles_left,
            )
        elif isinstance(event, StepDone):
            self._step(event)
        elif isinstance(event, BatchDone):
            self._finish_batch(event)
        elif isinstance(event, WorkerReplaced):
            self._write("worker", event="lost", step=event.step, reason=event.reason)
        elif isinstance(event, CheckpointSaved):
            self._write(
                "checkpoint",
                step=event.step,
                folder=str(event.folder),
                loss=_number(event.loss, 6),
                ms=round(event.ms, 1),
            )

    def _begin(self, began: RunStarted) -> None:
        config = began.config
        self._device_flops = step_flops(config.model, config.pipeline == "static-ane").device
        self._write(
            "run",
            aneperf=__version__,
            model=began.model,
            config=config,
            data=began.data,
            unigram_entropy=round(began.unigram_entropy, 6),
            first_step=began.first_step,
            peak_tflops=self._peak,
            environment=began.environment,
        )

    def _step(self, done: StepDone) -> None:
        self._batch.append(done.times)
        published = {name: round(value, 3) for name, value in published_times(self._batch).items()}
        self._write("step", step=done.step, loss=_number(done.loss, 6), **published, compiles=self._compiles)
        self._write(
            "times",
            step=done.step,
            **done.times.to_dict(),
            overhead=done.overhead_ms,
            peak_bytes=done.stepped.peak_bytes,
        )

    def _finish_batch(self, done: BatchDone) -> None:
        self._batch = []
        ms_per_step = done.train_ms / len(done.steps)
        self._write(
            "batch",
            batch=len(done.steps),
            compile_ms=round(done.compile_ms, 1),
            train_ms=round(done.train_ms, 1),
            ms_per_step=round(ms_per_step, 1),
        )
        rate = self._device_flops / (1e9 * ms_per_step)
        share = None if self._peak is None else round(100 * rate / self._peak, 2)
        self._write("perf", ane_tflops=round(rate, 3), ane_util_pct=share)
        self._write(
            "update",
            update=done.batch,
            learning_rate=done.update.learning_rate,
            gradient_norm=_number(done.update.gradient_norm, 6),
            loss_scale=done.loss_scale,
            applied=done.update.applied,
            update_ms=round(done.update_ms, 3),
        )

    def _write(self, kind: str, **values: Any) -> None:
        try:
            self._file.write(msgspec.json.encode({"type": kind, **values}) + b"\n")
            self._file.flush()
        except OSError as error:
            raise ResultFileError(f"{self._path}: cannot write: {error.strerror}") from error


def _number(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None
