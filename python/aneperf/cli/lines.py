"""Show a training run as lines, which tools for the published runs read."""

from __future__ import annotations

import math
from types import TracebackType
from typing import TextIO

from ..training.accounting import StepTimes, published_times
from ..training.compaction import compacted
from ..training.config import TrainingConfig
from ..training.events import (
    BatchDone,
    CheckpointSaved,
    Evaluated,
    Event,
    KernelsCompiled,
    LogStopped,
    Metering,
    RunStarted,
    StepDone,
    WorkerReplaced,
)
from .terminal import say, write


class Lines:
    """Print a line for each event, in the format of the published training; None prints nothing.

    Sources of the format: the expressions with which maderix/ANE, training/dashboard.py reads it, and
    training/training_dynamic/train.m.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._batch: list[StepTimes] = []
        self._compiles = 0
        self._config: TrainingConfig | None = None

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def record(self, event: Event) -> None:
        """Print the event. Raises as `write` does."""
        if isinstance(event, RunStarted):
            self._begin(event)
        elif isinstance(event, KernelsCompiled):
            self._compiles = event.compiled.compiles_used
            if event.prepared is not None:
                self._say(f"[worker {event.pid} begins at step {event.step}, {self._compiles} compiles]")
            self._compiled(event)
        elif isinstance(event, StepDone):
            self._batch.append(event.times)
            self._step(event)
        elif isinstance(event, BatchDone):
            self._batch_done(event)
        elif isinstance(event, WorkerReplaced):
            self._say(f"[worker lost at step {event.step}: {event.reason}]")
        elif isinstance(event, Evaluated):
            self._say(
                f"[validation, step {event.step}, loss={event.loss:.4f}, best {event.best_loss:.4f} at step "
                f"{event.best_step}; {event.sequences} sequences in {event.ms:.0f}ms]"
            )
        elif isinstance(event, CheckpointSaved):
            name = "best ckpt" if event.is_best else "ckpt"
            self._say(f"[{name} saved, step {event.step}, loss={event.loss:.4f}]")
        elif isinstance(event, Metering):
            self._say(f"[energy: {event.text}]")
        elif isinstance(event, LogStopped):
            say(f"{event.reason}; the run continues without it")

    @property
    def _dynamic(self) -> TrainingConfig | None:
        """Return the configuration of a run whose lines are those of the published dynamic pipeline."""
        return self._config if self._config is not None and self._config.pipeline == "dynamic" else None

    def _compiled(self, event: KernelsCompiled) -> None:
        if not event.is_staged:
            self._say(f"Compiled {event.compiled.kernels} kernels in {event.compile_ms:.0f}ms")
            return
        if event.prepared is not None and self._config is not None:
            shared = f"(shared across all {self._config.model.layers} layers)"
            self._say(f"Compiled {event.kernels} kernels in {event.compile_ms:.0f}ms {shared}")
        self._say(f"Staged weights in {event.staging_ms:.0f}ms")

    def _step(self, event: StepDone) -> None:
        config = self._dynamic
        if config is None:
            self._say(f"step {event.step:<4d} loss={event.loss:.4f}")
            return
        if event.step % 10 == 0:
            times = published_times(self._batch[-1:], config.pipeline)
            self._say("  timing: " + " ".join(f"{name}={ms:.1f}" for name, ms in times.items()))
        low, high, least, most = (math.nan if limit is None else limit for limit in event.report.ranges)
        rate = config.rate(event.step // config.accumulation)
        self._say(
            f"step {event.step:<4d} loss={event.loss:.4f}  lr={rate:.2e}  "
            f"{event.times.wall:.1f}ms/step  x[{low:.2f},{high:.2f}] dy[{least:.3e},{most:.3e}]"
        )

    def _batch_done(self, event: BatchDone) -> None:
        update, per_step = event.update, event.train_ms / len(event.steps)
        self._say(
            f"[batch {len(event.steps)}: compile={event.compile_ms:.0f}ms train={event.train_ms:.1f}ms "
            f"({per_step:.1f}ms/step) compiles={self._compiles}]"
        )
        if self._dynamic is None:
            times = published_times(self._batch)
            parts = " ".join(f"{name.removeprefix('t_')}={ms:.1f}" for name, ms in times.items())
            self._say(f"    forward: {parts} ms/step")
        else:
            norms = " ".join(f"{group}={norm:.4f}" for group, norm in update.norms.items())
            self._say(f"  grad_norm={update.gradient_norm:.4f}  {norms}")
        rate = event.tokens_per_s(self._config.model.seq) if self._config else math.nan
        told = f"lr={update.learning_rate:.2e} grad_norm={update.gradient_norm:.4f} tokens/s={rate:.1f}"
        if (exchange := event.communication) is not None:
            self._say(
                f"[allreduce of {exchange.ranks} ranks: {exchange.ms:.1f}ms, {exchange.hidden_share:.0%} "
                f"hidden, exposed={exchange.exposed_ms:.1f}ms, buckets={len(exchange.spans)}]"
            )
            told += f" loss={sum(event.losses) / len(event.losses):.4f} of {len(event.losses)} steps"
        self._say(f"[update {event.batch}: {told}]")
        self._batch = []

    def _begin(self, began: RunStarted) -> None:
        self._config = began.config
        config, model = began.config, began.config.model
        flops = began.flops
        self._say(f"{began.model}, pipeline {config.pipeline}: {began.environment.label}")
        for line in () if began.ranks is None else began.ranks.lines():
            self._say(line)
        self._say(
            f"dim={model.dim} hidden={model.hidden} heads={model.heads} seq={model.seq} vocab={model.vocab} "
            f"layers={model.layers}"
        )
        if config.compact_vocabulary:
            self._say(compacted(began.vocab, model.vocab))
        if config.lora is not None:
            self._say(config.lora.trained(model))
        self._say(f"Accum {config.accumulation} steps, LR={config.learning_rate:g}")
        self._say(f"FLOPs/step: total={flops.total / 1e6:.0f}M")
        self._say(f"ANE FLOPs/step: {flops.device / 1e6:.0f}M")
        if began.first_step:
            loss = "nan" if began.loss is None else f"{began.loss:.4f}"
            self._say(f"[RESUMED step {began.first_step}, loss={loss}]")
        for reason in began.left:
            say(reason)

    def _say(self, line: str) -> None:
        if self._stream is not None:
            write(line, self._stream)
