"""The worker, a child process that owns the device: its messages, its loop, and the parent's handle on it.

A worker holds nothing that another one could not rebuild: the state of training is shared memory.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from .. import device as devices
from ..errors import AneError, CompileBudgetError, EvaluateError
from ..machine import peak_memory
from ..runner.child import Child, ChildLost
from ..runner.child_process import Parent
from ..runner.watched import watched
from .accounting import Span
from .config import TrainingConfig
from .lora import model_weights
from .pipeline import open_pipeline
from .state import SharedState, part_shapes


class Setup(msgspec.Struct, frozen=True):
    """The first message to a worker."""

    config: TrainingConfig
    separate_classifier: bool
    device: str | None
    state_descriptor: int


class CompileKernels(msgspec.Struct, frozen=True, tag="compile"):
    """Asks to compile the kernels with the current parameters."""


class RunStep(msgspec.Struct, frozen=True, tag="step"):
    """Asks to train the tokens in the shared state.

    The set number `gradients` becomes the sum of the step's gradient and the set number `base`, but for the
    parameters in `without`, whose gradients are in use already.
    """

    gradients: int
    base: int | None
    loss_scale: float
    without: Sequence[str] = ()


class Evaluate(msgspec.Struct, frozen=True, tag="evaluate"):
    """Asks for the loss of the tokens in the shared state."""


class Compiled(msgspec.Struct, frozen=True, tag="compiled"):
    """Answers first Setup, when the kernels without weights are compiled, and then CompileKernels."""

    kernels: int
    begin: int  # ns of time.monotonic_ns
    end: int
    compiles_used: int
    compiles_left: int

    @property
    def ms(self) -> float:
        """Return the duration of the compilation."""
        return (self.end - self.begin) * 1e-6


class StepReport(msgspec.Struct, frozen=True, tag="step done"):
    """Answers RunStep."""

    loss: float | None  # None if it is not finite
    begin: int  # ns of time.monotonic_ns
    end: int
    spans: list[Span]
    products: list[Span]
    ranges: list[float | None]  # see TrainingStep.ranges; None if one is not finite
    peak_bytes: int


class Loss(msgspec.Struct, frozen=True, tag="loss"):
    """Answers Evaluate."""

    loss: float | None  # None if it is not finite


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Ends the worker: it cannot do what it was asked."""

    error: str
    message: str


Command = CompileKernels | RunStep | Evaluate
Answer = Compiled | StepReport | Loss | Failed
_POLL_S = 1e-3  # between two calls of `meanwhile`
_SERVE = "aneperf.training.worker:serve"
_Answer = TypeVar("_Answer", Compiled, StepReport, Loss)

# The engine may refuse a worn-out process and still accept another one.
_ERRORS_OF_THE_PROCESS = (EvaluateError.__name__, CompileBudgetError.__name__)


class Worker:
    """The device, a pipeline on it, and the shared state, inside the worker."""

    def __init__(self, setup: Setup, parent: Parent) -> None:
        config = setup.config
        shapes = part_shapes(config, setup.separate_classifier)
        self._state = SharedState(shapes, config.model.seq, setup.state_descriptor)
        self._device = watched(devices.open(setup.device), parent)
        self._pipeline = open_pipeline(
            config.pipeline,
            self._device,
            config.model,
            model_weights(config.lora, self._state.parts),
            as_published=config.as_published,
        )

    def compile(self, *, with_weights: bool) -> Compiled:
        """Compile the kernels that have weights, or those that have none."""
        begin = time.monotonic_ns()
        kernels = self._pipeline.load() if with_weights else self._pipeline.load_fixed()
        end = time.monotonic_ns()
        used = self._device.compiles_used
        return Compiled(kernels, begin, end, used, self._device.compile_budget.soft - used)

    def step(self, command: RunStep) -> StepReport:
        """Train one sequence, forward and backward."""
        parts, tokens = self._state.parts, self._state.tokens
        self._pipeline.take_spans()
        gradients = parts[f"gradients_{command.gradients}"]
        begin = time.monotonic_ns()
        loss = self._pipeline.step(
            tokens[:-1],
            tokens[1:],
            {name: gradients[name] for name in gradients.keys() - set(command.without)},
            base=None if command.base is None else parts[f"gradients_{command.base}"],
            loss_scale=command.loss_scale,
            flags=self._state.flags,
        )
        end = time.monotonic_ns()
        spans, products = self._pipeline.take_spans()
        ranges = [limit if math.isfinite(limit) else None for limit in self._pipeline.ranges()]
        return StepReport(
            loss if math.isfinite(loss) else None, begin, end, spans, products, ranges, peak_memory()
        )

    def evaluate(self) -> Loss:
        """Compute the loss of one sequence."""
        tokens = self._state.tokens
        loss = self._pipeline.evaluate(tokens[:-1], tokens[1:])
        self._pipeline.take_spans()  # which belong to no step
        return Loss(loss if math.isfinite(loss) else None)


