"""Processes that work beside this one's measurements, on command: a program, the CPU's cores, or the GPU."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable

import msgspec
import numpy as np

from .._ane_native import Device
from ..device import compile_timeout_of, name_of
from ..device import open as open_device
from ..errors import AneError
from ..files import one_line
from ..kernels.repeated_stack import RepeatedStack
from ..measure import analyze
from .case import stack_case
from .child import Child, ChildLost, CompileExpired
from .child_process import Parent
from .in_child import address_of, after_expiry
from .timing import Loaded
from .watched import watched

Piece = Callable[[], object]  # of work

_READY_S = 60.0  # for a process to start, besides a compile
_ANSWER_S = 60.0
_BLOCK = 1 << 20  # bytes that a core hashes at a time: a millisecond, and in its cache
_GPU_SIDE, _GPU_SUM = 2048, 1 << 26  # of a product's matrices; elements of a sum, of 256 MB


class Setup(msgspec.Struct, frozen=True):
    """The first message to a process: its device and stack, or its number of threads."""

    device: str = ""
    compile_timeout: float = 1.0
    stack: RepeatedStack | None = None
    threads: int = 1


class Order(msgspec.Struct, frozen=True):
    """Asks for some calls, for the check of the last one's output, or to work until told otherwise."""

    calls: int = 0
    check: bool = False
    work: bool = False


class Answer(msgspec.Struct, frozen=True):
    """Tells that a process is ready, or has done what it was asked; or why it cannot."""

    failure: str = ""
    is_missing: bool = False


class BesideLost(Exception):
    """The process cannot do its work; the text is the reason. `is_missing`: for want of what it needs."""

    def __init__(self, reason: str, *, is_missing: bool = False) -> None:
        self.is_missing = is_missing
        super().__init__(reason)


class Beside:
    """A process that has been started and is ready. Raises BesideLost, OSError."""

    def __init__(self, target: Callable[[Parent], None], setup: Setup) -> None:
        self._device = setup.device
        self._child = Child(
            address_of(target), msgspec.json.Decoder(Answer), compile_timeout=setup.compile_timeout
        )
        try:
            self._child.send(setup)
            self.wait(_READY_S + setup.compile_timeout)
        except ChildLost as lost:
            self._child.stop()
            raise BesideLost(str(lost)) from None
        except BaseException:
            self._child.stop()
            raise

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, *exception: object) -> None:
        self._child.stop()

    def begin(self, order: Order) -> None:
        """Send an order, whose answer `wait` returns. Raises BesideLost."""
        try:
            self._child.send(order)
        except ChildLost as lost:
            raise BesideLost(str(lost)) from None

    def wait(self, seconds: float = _ANSWER_S) -> None:
        """Wait for the answer. Raises BesideLost."""
        try:
            answer = self._child.receive(seconds)
        except CompileExpired as expired:
            self._child.kill()
            raise BesideLost(after_expiry(expired, self._device)[0]) from None
        except ChildLost as lost:
            raise BesideLost(str(lost)) from None
        except TimeoutError:
            raise BesideLost(f"it was silent for {seconds:g} s") from None
        if answer.failure:
            raise BesideLost(answer.failure, is_missing=answer.is_missing)

    def do(self, order: Order) -> None:
        """Send an order and wait for its answer. Raises BesideLost."""
        self.begin(order)
        self.wait()


def program_beside(device: Device, stack: RepeatedStack) -> Beside:
    """Start a process that evaluates a stack on a device of the same kind. Raises BesideLost, OSError."""
    return Beside(serve_program, Setup(name_of(device), compile_timeout_of(device), stack))


def cpu_beside(threads: int) -> Beside:
    """Start a process that can keep this number of cores busy. Raises BesideLost, OSError."""
    return Beside(serve_cpu, Setup(threads=threads))


def gpu_beside() -> Beside:
    """Start a process that can keep the GPU busy, through MLX. Raises BesideLost, OSError."""
    return Beside(serve_gpu, Setup())


def serve_program(parent: Parent) -> None:
    """Evaluate a stack as often as told."""
    setup = parent.receive(msgspec.json.Decoder(Setup))
    orders = msgspec.json.Decoder(Order)
    assert setup.stack is not None
    try:
        device = watched(open_device(setup.device, compile_timeout=setup.compile_timeout), parent)
        with Loaded(device, stack_case("beside", setup.stack), time.perf_counter) as loaded:
            durations = loaded.run(1)
            parent.send(Answer())
            while True:
                order = parent.receive(orders)
                failure = ""
                if order.check:
                    failure = loaded.judge(analyze(durations)).reason or ""
                else:
                    durations = loaded.run(order.calls)
                parent.send(Answer(failure))
    except AneError as error:
        parent.send(Answer(str(error)))


def serve_cpu(parent: Parent) -> None:
    """Keep cores busy while told to: hashing needs no memory but a core's cache."""
    setup = parent.receive(msgspec.json.Decoder(Setup))
    block = bytes(_BLOCK)
    _serve_load(parent, lambda: lambda: hashlib.sha256(block), setup.threads)


def serve_gpu(parent: Parent) -> None:
    """Keep the GPU busy while told to, with products and with sums that read and write memory."""
    parent.receive(msgspec.json.Decoder(Setup))
    try:
        import mlx.core as mx
    except ImportError:
        parent.send(Answer("mlx is not installed: pip install mlx", is_missing=True))
        return
    if mx.default_device().type != mx.gpu:
        parent.send(Answer("mlx has no GPU on this machine", is_missing=True))
        return

    def make() -> Piece:
        half = np.random.default_rng(0).standard_normal((_GPU_SIDE, _GPU_SIDE)).astype(np.float16)
        matrix, long = mx.array(half), mx.zeros(_GPU_SUM, mx.float32)
        return lambda: mx.eval(matrix @ matrix, long + 1)

    _serve_load(parent, make, 1)


def _serve_load(parent: Parent, make: Callable[[], Piece], threads: int) -> None:
    """Do pieces of work, each below some milliseconds, in threads while told to.

    Each thread makes its own piece: libraries bind what they make to a thread.
    """
    wanted, ready = threading.Event(), threading.Semaphore(0)
    failures: list[str] = []

    def work() -> None:
        try:
            piece = make()
            piece()  # with what the first one sets up
            ready.release()
            while wanted.wait():
                piece()
        except Exception as error:  # a load that has ended must not pass for one that has no effect
            failures.append(f"the load failed: {type(error).__name__}: {one_line(error)}")
            ready.release()

    for _ in range(threads):
        threading.Thread(target=work, daemon=True).start()
    for _ in range(threads):
        ready.acquire()
    orders = msgspec.json.Decoder(Order)
    while True:
        parent.send(Answer(failures[0] if failures else ""))
        if parent.receive(orders).work:
            wanted.set()
        else:
            wanted.clear()
