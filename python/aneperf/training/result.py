"""The result of a run: its losses, where the time went, and the trained model."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

from ..comparison import THRESHOLD, Comparison
from ..display import Displayed, Picture, call_report
from ..kernels.schedule import Pipeline
from ..kinds import Kind
from ..outputs import form_of, write_whole
from ..power import Energy
from ..results import Environment, Result, Row
from .accounting import StepFlops, StepTimes
from .compaction import compacted
from .config import TrainingConfig
from .events import (
    BatchDone,
    CheckpointSaved,
    EnergyMetered,
    Evaluated,
    Event,
    KernelsCompiled,
    LogStopped,
    RunStarted,
    WorkerReplaced,
)
from .hugging_face import Origin, check_savable, save_hugging_face
from .llama2c import check_trained, save_llama2c
from .models import Parameters
from .peft import check_adapters, save_adapters
from .result_rows import AllreduceTimes, BatchTimes, ResultRows

_NO_ROTATION = "As published: without rotary positions."
_AS_PUBLISHED: dict[Pipeline, str] = {
    "static": _NO_ROTATION,
    "static-ane": _NO_ROTATION,
    "dynamic": "As published: residual branches times 1 / sqrt(2 layers), no norms of heads; forward and "
    "backward pair shared key heads differently.",
}


@dataclass(repr=False)
class TrainingResult(Displayed):
    """A run up to its last update. Prints as a report, also at a prompt, and renders in a notebook.

    `losses` and `times` begin with step `first_step`; `parameters` are those after the last update. With
    several ranks, `losses` has the steps of all, and `times` those of this one, as rates but `tokens_per_s`.
    """

    model: str  # the preset, or the shape
    config: TrainingConfig
    environment: Environment
    data: str  # the file of tokens, or "synthetic"
    unigram_entropy: float  # of the data, in nats
    first_step: int  # 0, or the step that was resumed
    flops: StepFlops  # of a step, by the published formulas
    vocab: int  # tokens that the loss is over
    peak_tflops: float | None  # as given, for `utilization`
    ranks: int = 1
    losses: list[float] = field(default_factory=list)
    times: list[StepTimes] = field(default_factory=list)
    batches: list[BatchTimes] = field(default_factory=list)
    validations: list[Evaluated] = field(default_factory=list)
    parameters: Parameters = field(default_factory=dict)  # with adapters merged
    adapters: Parameters = field(default_factory=dict)  # those alone; none of other runs
    base: str | None = None  # the Hugging Face folder of the weights that the adapters belong to
    origin: Origin | None = field(default=None)  # the Hugging Face folder of the initial weights
    seconds: float = 0.0  # from the start of the first worker to the last update
    workers: int = 0  # started
    lost: list[str] = field(default_factory=list)  # why workers were replaced
    checkpoint: Path | None = None  # the last
    best_checkpoint: Path | None = None  # by validation loss, if this run saved one
    checkpoint_ms: float = 0.0  # of all checkpoints
    energy: Energy | None = None  # of the batches, if it was asked for
    stopped_by: signal.Signals | None = None  # what ended the run before its last step
    steps_lost: int = 0  # done after the last update
    logs_stopped: list[str] = field(default_factory=list)  # why logs ended before the run

    @classmethod
    def of(cls, started: RunStarted, peak_tflops: float | None) -> TrainingResult:
        """Return the result of a run that has done no step yet."""
        return cls(
            model=started.model,
            config=started.config,
            environment=started.environment,
            data=started.data,
            unigram_entropy=started.unigram_entropy,
            first_step=started.first_step,
            flops=started.flops,
            vocab=started.vocab,
            peak_tflops=peak_tflops,
            ranks=1 if started.ranks is None else len(started.ranks),
        )

    def record(self, event: Event) -> None:
        """Add an event."""
        if isinstance(event, BatchDone):
            self.losses += event.losses
            self.times += [step.times for step in event.steps]
            self.batches.append(BatchTimes.of(event))
        elif isinstance(event, KernelsCompiled):
            self.workers += event.prepared is not None
        elif isinstance(event, WorkerReplaced):
            self.lost.append(event.reason)
        elif isinstance(event, LogStopped):
            self.logs_stopped.append(event.reason)
        elif isinstance(event, Evaluated):
            self.validations.append(event)
        elif isinstance(event, EnergyMetered):
            self.energy = event.energy
        elif isinstance(event, CheckpointSaved):
            if event.is_best:
                self.best_checkpoint = event.folder
            else:
                self.checkpoint = event.folder
            self.checkpoint_ms += event.ms

    @property
    def interrupted(self) -> bool:
        """Tell whether a signal ended the run before its last step."""
        return self.stopped_by is not None

    @property
    def learned_nothing(self) -> bool:
        """Tell whether there were updates, and all of them were skipped."""
        return bool(self.batches) and not any(batch.applied for batch in self.batches)

    @property
    def end_step(self) -> int:
        """Count the steps that the parameters are trained for, with those before `first_step`."""
        return self.first_step + len(self.losses)

    @property
    def averaged_steps(self) -> int:
        """Count the steps to average a loss over, since single ones are noisy: a batch, or 10."""
        return min(len(self.losses), max(self.config.accumulation, 10))

    @property
    def compile_ms(self) -> float:
        """Return the time that steps waited for compiles, over all batches."""
        return sum(batch.compile_ms for batch in self.batches)

    @property
    def train_ms(self) -> float:
        """Return the time of steps, with data and messages, of updates and of staging, over all batches.

        With several ranks, it includes the time for which this one only communicated or waited.
        """
        return sum(batch.train_ms for batch in self.batches)

    @property
    def evaluation_ms(self) -> float:
        """Return the time of all validation losses, which is no time of training."""
        return sum(validation.ms for validation in self.validations)

    @property
    def device_tflops(self) -> float | None:
        """Rate of the device's operations over the whole of a step, as published; None before an update."""
        return self._rate(self.flops.device)

    @property
    def total_tflops(self) -> float | None:
        """Rate of all operations over the whole of a step; None before an update."""
        return self._rate(self.flops.total)

    @property
    def tokens_per_s(self) -> float | None:
        """Return the rate of tokens of all ranks over `train_ms`; None before an update."""
        return 1e3 * self.config.model.seq * len(self.losses) / self.train_ms if self.train_ms else None

    @property
    def allreduce(self) -> AllreduceTimes | None:
        """Return the sums of the exchanges between ranks, over all batches; None for one rank."""
        return AllreduceTimes.total(batch.allreduce for batch in self.batches)

    @property
    def utilization(self) -> float | None:
        """Return the ratio of `device_tflops` to `peak_tflops`; None if either is unknown."""
        rate = self.device_tflops
        return None if rate is None or self.peak_tflops is None else rate / self.peak_tflops

    @property
    def python_share(self) -> float | None:
        """Share of `train_ms` outside the components: Python between them, data and messages."""
        if not self.train_ms:
            return None
        between = sum(step.other for step in self.times) + sum(batch.overhead_ms for batch in self.batches)
        return between / self.train_ms

    @property
    def notes(self) -> list[str]:
        """Say what a reader of the numbers needs to know."""
        notes = []
        if self.interrupted:
            lost = f"; steps lost since then: {self.steps_lost}" if self.steps_lost else ""
            end = f"the result ends with step {self.end_step}, the last update"
            notes.append(f"Interrupted: {end if self.batches else 'before the first update'}{lost}.")
        if self.lost:
            notes.append(f"Workers lost, whose steps were repeated: {len(self.lost)}; {self.lost[-1]}.")
        if skipped := sum(not batch.applied for batch in self.batches):
            notes.append(f"Updates skipped, since gradients were not finite: {skipped}.")
        if self.learned_nothing:
            notes.append("No update was applied: the model is as it was.")
        notes += [f"The run continued without its log: {reason}." for reason in self.logs_stopped]
        if self.config.compact_vocabulary:
            notes.append(compacted(self.vocab, self.config.model.vocab))
        if self.config.as_published:
            notes.append(_AS_PUBLISHED[self.config.pipeline])
        if (lora := self.config.lora) is not None:
            notes.append(
                f"{lora.trained(self.config.model)}. Steps compute no gradients of whole weights, which "
                "published figures include."
            )
        return notes

    def to_result(self) -> Result:
        """Return rows under the keys of the published figures, to compare with them or with another run.

        A step includes its share of the update and the staging. The components are those of the forward pass,
        as published; the dynamic pipeline's have the published names of both phases.
        """
        rows = ResultRows(self.model, self.config, self.vocab, self.ranks)
        made: list[Row] = []
        if self.times:
            made += rows.of_training(self.times, self.batches, self.flops.device, self.energy)
            made += rows.of_validation(self.validations)
        return Result(probe="train", environment=self.environment, rows=tuple(made), notes=tuple(self.notes))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_result()` as JSON, or CSV, or the report as a page, as the name ends: .csv, .md, .html.

        Raises ResultFileError.
        """
        form = form_of(path, Kind.RESULT)
        if form is Kind.RESULT:
            self.to_result().save(path)
        else:
            write_whole(path, form, str(call_report("to_form", self, form)).encode())

    def save_llama2c(self, path: str | os.PathLike[str]) -> None:
        """Write the model for llama2.c. Raises ArgumentError if its format cannot hold the model."""
        check_trained(self.config)
        save_llama2c(path, self.config.model, self.parameters)

    def save_hugging_face(self, folder: str | os.PathLike[str]) -> None:
        """Write a new folder for transformers, with the tokenizer of the initial weights' folder, if any.

        Raises ArgumentError if transformers cannot compute the model.
        """
        check_savable(self.config)
        save_hugging_face(folder, self.config.model, self.parameters, self.origin)

    def save_lora(self, folder: str | os.PathLike[str]) -> None:
        """Write the adapters as a new folder for PEFT, which names the folder of the initial weights, if any.

        Raises ArgumentError if the run trained none.
        """
        check_adapters(self.config)
        save_adapters(folder, self.config, self.adapters, self.base)

    def to_json(self) -> bytes:
        """Return the JSON of `to_result()`. Raises ResultFileError."""
        return self.to_result().to_json()

    def compare(self, other: TrainingResult | Result | str, threshold: float = THRESHOLD) -> Comparison:
        """Judge a later run against this one, or this one against published figures, as `Result.compare`."""
        comparison: Comparison = call_report("compare", self, other, threshold)
        return comparison

    def plot(self, path: str | os.PathLike[str] | None = None) -> Picture:
        """Draw the losses by step, and save the picture if there is a path: PNG, SVG or PDF, as it ends.

        A notebook shows the returned picture. Needs `pip install '.[report]'`.
        """
        picture: Picture = call_report("plot", self, path)
        return picture

    def _rate(self, flops: int) -> float | None:
        return flops * len(self.times) / (self.train_ms * 1e9) if self.train_ms else None
