"""The events of a run, in the order in which they happen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..power import Energy
from ..results import Environment
from ..runner.ranks import Ranks
from .accounting import Span, StepFlops, StepTimes, covered_ns, step_flops
from .config import TrainingConfig
from .optimizer import Update
from .worker import Compiled, StepReport

_MS = 1e-6


@dataclass(frozen=True)
class RunStarted:
    """The run begins: its configuration, device and data."""

    model: str
    config: TrainingConfig
    environment: Environment
    data: str
    unigram_entropy: float  # of the data, in nats
    vocab: int  # tokens that the loss is over: the model's, or those of the data
    first_step: int  # above 0 if a checkpoint is resumed
    loss: float | None  # of that checkpoint
    left: Sequence[str] = ()  # options of its run that are not taken over, and why
    ranks: Ranks | None = None  # None of a run with one rank

    @property
    def flops(self) -> StepFlops:
        """Return the operations of a step by the published formulas."""
        model = replace(self.config.model, vocab=self.vocab)
        return step_flops(model, self.config.pipeline, self.config.lora)

    def done_with(self, step: int) -> int:
        """Count the steps that are done with this one of rank 0, if the other ranks are as far."""
        batch = step // self.config.accumulation + 1
        ranks = 1 if self.ranks is None else len(self.ranks)
        return min(step + ranks, batch * self.config.accumulation, self.config.steps)


@dataclass(frozen=True)
class KernelsCompiled:
    """A worker's kernels have the current weights: compiled into them, or staged in their inputs."""

    step: int
    pid: int
    prepared: Compiled | None  # kernels without weights, by a new worker
    compiled: Compiled  # kernels with weights; none of a pipeline that stages them

    @property
    def kernels(self) -> int:
        """Count the kernels compiled, with and without weights."""
        return self.compiled.kernels + (self.prepared.kernels if self.prepared else 0)

    @property
    def is_staged(self) -> bool:
        """Tell whether the weights were staged, and not compiled."""
        return not self.compiled.kernels

    @property
    def compile_ms(self) -> float:
        """Return the time to compile kernels with weights; where weights are staged, all kernels."""
        if not self.is_staged:
            return self.compiled.ms
        return self.prepared.ms if self.prepared else 0.0

    @property
    def staging_ms(self) -> float:
        """Return the time to stage the weights."""
        return self.compiled.ms if self.is_staged else 0.0


@dataclass(frozen=True)
class StepDone:
    """One sequence was trained, forward and backward. The parent saw it from `begin` to `end`, in ns."""

    step: int
    loss: float
    times: StepTimes
    report: StepReport
    begin: int
    end: int

    @property
    def overhead_ms(self) -> float:
        """Return the time outside the worker: the step's data and messages."""
        return (self.end - self.begin) * _MS - self.times.wall


@dataclass(frozen=True)
class Communication:
    """The exchange of a batch's gradients and losses between the ranks, as this one saw it.

    Each span is that of a bucket: a part of the gradients, summed over the ranks while others are computed.
    """

    ranks: int
    bytes: int  # of gradients, of each rank
    losses: Sequence[float]  # of the whole batch, by step
    spans: Sequence[Span]
    begin: int  # of the exposed part, in ns: the end of this rank's steps
    end: int  # when everything was summed
    waited_ms: float  # the share of the exposed part in which other ranks were still at their steps

    @property
    def exposed_ms(self) -> float:
        """Return the time for which this rank did nothing but communicate, and wait for others."""
        return (self.end - self.begin) * _MS

    @property
    def hidden_ms(self) -> float:
        """Return the time in which gradients were summed while steps were still running."""
        before = [(name, begin, min(end, self.begin)) for name, begin, end in self.spans]
        return covered_ns(before) * _MS

    @property
    def ms(self) -> float:
        """Return the time of all of it, hidden or not."""
        return self.hidden_ms + self.exposed_ms

    @property
    def hidden_share(self) -> float:
        """Return the share of its time that steps hid."""
        return self.hidden_ms / self.ms if self.ms else 0.0


@dataclass(frozen=True)
class BatchDone:
    """A batch of steps ended with an update, which ran from `begin` to `end`, in ns."""

    batch: int
    steps: list[StepDone]  # of this rank
    kernels: int  # compiled for this batch, see KernelsCompiled
    compile_ms: float  # of kernels, see KernelsCompiled; the steps wait for it
    staging_ms: float  # of weights
    update: Update
    loss_scale: float  # of the steps
    begin: int
    end: int
    communication: Communication | None = None  # None of a run with one rank

    @property
    def losses(self) -> Sequence[float]:
        """Return the losses of the batch's sequences, those of all ranks, by step."""
        return [step.loss for step in self.steps] if self.communication is None else self.communication.losses

    @property
    def update_ms(self) -> float:
        """Return the duration of the update."""
        return (self.end - self.begin) * _MS

    @property
    def train_ms(self) -> float:
        """Return the duration of the steps, with data and messages, and of the update and the staging.

        It includes the time for other ranks, and excludes compiles.
        """
        steps = sum((step.end - step.begin) * _MS for step in self.steps)
        exposed = 0.0 if self.communication is None else self.communication.exposed_ms
        return steps + exposed + self.update_ms + self.staging_ms

    def tokens_per_s(self, seq: int) -> float:
        """Return the rate over `train_ms` of sequences of `seq` tokens."""
        return 1e3 * seq * len(self.losses) / self.train_ms


@dataclass(frozen=True)
class Evaluated:
    """The validation loss after `step` steps, a mean over `sequences`; it took `begin` to `end`, in ns."""

    step: int
    loss: float
    sequences: int
    best_loss: float  # so far
    best_step: int
    compile_ms: float  # of kernels, and staging, if no batch follows, which would count it
    begin: int
    end: int

    @property
    def is_best(self) -> bool:
        """Tell whether no loss so far is as low."""
        return self.best_step == self.step

    @property
    def ms(self) -> float:
        """Return the time that the run waited for it."""
        return self.compile_ms + (self.end - self.begin) * _MS


@dataclass(frozen=True)
class WorkerReplaced:
    """A worker was lost; another one repeats the step."""

    step: int
    reason: str


@dataclass(frozen=True)
class RankLost:
    """The run ends since another rank is lost or has failed; the reason names the rank and its host."""

    reason: str


@dataclass(frozen=True)
class CheckpointSaved:
    """The state after `step` steps was written to a folder, from `begin` to `end`, in ns."""

    step: int
    folder: Path
    loss: float
    begin: int
    end: int
    is_best: bool = False  # by validation loss, and beside the last ones

    @property
    def ms(self) -> float:
        """Return the time that the run waited for it."""
        return (self.end - self.begin) * _MS


@dataclass(frozen=True)
class LogStopped:
    """The telemetry or the trace ended before the run, which continues without it."""

    reason: str


@dataclass(frozen=True)
class Metering:
    """A line about how the run's energy is metered, or why it is not."""

    text: str


@dataclass(frozen=True)
class EnergyMetered:
    """The energy of the run's batches, without compiles, validations and checkpoints."""

    energy: Energy


Event = (
    RunStarted
    | KernelsCompiled
    | StepDone
    | BatchDone
    | Evaluated
    | WorkerReplaced
    | RankLost
    | CheckpointSaved
    | LogStopped
    | Metering
    | EnergyMetered
)
Observer = Callable[[Event], None]
