"""The run: batches of steps in workers that may die, and updates of the weights in between."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

from ..runner.child import ChildLost
from .accounting import StepTimes
from .config import TrainingConfig
from .data import Data
from .events import BatchDone, Event, KernelsCompiled, StepDone, WorkerReplaced
from .kernels import Floats
from .messages import Setup, Step
from .models import Parameters, check_parameters, parameter_shapes
from .optimizer import update
from .state import RunState, SharedState
from .worker_process import TrainingError, WorkerProcess

_FIRST_TIMEOUT = 600.0  # seconds, for what has not been timed yet
_LEAST_TIMEOUT = 60.0
_PATIENCE = 30.0  # times the usual duration
_ATTEMPTS = 3  # of workers at the same step


class Trainer:
    """A run of `config` on `data`, from `parameters` on; `run` yields what happens.

    The parent owns the state and updates the weights; a step's only trace is the set of gradients that it
    writes, so a step whose worker is lost is repeated by the next one with the same result.
    """

    def __init__(
        self,
        config: TrainingConfig,
        parameters: Mapping[str, Floats],
        data: Data,
        *,
        device: str | None = None,
        state_folder: Path | None = None,
    ) -> None:
        check_parameters(config.model, parameters)
        self.config = config
        self.state = RunState(config.loss_scale)
        self.device = ""  # what the workers run on, once one is ready
        self._data = data
        separate = "classifier" in parameters
        self._shared = SharedState.create(parameter_shapes(config.model, separate), state_folder)
        for name, value in parameters.items():
            self._shared.parts["parameters"][name][:] = value
        self._setup = Setup(
            config.model, separate, device, config.pipeline, config.as_published, self._shared.descriptor
        )
        self._worker: WorkerProcess | None = None
        self._next: WorkerProcess | None = None
        self._loaded = False  # whether the worker's kernels have the present weights
        self._stopping = False
        self._compiles_left = self._kernels_with_weights = 0
        self._load_seconds: list[float] = []
        self._step_seconds: list[float] = []

    def __enter__(self) -> Trainer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers and give up the state."""
        self.end_workers()
        self._shared.close()

    def end_workers(self) -> None:
        """Free what they take; a further `run` starts others."""
        for worker in (self._worker, self._next):
            if worker is not None:
                worker.stop()
        self._worker, self._next, self._loaded = None, None, False

    @property
    def parts(self) -> dict[str, Parameters]:
        """The state: parameters, moments and gradients, by name; they change while training runs."""
        return self._shared.parts

    @property
    def worker_pid(self) -> int | None:
        """The process that owns the device at present."""
        return None if self._worker is None else self._worker.pid

    def run(self) -> Iterator[Event]:
        """Train to the end, from the current state on. Raises TrainingError."""
        while self.state.step < self.config.steps and not self._stopping:
            yield from self._batch()

    def stop(self) -> None:
        """Let `run` end with the last finished update; a signal handler may call it. Steps since are lost."""
        self._stopping = True
        for worker in (self._worker, self._next):
            if worker is not None:
                worker.kill()

    def _batch(self) -> Iterator[Event]:
        first = self.state.step
        count = min(self.config.accumulation, self.config.steps - first)
        done: list[StepDone] = []
        loads: list[KernelsCompiled] = []
        failures = 0
        while len(done) < count:
            if self._stopping:
                return
            number = first + len(done)
            try:
                if not self._loaded:
                    loads.append(self._load(number))
                    yield loads[-1]
                step = self._step(number, len(done))
            except ChildLost as lost:
                self._drop_worker()
                if self._stopping:
                    return
                failures += 1
                if failures == _ATTEMPTS:
                    raise TrainingError(
                        f"step {number}: {failures} workers were lost; the last: {lost}"
                    ) from lost
                yield WorkerReplaced(number, str(lost))
            else:
                failures = 0
                done.append(step)
                yield step
        yield self._update(done, loads)

    def _load(self, number: int) -> KernelsCompiled:
        """Bake the present weights into the kernels of the worker, or of the next for want of compiles."""
        if self._worker is not None and self._compiles_left < self._kernels_with_weights:
            self._drop_worker()
        prepared = None
        if self._worker is None:
            self._worker, self._next = self._next or WorkerProcess(self._setup), None
            if self._stopping:
                raise ChildLost("the run is to stop")
            prepared = self._worker.ready(_FIRST_TIMEOUT)
        loaded = self._worker.load(_timeout(self._load_seconds))
        self._load_seconds.append(loaded.compile_ms * 1e-3)
        self.device = loaded.device
        self._compiles_left, self._kernels_with_weights = loaded.compiles_left, loaded.compiled
        if self._next is None and self._loads_to_come(number) * loaded.compiled > loaded.compiles_left:
            # It starts and compiles what has no weights while this one steps.
            self._next = WorkerProcess(self._setup)
        self._loaded = True
        return KernelsCompiled(number, self._worker.pid, prepared, loaded)

    def _loads_to_come(self, number: int) -> int:
        """After that of the batch of this step."""
        return self.config.updates - 1 - number // self.config.accumulation

    def _step(self, number: int, in_batch: int) -> StepDone:
        assert self._worker is not None
        begin = time.monotonic_ns()
        tokens = self._data.sequence(number)
        stepped = self._worker.step(
            Step(
                tokens[:-1].tolist(),
                tokens[1:].tolist(),
                gradients=in_batch % 2,
                base=None if in_batch == 0 else (in_batch - 1) % 2,
                loss_scale=self.state.loss_scale,
            ),
            _timeout(self._step_seconds),
        )
        self._step_seconds.append((stepped.end - stepped.begin) / 1e9)
        loss = math.nan if stepped.loss is None else stepped.loss
        return StepDone(number, loss, StepTimes.of(stepped), stepped, begin, time.monotonic_ns())

    def _update(self, done: list[StepDone], loads: list[KernelsCompiled]) -> BatchDone:
        state, loss_scale = self.state, self.state.loss_scale
        batch = state.step // self.config.accumulation
        begin = time.monotonic_ns()
        result = update(
            self.config,
            batch,
            state.applied_updates,
            self.parts,
            self.parts[f"gradients_{(len(done) - 1) % 2}"],
            1 / (loss_scale * len(done)),
        )
        if result.applied:
            state.applied_updates += 1
        else:
            state.loss_scale /= 2
        state.step += len(done)
        self._loaded = False
        return BatchDone(
            batch,
            done,
            sum(loaded.kernels for loaded in loads),
            sum(loaded.ready.compile_ms for loaded in loads),
            result,
            loss_scale,
            begin,
            time.monotonic_ns(),
        )

    def _drop_worker(self) -> None:
        if self._worker is not None:
            self._worker.stop()
        self._worker, self._loaded = None, False


def _timeout(seconds: list[float]) -> float:
    """What to wait for what took so long before."""
    if not seconds:
        return _FIRST_TIMEOUT
    return max(_LEAST_TIMEOUT, _PATIENCE * statistics.median(seconds[-50:]))
