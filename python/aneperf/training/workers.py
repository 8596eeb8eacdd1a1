"""The workers of a run: one that steps, its successor, and what replaces one that is lost."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Generator
from typing import TypeVar

from .. import device as devices
from ..runner.child import ChildLost, CompileExpired
from ..runner.in_child import after_expiry
from .events import KernelsCompiled, WorkerReplaced
from .worker import RunStep, Setup, StepReport, TrainingError, WorkerProcess

_FIRST_TIMEOUT = 600.0  # seconds for something that was not timed yet
_LEAST_TIMEOUT = 60.0
_PATIENCE = 30.0  # timeout over the usual duration
_ATTEMPTS = 3  # workers that may be lost at one step
_T = TypeVar("_T")


class Workers:
    """Starts workers with `setup`, gives their kernels the current weights, and replaces them."""

    def __init__(self, setup: Setup, compile_timeout: float) -> None:
        self._setup, self._compile_timeout = setup, compile_timeout
        self.current: WorkerProcess | None = None
        self.next: WorkerProcess | None = None  # starts while the current one steps
        self._up_to_date = False  # the current worker's kernels have the current weights
        self._stopping = False
        self._compilations: list[KernelsCompiled] = []
        self._compiles_left = self._kernels_with_weights = 0
        self._compile_seconds: list[float] = []
        self._step_seconds: list[float] = []

    def end(self) -> None:
        """End the workers; a further step starts others."""
        for worker in (self.current, self.next):
            if worker is not None:
                worker.stop()
        self.current, self.next, self._up_to_date = None, None, False

    def stop(self) -> None:
        """Kill the workers and start no others; a signal handler may call this."""
        self._stopping = True
        for worker in (self.current, self.next):
            if worker is not None:
                worker.kill()

    def outdate(self) -> None:
        """Note that the weights have changed."""
        self._up_to_date = False

    def take_compilations(self) -> list[KernelsCompiled]:
        """Return the compilations since the last call."""
        taken, self._compilations = self._compilations, []
        return taken

    @property
    def waiting_ms(self) -> float:
        """Return the time of the compilations that `take_compilations` would return."""
        return sum(event.compile_ms + event.staging_ms for event in self._compilations)

    def attempts(
        self, number: int, act: Callable[[], _T]
    ) -> Generator[KernelsCompiled | WorkerReplaced, None, _T | None]:
        """Let workers do a step, or what precedes it, in as many of them as that takes.

        Returns None if the run stops. Raises TrainingError.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            if self._stopping:
                return None
            try:
                if not self._up_to_date:
                    yield self._compile(number)
                return act()
            except ChildLost as lost:
                self._drop()
                if self._stopping:
                    return None
                reason, blocked = self.reason(lost)
                if blocked:
                    raise TrainingError(f"step {number}: {reason}") from lost
                if attempt == _ATTEMPTS:
                    raise TrainingError(
                        f"step {number}: {attempt} workers were lost; the last: {reason}"
                    ) from lost
                yield WorkerReplaced(number, reason)
        return None

    def step(self, step: RunStep, meanwhile: Callable[[], object] | None) -> StepReport:
        """Train the tokens in the shared state, in `act`. Calls `meanwhile` until that is done."""
        assert self.current is not None
        report = self.current.step(step, _timeout(self._step_seconds), meanwhile)
        self._step_seconds.append((report.end - report.begin) / 1e9)
        return report

    def evaluate(self) -> float | None:
        """Compute the loss of the tokens in the shared state, in `act`."""
        assert self.current is not None
        return self.current.evaluate(_timeout(self._step_seconds))

    def reason(self, lost: ChildLost) -> tuple[str, bool]:
        """Return why a worker was lost, and whether another one would be lost to the same."""
        if isinstance(lost, CompileExpired):
            return after_expiry(lost, self._setup.device or devices.name_of(devices.open()))
        return str(lost), False

    def _compile(self, number: int) -> KernelsCompiled:
        """Compile the current weights into the worker's kernels, or into those of a new one."""
        if self.current is not None and self._compiles_left < self._kernels_with_weights:
            self._drop()
        prepared = None
        if self.current is None:
            self.current, self.next = self.next or self._start(), None
            if self._stopping:
                raise ChildLost("the run is to stop")
            prepared = self.current.prepared(_FIRST_TIMEOUT + self._compile_timeout)
        compiled = self.current.compile(_timeout(self._compile_seconds) + self._compile_timeout)
        self._compile_seconds.append(compiled.ms * 1e-3)
        self._compiles_left, self._kernels_with_weights = compiled.compiles_left, compiled.kernels
        config = self._setup.config
        batches_left = config.updates - 1 - number // config.accumulation
        if self.next is None and batches_left * compiled.kernels > compiled.compiles_left:
            # Its start and its kernels without weights overlap with this worker's steps.
            self.next = self._start()
        self._up_to_date = True
        self._compilations.append(KernelsCompiled(number, self.current.pid, prepared, compiled))
        return self._compilations[-1]

    def _start(self) -> WorkerProcess:
        return WorkerProcess(self._setup, self._compile_timeout)

    def _drop(self) -> None:
        if self.current is not None:
            self.current.stop()
        self.current, self._up_to_date = None, False


def _timeout(seconds: list[float]) -> float:
    """Return how long to wait for something that took these times before."""
    if not seconds:
        return _FIRST_TIMEOUT
    return max(_LEAST_TIMEOUT, _PATIENCE * statistics.median(seconds[-50:]))
