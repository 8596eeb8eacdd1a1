"""The times of a run as rows of a result, under the keys of the published figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..measure import summarize
from ..power import Energy
from ..results import MAXIMUM_DURATIONS, Row
from ..runner.energy import with_energy
from .accounting import StepTimes, keyed_times
from .config import TrainingConfig
from .events import BatchDone, Evaluated
from .lora import TARGETS

_NS_PER_MS = 1e6


@dataclass(frozen=True)
class BatchTimes:
    """A batch of `steps` sequences and its update, in ms."""

    steps: int
    mean_loss: float
    kernels: int  # compiled
    compile_ms: float
    train_ms: float  # steps, with their data and messages, the update and the staging
    update_ms: float
    staging_ms: float  # of weights, in the inputs of the dynamic pipeline's kernels
    overhead_ms: float  # data and messages
    learning_rate: float
    gradient_norm: float
    loss_scale: float
    applied: bool  # False if the gradient was not finite

    @classmethod
    def of(cls, event: BatchDone) -> BatchTimes:
        """Summarize a batch."""
        return cls(
            steps=len(event.steps),
            mean_loss=sum(event.losses) / len(event.losses),
            kernels=event.kernels,
            compile_ms=event.compile_ms,
            train_ms=event.train_ms,
            update_ms=event.update_ms,
            staging_ms=event.staging_ms,
            overhead_ms=sum(step.overhead_ms for step in event.steps),
            learning_rate=event.update.learning_rate,
            gradient_norm=event.update.gradient_norm,
            loss_scale=event.loss_scale,
            applied=event.update.applied,
        )


@dataclass(frozen=True)
class ResultRows:
    """Makes the rows of a run of `config` with a loss over `vocab` tokens."""

    model: str
    config: TrainingConfig
    vocab: int

    def of_training(
        self,
        steps: Sequence[StepTimes],
        batches: Sequence[BatchTimes],
        device_flops: int,
        energy: Energy | None,
    ) -> list[Row]:
        """Return rows of the steps, with their energy, of their components and of the batches."""
        shares = [
            (b.overhead_ms + b.update_ms + b.staging_ms) / b.steps for b in batches for _ in range(b.steps)
        ]
        staging = [batch.staging_ms for batch in batches]
        times = [keyed_times(step, self.config.pipeline) for step in steps]
        rates = [1e-9 * device_flops * batch.steps / batch.train_ms for batch in batches]
        whole = self._row("step", [step.wall + share for step, share in zip(steps, shares, strict=True)])
        return [
            whole if energy is None else with_energy(whole, energy),
            self._row("ane-rate", rates, "TFLOPS"),
            self._row("compile", [batch.compile_ms for batch in batches if batch.kernels]),
            *(self._row(name, [step[name] for step in times]) for name in times[0]),
            self._row("dw", [step.dw for step in steps]),
            self._row("other", [max(0.0, step.other) for step in steps]),
            self._row("update", [batch.update_ms for batch in batches]),
            *([self._row("staging", staging)] if any(staging) else []),
        ]

    def of_validation(self, validations: Sequence[Evaluated]) -> list[Row]:
        """Return a row of the evaluations' times, if there were any, with the last loss and the best."""
        if not validations:
            return []
        last = validations[-1]
        losses = {"validation_loss": last.loss, "best_loss": last.best_loss, "best_step": last.best_step}
        finite = {name: value for name, value in losses.items() if math.isfinite(value)}
        return [self._row("evaluation", [validation.ms for validation in validations], metrics=finite)]

    def _row(
        self,
        name: str,
        values: Sequence[float],
        unit: str = "ms",
        metrics: Mapping[str, float] | None = None,
    ) -> Row:
        ns = [round(value * _NS_PER_MS) for value in values] if unit == "ms" else []
        # Compute from the rounded durations, so that a reader of the file finds the same.
        fields: dict[str, Any] = summarize(np.array(ns) / _NS_PER_MS if ns else values).fields()
        return Row(
            key="/".join(("training", self.config.pipeline, self.model, name, *self._variants())),
            status="ok",
            params={"config": name, "batch": self.config.accumulation},
            unit=unit,
            metrics=dict(metrics or {}),
            warm_up=0,
            durations_ns=tuple(ns[:MAXIMUM_DURATIONS]),
            **fields,
        )

    def _variants(self) -> Iterator[str]:
        """Name what makes the run another one than the published with this model."""
        if self.config.as_published:
            yield "as-published"
        if (lora := self.config.lora) is not None:
            alpha = [] if lora.alpha == lora.rank else [f"alpha-{lora.alpha:g}"]
            targets = [] if lora.targets == tuple(TARGETS) else lora.targets
            yield "-".join((f"lora-{lora.rank}", *alpha, *targets))
        if self.config.compact_vocabulary:
            yield f"compact-{self.vocab}"
