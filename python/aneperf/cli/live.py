"""Draw a training run in a terminal, and redraw the picture as the run goes on."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ..report.columns import significant
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

_SPARKS = "▁▂▃▄▅▆▇█"
_ALLREDUCE = "bright_magenta"
_CELLS = 60  # of the components' bar
_COLORS = ("green", "cyan", "magenta", "yellow", "blue", "red", "bright_blue", "white")


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

    def __enter__(self) -> LiveView:
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
            for line in (*event.left, *(() if event.ranks is None else event.ranks.lines())):
                self._live.console.print(line, markup=False)
        elif isinstance(event, KernelsCompiled):
            self._loaded, self._doing = event, "stepping"
            self._workers += event.prepared is not None
        elif isinstance(event, StepDone):
            if self._steps and event.step // self._accumulation != self._steps[-1].step // self._accumulation:
                self._steps = []
            self._steps.append(event)
            self._losses.append(event.loss)
            self._done = event.step + 1 if self._began is None else self._began.done_with(event.step)
        elif isinstance(event, BatchDone):
            self._updated = event
            self._losses[-len(event.steps) :] = event.losses  # those of the other ranks, too
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
        config = began.config
        lines = [
            Text(f"{began.model}, pipeline {config.pipeline}: {began.environment.label}", "bold"),
            self._progress(config, began.first_step),
        ]
        if config.compact_vocabulary:
            lines.append(Text(compacted(began.vocab, config.model.vocab)))
        if config.lora is not None:
            lines.append(Text(config.lora.trained(config.model)))
        if self._steps:
            lines += [self._loss(), *self._update(config.model.seq), *self._components(), *self._allreduce()]
        lines.append(self._machinery())
        return Group(*lines)

    @property
    def _accumulation(self) -> int:
        return self._began.config.accumulation if self._began else 1

    def _progress(self, config: TrainingConfig, first: int) -> Text:
        seconds = time.monotonic() - self._start
        done = self._done - first
        left = "unknown" if not done else _clock(seconds / done * (config.steps - self._done))
        resumed = f"; resumed at step {first}" if first else ""
        filled = 30 * self._done // config.steps
        return Text.assemble(
            f"step {self._done}/{config.steps} ",
            ("━" * filled, "green"),
            ("━" * (30 - filled), "dim"),
            f" {_clock(seconds)}, {left} left{resumed}; {self._doing}",
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
        ranks = "" if done.communication is None else f" of {done.communication.ranks} ranks"
        return [
            Text(
                f"learning rate {rate:.2e}, gradient norm {norm:.4g}, "
                f"{significant(done.tokens_per_s(seq), 4)} tokens/s{ranks}"
            )
        ]

    def _allreduce(self) -> list[Text]:
        """Return what the last update's allreduce took, and what of it the steps hid."""
        done = None if self._updated is None else self._updated.communication
        if done is None:
            return []
        return [
            Text.assemble(
                ("█ ", _ALLREDUCE),
                f"allreduce {significant(done.ms, 3)} ms an update: {done.hidden_share:.0%} hidden behind "
                f"steps, {significant(done.exposed_ms, 3)} ms exposed",
            )
        ]

    def _components(self) -> list[Text]:
        """Return a bar of the last batch's components, and its legend."""
        times = [step.times for step in self._steps]
        wall = sum(step.wall for step in times)
        names = times[0].forward
        parts = {name: sum(t.forward[name] + t.backward[name] for t in times) / wall for name in names}
        parts["other"] = max(0.0, sum(step.other for step in times) / wall)
        bar, legend, cells, most = Text(), Text(), 0, min(_CELLS, self._live.console.width)
        for (name, share), color in zip(parts.items(), _COLORS, strict=False):
            end = min(most, round(most * share) + cells)
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
