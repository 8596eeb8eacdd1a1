"""What happens in a run, in the order in which it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..results import Environment
from .accounting import StepTimes
from .config import TrainingConfig
from .messages import Ready, Stepped
from .optimizer import Update

_MS = 1e-6


@dataclass(frozen=True)
class Began:
    """First: what is run, and on what."""

    model: str
    config: TrainingConfig
    environment: Environment
    data: str
    unigram_entropy: float  # of the data, in nats
    first_step: int  # not 0 where a checkpoint is gone on from
    loss: float | None  # that the checkpoint has


@dataclass(frozen=True)
class Loaded:
    """The present weights are in a worker's kernels; `prepared`, of a new worker: its kernels without any."""

    step: int
    pid: int
    prepared: Ready | None
    ready: Ready

    @property
    def kernels(self) -> int:
        """Compiled for it; where a worker begins with it, those without weights too."""
        return self.ready.compiled + (0 if self.prepared is None else self.prepared.compiled)


@dataclass(frozen=True)
class StepDone:
    """One sequence, forward and backward. `begin` and `end` in ns as the parent saw them."""

    step: int
    loss: float
    times: StepTimes
    stepped: Stepped
    begin: int
    end: int

    @property
    def overhead_ms(self) -> float:
        """What the step took beside its wall time: its data, and messages."""
        return (self.end - self.begin) * _MS - self.times.wall


@dataclass(frozen=True)
class BatchDone:
    """The steps of one update, and the update, which ran from `begin` to `end`."""

    batch: int
    steps: list[StepDone]
    kernels: int  # compiled for it, see Loaded
    compile_ms: float  # of those with weights, which the steps wait for
    update: Update
    loss_scale: float  # of the steps
    begin: int
    end: int

    @property
    def update_ms(self) -> float:
        """How long the update took."""
        return (self.end - self.begin) * _MS

    @property
    def train_ms(self) -> float:
        """Of the steps with their data and messages, and of the update; compiling is apart."""
        return sum((step.end - step.begin) * _MS for step in self.steps) + self.update_ms


@dataclass(frozen=True)
class WorkerReplaced:
    """A worker was lost, and another repeats the step."""

    step: int
    reason: str


@dataclass(frozen=True)
class CheckpointSaved:
    """The state after so many steps is in a folder, where it was written from `begin` to `end`."""

    step: int
    folder: Path
    loss: float
    begin: int
    end: int

    @property
    def ms(self) -> float:
        """How long the run waited for it."""
        return (self.end - self.begin) * _MS


Event = Began | Loaded | StepDone | BatchDone | WorkerReplaced | CheckpointSaved
Observer = Callable[[Event], None]
