"""The times of a run as rows of a result, under the keys of the published figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from ..measure import summarize
from ..power import Energy
from ..results import MAXIMUM_DURATIONS, Row
from ..runner.energy import with_energy
from .accounting import StepTimes, keyed_times
from .config import TrainingConfig
from .events import BatchDone, Communication, Evaluated
from .lora import TARGETS

_NS_PER_MS = 1e6


@dataclass(frozen=True)
class AllreduceTimes:
    """The exchange of a batch's gradients between the ranks, in ms."""

    buckets: int
    bytes: int  # of gradients, of each rank
    hidden_ms: float  # while steps were running
    exposed_ms: float  # after the steps, a part of the batch's train time
    waited_ms: float  # the share of the exposed part in which other ranks were still at their steps

    @property
    def ms(self) -> float:
        """Return the time of all of it."""
        return self.hidden_ms + self.exposed_ms

    @property
    def hidden_share(self) -> float:
        """Return the share of its time that steps hid."""
        return self.hidden_ms / self.ms if self.ms else 0.0

    @classmethod
    def of(cls, done: Communication) -> AllreduceTimes:
        """Summarize an exchange."""
        return cls(len(done.spans), done.bytes, done.hidden_ms, done.exposed_ms, done.waited_ms)

    @classmethod
    def total(cls, exchanges: Iterable[AllreduceTimes | None]) -> AllreduceTimes | None:
        """Add up those of several batches; None if there are none."""
        known = [astuple(one) for one in exchanges if one is not None]
        return cls(*map(sum, zip(*known, strict=True))) if known else None


@dataclass(frozen=True)
class BatchTimes:
    """A batch of `steps` sequences on this rank and its update, in ms."""

    steps: int
    sequences: int  # of all ranks
    mean_loss: float
    kernels: int  # compiled
    compile_ms: float
    train_ms: float  # steps, with their data and messages, exposed allreduce, the update and the staging
    update_ms: float
    staging_ms: float  # of weights, in the inputs of the dynamic pipeline's kernels
    overhead_ms: float  # data and messages
    learning_rate: float
    gradient_norm: float
    loss_scale: float
    applied: bool  # False if the gradient was not finite
    allreduce: AllreduceTimes | None = None  # None of a run with one rank

    @classmethod
    def of(cls, event: BatchDone) -> BatchTimes:
        """Summarize a batch."""
        return cls(
            steps=len(event.steps),
            sequences=len(event.losses),
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
            allreduce=None if event.communication is None else AllreduceTimes.of(event.communication),
        )


@dataclass(frozen=True)
class ResultRows:
    """Makes the rows of a run of `config` with a loss over `vocab` tokens, of one of its ranks."""

    model: str
    config: TrainingConfig
    vocab: int
    ranks: int = 1

    def of_training(
        self,
        steps: Sequence[StepTimes],
        batches: Sequence[BatchTimes],
        device_flops: int,
        energy: Energy | None,
    ) -> list[Row]:
        """Return rows of the steps, with their energy, of their components and of the batches."""
        shares = [
            (b.overhead_ms + _exposed(b) + b.update_ms + b.staging_ms) / b.steps
            for b in batches
            for _ in range(b.steps)
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
            *self._of_allreduce([batch.allreduce for batch in batches if batch.allreduce is not None]),
        ]

    def _of_allreduce(self, exchanges: Sequence[AllreduceTimes]) -> list[Row]:
        """Return a row of the exchanges of gradients, and one of what the steps did not hide of each."""
        if (total := AllreduceTimes.total(exchanges)) is None:
            return []
        metrics = {"hidden_share": total.hidden_share, "gradient_bytes": exchanges[0].bytes}
        return [
            self._row("allreduce", [one.ms for one in exchanges], metrics=metrics),
            self._row("allreduce-exposed", [one.exposed_ms for one in exchanges]),
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
        if self.ranks > 1:
            yield f"ranks-{self.ranks}"


def _exposed(batch: BatchTimes) -> float:
    return 0.0 if batch.allreduce is None else batch.allreduce.exposed_ms
