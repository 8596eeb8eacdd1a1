"""Show a training run: a live view in a terminal; elsewhere lines that tools for the published runs read."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ..report.columns import significant
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
    RunStarted,
    StepDone,
    WorkerReplaced,
)
from .terminal import say, terminal, write

_SPARKS = "▁▂▃▄▅▆▇█"
_COLORS = ("green", "cyan", "magenta", "yellow", "blue", "red", "bright_blue", "white")


class View(Protocol):
    """Something that shows a run."""

    def record(self, event: Event) -> None:
        """Show an event."""
        ...

    def __enter__(self) -> View: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def view(stream: TextIO | None) -> View:
    """Return a live view for a terminal, lines for a file or a pipe."""
    if stream is None or not stream.isatty():
        return Lines(stream)
    return LiveView(Console(file=terminal(stream)))


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

    def __enter__(self) -> View:
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
            per_step = event.train_ms / len(event.steps)
            self._say(
                f"[batch {len(event.steps)}: compile={event.compile_ms:.0f}ms train={event.train_ms:.1f}ms "
                f"({per_step:.1f}ms/step) compiles={self._compiles}]"
            )
            if self._dynamic is None:
                times = published_times(self._batch)
                parts = " ".join(f"{name.removeprefix('t_')}={ms:.1f}" for name, ms in times.items())
                self._say(f"    forward: {parts} ms/step")
            else:
                norms = " ".join(f"{group}={norm:.4f}" for group, norm in event.update.norms.items())
                self._say(f"  grad_norm={event.update.gradient_norm:.4f}  {norms}")
            update = event.update
            rate = event.tokens_per_s(self._config.model.seq) if self._config else math.nan
            self._say(
                f"[update {event.batch}: lr={update.learning_rate:.2e} grad_norm={update.gradient_norm:.4f} "
                f"tokens/s={rate:.1f}]"
            )
            self._batch = []
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

    def _begin(self, began: RunStarted) -> None:
        self._config = began.config
        config, model = began.config, began.config.model
        flops = began.flops
        self._say(f"{began.model}, pipeline {config.pipeline}: {began.environment.label}")
        self._say(
            f"dim={model.dim} hidden={model.hidden} heads={model.heads} seq={model.seq} vocab={model.vocab} "
            f"layers={model.layers}"
        )
        if config.compact_vocabulary:
            self._say(compacted(began.vocab, model.vocab))
        if config.lora is not None:
            self._say(f"{config.lora}: {config.lora.values(model):,} values are trained")
        self._say(f"Accum {config.accumulation} steps, LR={config.learning_rate:g}")
        self._say(f"FLOPs/step: total={flops.total / 1e6:.0f}M")
        self._say(f"ANE FLOPs/step: {flops.device / 1e6:.0f}M")
        if began.first_step:
            loss = "nan" if began.loss is None else f"{began.loss:.4f}"
            self._say(f"[RESUMED step {began.first_step}, loss={loss}]")

    def _say(self, line: str) -> None:
        if self._stream is not None:
            write(line, self._stream)


class LiveView:
    """Show loss, speed, components, compiles and the remaining time, and redraw them as they change."""

    def __init__(self, console: Console) -> None:
        self._began: RunStarted | None = None
        self._losses: list[float] = []
        self._steps: list[StepDone] = []  # of the last batch
        self._updated: BatchDone | None = None
        self._loaded: KernelsCompiled | None = None
        self._start = time.monotonic()
        self._doing = "starting a worker"
        self._done = self._workers = self._lost = 0
        self._saved: CheckpointSaved | None = None
        self._validated: Evaluated | None = None
        self._live = Live(console=console, get_renderable=self.render, transient=True, refresh_per_second=4)

    def __enter__(self) -> View:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def record(self, event: Event) -> None:
        """Keep the event for the next redraw."""
        if isinstance(event, RunStarted):
            self._began, self._start, self._done = event, time.monotonic(), event.first_step
        elif isinstance(event, KernelsCompiled):
            self._loaded, self._doing = event, "stepping"
            self._workers += event.prepared is not None
        elif isinstance(event, StepDone):
            if self._steps and event.step // self._accumulation != self._steps[-1].step // self._accumulation:
                self._steps = []
            self._steps.append(event)
            self._losses.append(event.loss)
            self._done = event.step + 1
        elif isinstance(event, BatchDone):
            self._updated = event
            last = self._began is not None and self._done == self._began.config.steps
            self._doing = "finishing" if last else "compiling"
        elif isinstance(event, WorkerReplaced):
            self._lost += 1
            self._doing = f"starting a worker after one was lost: {event.reason}"
        elif isinstance(event, Evaluated):
            self._validated = event
        elif isinstance(event, CheckpointSaved):
            self._saved = event
        elif isinstance(event, LogStopped):
            self._live.console.print(f"{event.reason}; the run continues without it", markup=False)

    def render(self) -> Group:
        """Return what the terminal shows now."""
        began = self._began
        if began is None:
            return Group(Text(self._doing))
        lines = [
            Text(f"{began.model}, pipeline {began.config.pipeline}: {began.environment.label}", "bold"),
            self._progress(began.config, began.first_step),
        ]
        if began.config.compact_vocabulary:
            lines.append(Text(compacted(began.vocab, began.config.model.vocab)))
        if self._steps:
            lines += [self._loss(), *self._update(began.config.model.seq), *self._components()]
        lines.append(self._machinery())
        return Group(*lines)

    @property
    def _accumulation(self) -> int:
        return self._began.config.accumulation if self._began else 1

    def _progress(self, config: TrainingConfig, first: int) -> Text:
        seconds = time.monotonic() - self._start
        done = self._done - first
        left = "unknown" if not done else _clock(seconds / done * (config.steps - self._done))
        filled = 30 * self._done // config.steps
        return Text.assemble(
            f"step {self._done}/{config.steps} ",
            ("━" * filled, "green"),
            ("━" * (30 - filled), "dim"),
            f" {_clock(seconds)}, {left} left; {self._doing}",
        )

    def _loss(self) -> Text:
        ms = sum(step.times.wall for step in self._steps) / len(self._steps)
        loss = f"loss {self._losses[-1]:.4f} {sparkline(self._losses, 40)}  {significant(ms, 4)} ms/step"
        if (found := self._validated) is not None:
            loss += f"; validation {found.loss:.4f}, best {found.best_loss:.4f} at step {found.best_step}"
        return Text(loss)

    def _update(self, seq: int) -> list[Text]:
        done = self._updated
        if done is None:
            return []
        rate, norm = done.update.learning_rate, done.update.gradient_norm
        return [
            Text(
                f"learning rate {rate:.2e}, gradient norm {norm:.4g}, "
                f"{significant(done.tokens_per_s(seq), 4)} tokens/s"
            )
        ]

    def _components(self) -> list[Text]:
        """Return a bar of the last batch's components, and its legend."""
        times = [step.times for step in self._steps]
        wall = sum(step.wall for step in times)
        names = times[0].forward
        parts = {name: sum(t.forward[name] + t.backward[name] for t in times) / wall for name in names}
        parts["other"] = max(0.0, sum(step.other for step in times) / wall)
        bar, legend, cells = Text(), Text(), 0
        for (name, share), color in zip(parts.items(), _COLORS, strict=False):
            end = min(60, round(60 * share) + cells)
            bar.append("█" * (end - cells), color)
            legend.append("█ ", color).append(f"{name} {share:.0%}  ")
            cells = end
        return [bar, legend]

    def _machinery(self) -> Text:
        loaded = self._loaded
        if loaded is None:
            return Text("compiles: none yet")
        used, left = loaded.compiled.compiles_used, loaded.compiled.compiles_left
        saved = "" if self._saved is None else f"; checkpoint of step {self._saved.step}"
        return Text(
            f"compiles {used} of {used + left}; compile {loaded.compiled.ms:.0f} ms; "
            f"workers {self._workers}, {self._lost} lost{saved}"
        )


def sparkline(values: list[float], width: int) -> str:
    """Draw values as a line of characters; more than `width` values are averaged in groups."""
    per = max(1, -(-len(values) // width))
    known = [v for v in (_mean(values[i : i + per]) for i in range(0, len(values), per)) if v == v]
    if not known:
        return ""
    low, high = min(known), max(known)
    scale = (len(_SPARKS) - 1) / (high - low) if 0 < high - low < float("inf") else 0.0
    return "".join(_SPARKS[round((value - low) * scale) if scale else 0] for value in known)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
