"""The parent's end of a worker."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import TypeVar

import msgspec

from ..errors import AneError, CompileBudgetError, EvaluateError
from .messages import Answer, Command, Failed, Load, Ready, Setup, Step, Stepped

_Answer = TypeVar("_Answer", Ready, Stepped)
# What the engine refuses to one process, worn out, it may do for another.
_OF_THE_PROCESS = (EvaluateError.__name__, CompileBudgetError.__name__)
_LONGEST = 1 << 24  # bytes of an answer; a step's has some 10,000


class WorkerLost(Exception):
    """The worker died or does not answer: another one can take over."""


class TrainingError(AneError):
    """Training cannot go on."""


class WorkerProcess:
    """A worker, ready when `ready` returns. Every call may raise WorkerLost, or TrainingError."""

    def __init__(self, setup: Setup) -> None:
        ours, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed with the worker
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "aneperf.training.worker", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=self._stderr,
                    stderr=self._stderr,
                    pass_fds=[theirs.fileno(), setup.state_descriptor],
                )
            except OSError as error:
                ours.close()
                self._stderr.close()
                raise TrainingError(f"a worker cannot be started: {error}") from error
        self._socket = ours
        self._received = b""
        self._is_ready: Ready | None = None
        # Whoever waits for a worker that is dead already will be told.
        with contextlib.suppress(OSError):
            self._write(setup)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ready(self, timeout: float) -> Ready:
        """Wait until the device is open and what has no weights is compiled."""
        if self._is_ready is None:
            self._is_ready = self._receive(Ready, timeout)
        return self._is_ready

    def load(self, timeout: float) -> Ready:
        """Compile the kernels with the parameters as they are now."""
        self.ready(timeout)
        self._send(Load())
        return self._receive(Ready, timeout)

    def step(self, step: Step, timeout: float) -> Stepped:
        """Run one sequence."""
        self._send(step)
        return self._receive(Stepped, timeout)

    def kill(self) -> None:
        """Make whoever waits for it see it lost."""
        self._process.kill()

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._socket.close()
        self._process.kill()
        self._process.wait()
        self._stderr.close()

    def _send(self, message: Command) -> None:
        try:
            self._write(message)
        except OSError:
            raise self._lost() from None

    def _write(self, message: Setup | Command) -> None:
        self._socket.settimeout(60)
        self._socket.sendall(msgspec.json.encode(message) + b"\n")

    def _receive(self, kind: type[_Answer], timeout: float) -> _Answer:
        try:
            answer: Answer = msgspec.json.decode(self._receive_line(timeout), type=Answer)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise WorkerLost(f"its answer cannot be read: {error}") from None
        if isinstance(answer, Failed):
            reason = f"{answer.error}: {answer.message}"
            raise WorkerLost(reason) if answer.error in _OF_THE_PROCESS else TrainingError(reason)
        if not isinstance(answer, kind):
            raise WorkerLost(f"it answered with {type(answer).__name__.lower()}")
        return answer

    def _receive_line(self, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        while b"\n" not in self._received:
            try:
                self._socket.settimeout(max(1e-3, deadline - time.monotonic()))
                part = self._socket.recv(1 << 20)
            except TimeoutError:
                raise WorkerLost(f"it did not answer within {timeout:.0f} s") from None
            except OSError:
                part = b""
            if not part:
                raise self._lost()
            self._received += part
            if len(self._received) > _LONGEST:
                raise WorkerLost(f"its answer is longer than {_LONGEST} bytes")
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _lost(self) -> WorkerLost:
        """What is known of the end of the process."""
        try:
            code = self._process.wait(10)
        except subprocess.TimeoutExpired:
            return WorkerLost("it closed its connection")
        reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._stderr.seek(0)
        said = self._stderr.read()[-2000:].decode(errors="replace").strip()
        return WorkerLost(f"it ended with {reason}" + (f": {said.splitlines()[-1]}" if said else ""))
