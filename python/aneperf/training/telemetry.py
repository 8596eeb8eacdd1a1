"""Write a run as lines of JSON, in the format of the published training plus lines of types that it lacks.

The types step, batch and perf have the published keys and meanings: `t_` are means over the batch so far, of
the forward pass only; `batch` is its number of steps. Source: maderix/ANE, training/train_large.m. A value
that is not finite is null.
"""

from __future__ import annotations

import contextlib
import math
import os
from typing import Any

import msgspec

from .._ane_native import __version__
from ..errors import ResultFileError
from ..kernels.schedule import Pipeline
from ..kinds import Kind
from ..outputs import open_log
from .accounting import StepTimes, published_times
from .events import (
    BatchDone,
    CheckpointSaved,
    EnergyMetered,
    Evaluated,
    Event,
    KernelsCompiled,
    RunStarted,
    StepDone,
    WorkerReplaced,
)


class Telemetry:
    """A file of events, written as they happen. Raises ResultFileError."""

    def __init__(self, path: str | os.PathLike[str], *, peak_tflops: float | None, append: bool) -> None:
        self._path, self._peak = path, peak_tflops
        self._file = open_log(path, Kind.TELEMETRY, append=append)
        self._times: list[StepTimes] = []  # of the batch so far
        self._compiles = self._device_flops = self._seq = 0
        self._pipeline: Pipeline = "static"

    def close(self, *, keep: bool) -> None:
        """Close the file, whose lines stay."""
        with contextlib.suppress(OSError):  # every line is flushed, and its failure was raised
            self._file.close()

    def record(self, event: Event) -> None:
        """Write an event's lines."""
        if isinstance(event, RunStarted):
            self._run(event)
        elif isinstance(event, KernelsCompiled):
            self._compilation(event)
        elif isinstance(event, StepDone):
            self._step(event)
        elif isinstance(event, BatchDone):
            self._batch(event)
        elif isinstance(event, Evaluated):
            self._write(
                "validation",
                step=event.step,
                loss=_number(event.loss, 6),
                sequences=event.sequences,
                best_loss=_number(event.best_loss, 6),
                best_step=event.best_step,
                ms=round(event.ms, 1),
            )
        elif isinstance(event, WorkerReplaced):
            self._write("worker", event="lost", step=event.step, reason=event.reason)
        elif isinstance(event, EnergyMetered):
            energy = event.energy
            told = {"method": energy.method} if energy.method else {"reason": energy.reason}
            self._write("energy", **told, **energy.metrics())
        elif isinstance(event, CheckpointSaved):
            self._write(
                "checkpoint",
                step=event.step,
                folder=os.fsencode(event.folder).decode(errors="replace"),
                loss=_number(event.loss, 6),
                best=event.is_best,
                ms=round(event.ms, 1),
            )

    def _run(self, started: RunStarted) -> None:
        config = started.config
        self._pipeline, self._seq = config.pipeline, config.model.seq
        self._device_flops = started.flops.device
        self._write(
            "run",
            aneperf=__version__,
            model=started.model,
            config=config,
            data=started.data,
            unigram_entropy=round(started.unigram_entropy, 6),
            vocab=started.vocab,
            first_step=started.first_step,
            peak_tflops=self._peak,
            environment=started.environment,
        )

    def _compilation(self, event: KernelsCompiled) -> None:
        compiled = event.compiled
        self._compiles = compiled.compiles_used
        self._write(
            "worker",
            event="loaded",
            step=event.step,
            pid=event.pid,
            new=event.prepared is not None,
            kernels=event.kernels if event.is_staged else compiled.kernels,
            compile_ms=round(event.compile_ms, 1),
            staging_ms=round(event.staging_ms, 1),
            compiles=compiled.compiles_used,
            compiles_left=compiled.compiles_left,
        )

    def _step(self, done: StepDone) -> None:
        self._times.append(done.times)
        figures = published_times(self._times, self._pipeline)
        published = {name: round(value, 3) for name, value in figures.items()}
        self._write("step", step=done.step, loss=_number(done.loss, 6), **published, compiles=self._compiles)
        self._write(
            "times",
            step=done.step,
            **done.times.to_dict(),
            overhead=done.overhead_ms,
            peak_bytes=done.report.peak_bytes,
        )

    def _batch(self, done: BatchDone) -> None:
        self._times = []
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
            tokens_per_s=round(done.tokens_per_s(self._seq), 1),
            loss=_number(sum(done.losses) / len(done.losses), 6),
            sequences=len(done.losses),
        )
        if (exchange := done.communication) is not None:
            self._write(
                "allreduce",
                update=done.batch,
                ranks=exchange.ranks,
                buckets=len(exchange.spans),
                bytes=exchange.bytes,
                ms=round(exchange.ms, 3),
                hidden_ms=round(exchange.hidden_ms, 3),
                exposed_ms=round(exchange.exposed_ms, 3),
                waited_ms=round(exchange.waited_ms, 3),
            )

    def _write(self, kind: str, **values: Any) -> None:
        try:
            self._file.write(msgspec.json.encode({"type": kind, **values}) + b"\n")
            self._file.flush()
        except OSError as error:
            raise ResultFileError(f"{self._path}: cannot write: {error.strerror}") from error


def _number(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None
