"""The training loop: steps in workers, which may be lost, and updates of the weights between batches."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType

from .. import device as devices
from ..bounds import FP16_LARGEST, check_memory
from ..device import DEFAULT_COMPILE_TIMEOUT
from ..runner.child import ChildLost, CompileExpired
from ..runner.in_child import after_expiry
from .accounting import StepTimes
from .config import TrainingConfig
from .data import Data
from .evaluation import Evaluation
from .events import BatchDone, Evaluated, Event, KernelsCompiled, StepDone, WorkerReplaced
from .kernels import Floats
from .lora import model_weights
from .models import Parameters, checked_parameters
from .optimizer import update
from .state import RunState, SharedState, part_shapes
from .worker import RunStep, Setup, TrainingError, WorkerProcess

_FIRST_TIMEOUT = 600.0  # seconds for something that was not timed yet
_LEAST_TIMEOUT = 60.0
_PATIENCE = 30.0  # timeout over the usual duration
_ATTEMPTS = 3  # workers that may be lost at one step


class Trainer:
    """Trains `config` on `data` from `parameters`, with an `evaluation` between batches; `run` yields events.

    Copies the parameters, and asks for each once: they may be read or made then, one at a time.
    The parent owns the state and updates the weights. A step changes only the set of gradients that it
    writes. So if its worker is lost, another worker repeats it with the same result.
    """

    def __init__(
        self,
        config: TrainingConfig,
        parameters: Mapping[str, Floats],
        data: Data,
        *,
        device: str | None = None,
        state_folder: Path | None = None,
        compile_timeout: float = DEFAULT_COMPILE_TIMEOUT,
        evaluation: Evaluation | None = None,
    ) -> None:
        seq = config.model.seq
        scores = 2 * 2 * config.model.heads * seq * seq  # fp16, and their gradients
        check_memory(f"a step with sequences of {seq} tokens", scores, "choose shorter ones (--seq)")
        self.config = config
        self.state = RunState(config.loss_scale)
        self._data, self._evaluation = data, evaluation
        separate = "classifier" in parameters
        self._shared = SharedState.create(part_shapes(config, separate), seq, state_folder)
        try:
            self._fill(parameters)
        except BaseException:
            self._shared.close()
            raise
        self._setup = Setup(config, separate, device, self._shared.descriptor)
        self._compile_timeout = compile_timeout
        self._worker: WorkerProcess | None = None
        self._next: WorkerProcess | None = None  # starts while the worker steps
        self._up_to_date = False  # the worker's kernels have the current weights
        self._stopping = False
        self._uncounted: list[KernelsCompiled] = []  # for an evaluation: the next batch has them, too
        self._compiles_left = self._kernels_with_weights = 0
        self._compile_seconds: list[float] = []
        self._step_seconds: list[float] = []

    def __enter__(self) -> Trainer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers and release the state."""
        self.end_workers()
        self._shared.close()

    def end_workers(self) -> None:
        """End the workers; a further `run` starts others."""
        for worker in (self._worker, self._next):
            if worker is not None:
                worker.stop()
        self._worker, self._next, self._up_to_date = None, None, False

    @property
    def parts(self) -> dict[str, Parameters]:
        """Return the state: arrays by part and name, which change during training. See `part_shapes`."""
        return self._shared.parts

    @property
    def weights(self) -> Mapping[str, Floats]:
        """Return the model's parameters, with adapters merged."""
        return model_weights(self.config.lora, self.parts)

    def run(self) -> Iterator[Event]:
        """Train from the current state to the end. Raises TrainingError."""
        while not self._stopping:
            if (evaluation := self.owed_evaluation) is not None:
                for event in self._attempts(self.state.step, partial(self._evaluate, evaluation)):
                    if isinstance(event, KernelsCompiled):
                        self._uncounted.append(event)
                    yield event
            elif self.state.step < self.config.steps:
                yield from self._batch()
            else:
                return

    @property
    def owed_evaluation(self) -> Evaluation | None:
        """Return the validation if its loss is due before the next batch, or at the end."""
        evaluation, state = self._evaluation, self.state
        if evaluation is None or not evaluation.is_owed(state.step, state.evaluated, self.config):
            return None
        return evaluation

    @property
    def is_done(self) -> bool:
        """Tell if no step and no validation is left."""
        return self.state.step >= self.config.steps and self.owed_evaluation is None

    def stop(self) -> None:
        """Let `run` end with the last finished update; a signal handler may call it. Later steps are lost."""
        self._stopping = True
        for worker in (self._worker, self._next):
            if worker is not None:
                worker.kill()

    def _fill(self, parameters: Mapping[str, Floats]) -> None:
        lora, parts = self.config.lora, self._shared.parts
        weights = parts["parameters" if lora is None else "frozen"]
        for name, value in checked_parameters(self.config.model, parameters, FP16_LARGEST):
            weights[name][:] = value
        if lora is not None:
            for name, value in lora.initial(self.config.model, self.config.seed).items():
                parts["parameters"][name][:] = value

    def _batch(self) -> Iterator[Event]:
        first = self.state.step
        size = min(self.config.accumulation, self.config.steps - first)
        compilations, self._uncounted = self._uncounted, []
        steps: list[StepDone] = []
        for index in range(size):
            for event in self._attempts(first + index, partial(self._step, first + index, index)):
                if isinstance(event, KernelsCompiled):
                    compilations.append(event)
                elif isinstance(event, StepDone):
                    steps.append(event)
                yield event
            if len(steps) == index:
                return  # stopped
        yield self._update(steps, compilations)

    def _attempts(self, number: int, act: Callable[[], Event]) -> Iterator[Event]:
        """Let a worker do a step, or what precedes it, in as many workers as that takes.

        Ends without it if the run stops.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            if self._stopping:
                return
            try:
                if not self._up_to_date:
                    yield self._compile(number)
                done = act()
            except ChildLost as lost:
                self._drop_worker()
                if self._stopping:
                    return
                reason, blocked = self._reason(lost)
                if blocked:
                    raise TrainingError(f"step {number}: {reason}") from lost
                if attempt == _ATTEMPTS:
                    raise TrainingError(
                        f"step {number}: {attempt} workers were lost; the last: {reason}"
                    ) from lost
                yield WorkerReplaced(number, reason)
            else:
                yield done
                return

    def _reason(self, lost: ChildLost) -> tuple[str, bool]:
        """Return why a worker was lost, and whether another one would be lost to the same."""
        if isinstance(lost, CompileExpired):
            return after_expiry(lost, self._setup.device or devices.name_of(devices.open()))
        return str(lost), False

    def _compile(self, number: int) -> KernelsCompiled:
        """Compile the current weights into the worker's kernels, or into those of a new one."""
        if self._worker is not None and self._compiles_left < self._kernels_with_weights:
            self._drop_worker()
        prepared = None
        if self._worker is None:
            self._worker, self._next = self._next or self._start_worker(), None
            if self._stopping:
                raise ChildLost("the run is to stop")
            prepared = self._worker.prepared(_FIRST_TIMEOUT + self._compile_timeout)
        compiled = self._worker.compile(_timeout(self._compile_seconds) + self._compile_timeout)
        self._compile_seconds.append(compiled.ms * 1e-3)
        self._compiles_left, self._kernels_with_weights = compiled.compiles_left, compiled.kernels
        batches_left = self.config.updates - 1 - number // self.config.accumulation
        if self._next is None and batches_left * compiled.kernels > compiled.compiles_left:
            # Its start and its kernels without weights overlap with this worker's steps.
            self._next = self._start_worker()
        self._up_to_date = True
        return KernelsCompiled(number, self._worker.pid, prepared, compiled)

    def _step(self, number: int, index: int) -> StepDone:
        """Add a step's gradient to the batch's sum, which alternates between two sets."""
        assert self._worker is not None
        begin = time.monotonic_ns()
        self._shared.tokens[:] = self._data.sequence(number)
        report = self._worker.step(
            RunStep(
                gradients=index % 2,
                base=None if index == 0 else (index - 1) % 2,
                loss_scale=self.state.loss_scale,
            ),
            _timeout(self._step_seconds),
        )
        self._step_seconds.append((report.end - report.begin) / 1e9)
        return StepDone(
            step=number,
            loss=math.nan if report.loss is None else report.loss,
            times=StepTimes.of(
                report.end - report.begin, report.spans, report.products, self.config.pipeline
            ),
            report=report,
            begin=begin,
            end=time.monotonic_ns(),
        )

    def _evaluate(self, evaluation: Evaluation) -> Evaluated:
        """Compute the loss of the sequences of validation."""
        assert self._worker is not None
        begin, losses = time.monotonic_ns(), []
        for tokens in evaluation:
            self._shared.tokens[:] = tokens
            loss = self._worker.evaluate(_timeout(self._step_seconds))
            losses.append(math.nan if loss is None else loss)
        loss, state = statistics.fmean(losses), self.state
        state.evaluated = state.step
        if loss < state.best_loss:
            state.best_loss, state.best_step = loss, state.step
        last = state.step >= self.config.steps
        return Evaluated(
            step=state.step,
            loss=loss,
            sequences=len(losses),
            best_loss=state.best_loss,
            best_step=state.best_step,
            compile_ms=sum(event.compile_ms + event.staging_ms for event in self._uncounted) if last else 0.0,
            begin=begin,
            end=time.monotonic_ns(),
        )

    def _update(self, steps: list[StepDone], compilations: list[KernelsCompiled]) -> BatchDone:
        batch, loss_scale = self.state.step // self.config.accumulation, self.state.loss_scale
        gradients = self.parts[f"gradients_{(len(steps) - 1) % 2}"]
        begin = time.monotonic_ns()
        done = update(self.config, self.state, self.parts, gradients, len(steps))
        self._up_to_date = False
        return BatchDone(
            batch=batch,
            steps=steps,
            kernels=sum(event.kernels for event in compilations),
            compile_ms=sum(event.compile_ms for event in compilations),
            staging_ms=sum(event.staging_ms for event in compilations),
            update=done,
            loss_scale=loss_scale,
            begin=begin,
            end=time.monotonic_ns(),
        )

    def _start_worker(self) -> WorkerProcess:
        return WorkerProcess(self._setup, self._compile_timeout)

    def _drop_worker(self) -> None:
        if self._worker is not None:
            self._worker.stop()
        self._worker, self._up_to_date = None, False


def _timeout(seconds: list[float]) -> float:
    """Return how long to wait for something that took these times before."""
    if not seconds:
        return _FIRST_TIMEOUT
    return max(_LEAST_TIMEOUT, _PATIENCE * statistics.median(seconds[-50:]))
