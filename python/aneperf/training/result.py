"""What a run leaves: its losses, where the time went, and the model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..display import Displayed, call_report
from ..measure import summarise
from ..results import MAXIMUM_DURATIONS, Environment, Result, Row
from .accounting import COMPONENTS, StepFlops, StepTimes, step_flops
from .config import TrainingConfig
from .events import BatchDone, CheckpointSaved, Event, KernelsCompiled, RunStarted, WorkerReplaced
from .llama2c import save_llama2c
from .models import Parameters

_NS_PER_MS = 1e6


@dataclass(frozen=True)
class BatchTimes:
    """A batch of `steps` sequences and its update; ms."""

    steps: int
    mean_loss: float
    kernels: int  # compiled
    compile_ms: float
    train_ms: float  # steps, with their data and messages, and the update
    update_ms: float
    overhead_ms: float  # data and messages
    learning_rate: float
    gradient_norm: float
    loss_scale: float
    applied: bool  # False where the gradient was not finite

    @property
    def beside_steps_ms(self) -> float:
        """What is not in the steps' wall time."""
        return self.overhead_ms + self.update_ms


@dataclass
class TrainingResult(Displayed):
    """A run, of which every finished update counts: prints as a report, renders in a notebook.

    `losses` and `times` are of the steps from `first_step` on; `parameters` are those after the last update.
    """

    model: str
    config: TrainingConfig
    environment: Environment
    data: str
    unigram_entropy: float  # of the data, in nats
    first_step: int
    peak_tflops: float | None
    losses: list[float] = field(default_factory=list)
    times: list[StepTimes] = field(default_factory=list)
    batches: list[BatchTimes] = field(default_factory=list)
    parameters: Parameters = field(default_factory=dict, repr=False)
    seconds: float = 0.0  # from the first worker's start to the last update
    workers: int = 0  # that were started
    lost: list[str] = field(default_factory=list)  # why workers were replaced
    checkpoint: Path | None = None  # the last
    checkpoint_ms: float = 0.0  # of all
    interrupted: bool = False
    steps_lost: int = 0  # that were done since the last update, and are of no use

    @classmethod
    def of(cls, began: RunStarted, peak_tflops: float | None) -> TrainingResult:
        """Of a run that has done nothing yet."""
        return cls(
            began.model,
            began.config,
            began.environment,
            began.data,
            began.unigram_entropy,
            began.first_step,
            peak_tflops,
        )

    def record(self, event: Event) -> None:
        """Take in what happened."""
        if isinstance(event, BatchDone):
            self.losses += [step.loss for step in event.steps]
            self.times += [step.times for step in event.steps]
            self.batches.append(_batch_times(event))
        elif isinstance(event, KernelsCompiled):
            self.workers += event.prepared is not None
        elif isinstance(event, WorkerReplaced):
            self.lost.append(event.reason)
        elif isinstance(event, CheckpointSaved):
            self.checkpoint = event.folder
            self.checkpoint_ms += event.ms

    @property
    def averaged_steps(self) -> int:
        """Of how many steps a mean loss is taken, single ones being noise: a batch, or 10."""
        return min(len(self.losses), max(self.config.accumulation, 10))

    @property
    def compile_ms(self) -> float:
        """Of all batches: kernels with weights."""
        return sum(batch.compile_ms for batch in self.batches)

    @property
    def train_ms(self) -> float:
        """Of all batches: steps with their data and messages, and updates."""
        return sum(batch.train_ms for batch in self.batches)

    @property
    def flops(self) -> StepFlops:
        """Of a step, by the published formulas."""
        return step_flops(self.config.model, self.config.pipeline)

    @property
    def device_tflops(self) -> float | None:
        """The device's operations over all of a step's time, as published; None before the first update."""
        return self._rate(self.flops.device)

    @property
    def total_tflops(self) -> float | None:
        """All operations over all of a step's time."""
        return self._rate(self.flops.total)

    @property
    def utilization(self) -> float | None:
        """The share of `peak_tflops` that `device_tflops` is; None where either is unknown."""
        rate = self.device_tflops
        return None if rate is None or self.peak_tflops is None else rate / self.peak_tflops

    @property
    def python_share(self) -> float | None:
        """The part of `train_ms` that no component took: Python between them, data, and messages."""
        if not self.train_ms:
            return None
        between = sum(step.other for step in self.times) + sum(batch.overhead_ms for batch in self.batches)
        return between / self.train_ms

    def to_result(self) -> Result:
        """Rows under the keys of the published figures, to compare with them, or with another run.

        A step counts with its share of the update. The components are the forward pass's, as published.
        """
        prefix = f"training/{self.config.pipeline}/{self.model}"
        suffix = "/as-published" if self.config.as_published else ""

        def row(name: str, values: Sequence[float], unit: str) -> Row:
            found = summarise(values)
            ns = tuple(round(value * _NS_PER_MS) for value in values[:MAXIMUM_DURATIONS])
            return Row(
                key=f"{prefix}/{name}{suffix}",
                status="ok",
                params={"config": name, "batch": self.config.accumulation},
                unit=unit,
                n=found.n,
                warm_up=0,
                median=found.median,
                mean=found.mean,
                p05=found.p05,
                p95=found.p95,
                ci_low=found.ci_low,
                ci_high=found.ci_high,
                durations_ns=ns if unit == "ms" else (),
            )

        rows: list[Row] = []
        if self.batches:
            beside = [
                b for batch in self.batches for b in [batch.beside_steps_ms / batch.steps] * batch.steps
            ]
            rates = [1e-9 * self.flops.device * batch.steps / batch.train_ms for batch in self.batches]
            rows = [
                row("step", [s.wall + b for s, b in zip(self.times, beside, strict=True)], "ms"),
                row("ane-rate", rates, "TFLOPS"),
                row("compile", [batch.compile_ms for batch in self.batches], "ms"),
                *(row(name, [step.forward[name] for step in self.times], "ms") for name in COMPONENTS),
                *(row(f"{n}-backward", [step.backward[n] for step in self.times], "ms") for n in COMPONENTS),
                row("dw", [step.dw for step in self.times], "ms"),
                row("other", [max(0.0, step.other) for step in self.times], "ms"),
                row("update", [batch.update_ms for batch in self.batches], "ms"),
            ]
        return Result(probe="train", environment=self.environment, rows=tuple(rows), notes=tuple(self.notes))

    @property
    def notes(self) -> list[str]:
        """What should be known of the run beside its numbers."""
        notes = []
        if self.interrupted:
            lost = f"; steps since, which are lost: {self.steps_lost}" if self.steps_lost else ""
            end = f"what is here ends with step {self.end_step}, the last update"
            notes.append(f"Interrupted: {end if self.batches else 'before the first update'}{lost}.")
        if self.lost:
            notes.append(f"Workers lost, whose steps were repeated: {len(self.lost)}; {self.lost[-1]}.")
        if skipped := sum(not batch.applied for batch in self.batches):
            notes.append(f"Updates skipped, since gradients were not finite: {skipped}.")
        if self.config.as_published:
            notes.append("As published: positions are not turned.")
        return notes

    @property
    def end_step(self) -> int:
        """How many steps the parameters have behind them, those before `first_step` too."""
        return self.first_step + len(self.losses)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_result()` as JSON. Raises ResultFileError."""
        self.to_result().save(path)

    def save_llama2c(self, path: str | os.PathLike[str]) -> None:
        """Write the parameters as llama2.c reads them. Raises ArgumentError where its format has no place."""
        save_llama2c(path, self.config.model, self.parameters)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the losses by step: PNG, SVG or PDF, as the name ends. Needs `pip install '.[report]'`."""
        call_report("plot", self, path)

    def _rate(self, flops: int) -> float | None:
        return flops * len(self.times) / (self.train_ms * 1e9) if self.train_ms else None


def _batch_times(event: BatchDone) -> BatchTimes:
    return BatchTimes(
        steps=len(event.steps),
        mean_loss=sum(step.loss for step in event.steps) / len(event.steps),
        kernels=event.kernels,
        compile_ms=event.compile_ms,
        train_ms=event.train_ms,
        update_ms=event.update_ms,
        overhead_ms=sum(step.overhead_ms for step in event.steps),
        learning_rate=event.update.learning_rate,
        gradient_norm=event.update.gradient_norm,
        loss_scale=event.loss_scale,
        applied=event.update.applied,
    )
