"""The parent's end of a worker."""

from __future__ import annotations

import contextlib
from typing import TypeVar

import msgspec

from ..errors import AneError, CompileBudgetError, EvaluateError
from ..runner.child import Child, ChildLost
from .messages import Answer, Command, Failed, Load, Ready, Setup, Step, Stepped

_Answer = TypeVar("_Answer", Ready, Stepped)
# What the engine refuses to one process, worn out, it may do for another.
_OF_THE_PROCESS = (EvaluateError.__name__, CompileBudgetError.__name__)


class TrainingError(AneError):
    """Training cannot continue."""


class WorkerProcess:
    """A worker, ready when `ready` returns. Every call may raise TrainingError.

    Every call raises ChildLost if the worker has died or does not answer: another one can take over.
    """

    def __init__(self, setup: Setup) -> None:
        answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
        try:
            self._child = Child(
                "aneperf.training.worker:serve", answers, descriptors=[setup.state_descriptor]
            )
        except OSError as error:
            raise TrainingError(f"a worker cannot be started: {error}") from error
        self._is_ready: Ready | None = None
        # Whoever waits for a worker that is dead already will be told.
        with contextlib.suppress(ChildLost):
            self._child.send(setup)

    @property
    def pid(self) -> int:
        """Return the process's number."""
        return self._child.pid

    def ready(self, timeout: float) -> Ready:
        """Wait until the device is open and the kernels without weights are compiled."""
        if self._is_ready is None:
            self._is_ready = self._receive(Ready, timeout)
        return self._is_ready

    def load(self, timeout: float) -> Ready:
        """Compile the kernels with the parameters as they are now."""
        self.ready(timeout)
        return self._ask(Load(), Ready, timeout)

    def step(self, step: Step, timeout: float) -> Stepped:
        """Run one sequence."""
        return self._ask(step, Stepped, timeout)

    def kill(self) -> None:
        """End the process; who waits for it finds it lost."""
        self._child.kill()

    def stop(self) -> None:
        """End the process and free what it took."""
        self._child.stop()

    def _ask(self, command: Command, kind: type[_Answer], timeout: float) -> _Answer:
        self._child.send(command)
        return self._receive(kind, timeout)

    def _receive(self, kind: type[_Answer], timeout: float) -> _Answer:
        try:
            answer = self._child.receive(timeout)
        except TimeoutError:
            raise ChildLost(f"it did not answer within {timeout:.0f} s") from None
        if isinstance(answer, Failed):
            reason = f"{answer.error}: {answer.message}"
            raise ChildLost(reason) if answer.error in _OF_THE_PROCESS else TrainingError(reason)
        if not isinstance(answer, kind):
            raise ChildLost(f"it answered with {type(answer).__name__.lower()}")
        return answer