def serve(parent: Parent) -> None:
    """Answer the parent's messages until it ends this process."""
    commands: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
    try:
        worker = Worker(parent.receive(msgspec.json.Decoder(Setup)), parent)
        parent.send(worker.compile(with_weights=False))
        while True:
            command = parent.receive(commands)
            if isinstance(command, RunStep):
                parent.send(worker.step(command))
            elif isinstance(command, Evaluate):
                parent.send(worker.evaluate())
            else:
                parent.send(worker.compile(with_weights=True))
    except Exception as error:
        parent.send(Failed(type(error).__name__, str(error)))


class TrainingError(AneError):
    """Training cannot continue."""


class WorkerProcess:
    """A worker, as the parent sees it.

    Every call raises TrainingError, or ChildLost if the worker died, does not answer, or spends more than
    `compile_timeout` seconds on a kernel: then another one can take over.
    """

    def __init__(self, setup: Setup, compile_timeout: float) -> None:
        answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
        try:
            self._child = Child(
                _SERVE,
                answers,
                compile_timeout=compile_timeout,
                descriptors=[setup.state_descriptor],
            )
        except OSError as error:
            raise TrainingError(f"a worker cannot be started: {error}") from error
        self._prepared: Compiled | None = None
        # If the worker is dead already, the next call raises.
        with contextlib.suppress(ChildLost):
            self._child.send(setup)

    @property
    def pid(self) -> int:
        """Return the process's number."""
        return self._child.pid

    def prepared(self, timeout: float) -> Compiled:
        """Wait until the device is open and the kernels without weights are compiled."""
        if self._prepared is None:
            self._prepared = self._receive(Compiled, timeout)
        return self._prepared

    def compile(self, timeout: float) -> Compiled:
        """Compile the kernels with the current parameters."""
        self.prepared(timeout)
        self._child.send(CompileKernels())
        return self._receive(Compiled, timeout)

    def step(
        self, step: RunStep, timeout: float, meanwhile: Callable[[], object] | None = None
    ) -> StepReport:
        """Train the tokens in the shared state. Calls `meanwhile` again and again until that is done."""
        self._child.send(step)
        return self._receive(StepReport, timeout, meanwhile)

    def evaluate(self, timeout: float) -> float | None:
        """Compute the loss of the tokens in the shared state."""
        self._child.send(Evaluate())
        return self._receive(Loss, timeout).loss

    def kill(self) -> None:
        """End the process from any thread; calls that wait for it raise ChildLost."""
        self._child.kill()

    def stop(self) -> None:
        """End the process and free its resources."""
        self._child.stop()

    def _receive(
        self, kind: type[_Answer], timeout: float, meanwhile: Callable[[], object] | None = None
    ) -> _Answer:
        end, answer = time.monotonic() + timeout, None
        while answer is None:
            left = end - time.monotonic()
            try:
                answer = self._child.receive(left if meanwhile is None else min(left, _POLL_S))
            except TimeoutError:
                if left <= _POLL_S or meanwhile is None:
                    raise ChildLost(f"it did not answer within {timeout:.0f} s") from None
                meanwhile()
        if isinstance(answer, Failed):
            reason = f"{answer.error}: {answer.message}"
            raise ChildLost(reason) if answer.error in _ERRORS_OF_THE_PROCESS else TrainingError(reason)
        if not isinstance(answer, kind):
            raise ChildLost(f"it answered with {type(answer).__name__}")
        return answer
