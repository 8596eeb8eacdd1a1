"""Probes that misbehave, for children to run."""

import itertools
import os
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np

from aneperf import CompileBudgetError, Device, EvaluateError
from aneperf.kernels import ConvStack
from aneperf.probes.peak import peak
from aneperf.probes.sweep import measure_stacks
from aneperf.results import Result, Row
from aneperf.runner.child_process import Parent
from aneperf.runner.progress import Progress, ProgressCallback
from aneperf.runner.turns import in_turns, row_in_turns
from aneperf.training import worker
from aneperf.training.kernels import LoadedKernel
from support.fakes import TickingClock, an_environment


def finish(rows: list[Row]) -> Result:
    return Result(probe="made-up", environment=an_environment(), rows=tuple(rows))


def row(name: str, **fields: Any) -> Row:
    return Row(**{"key": f"made-up/{name}", "status": "ok", **fields})


def _is_socket(descriptor: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def behave(how: str) -> None:
    if how == "abort":
        os.abort()
    if how == "exit":
        os._exit(3)
    if how == "unnamed signal":
        os.kill(os.getpid(), 40)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hang":
        time.sleep(600)
    if how == "hang without ears":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    if how == "raise":
        raise ValueError("no such number")
    if how == "fail":
        raise EvaluateError("[evaluate] status 0x1d")
    if how == "spend":
        raise CompileBudgetError("[compile] 100 compiles are used up")
    if how == "leave":
        sys.exit(4)
    if how == "print":
        print('{"step": null}\n\xff garbage' * 100)
        os.write(1, b"\0\xff" * 100_000)
        os.write(2, b"complaint\n" * 100_000)
    if how == "garbage":
        for descriptor in range(3, 20):
            with suppress(OSError):
                os.write(descriptor, b"\xff garbage\n")
        time.sleep(600)
    if how == "trickle":
        (connection,) = (number for number in range(3, 20) if _is_socket(number))
        while True:
            os.write(connection, b"{")
    if how == "close":
        for descriptor in range(3, 20):
            with suppress(OSError):
                socket.socket(fileno=os.dup(descriptor)).shutdown(socket.SHUT_WR)
        time.sleep(600)
    if how == "linger":
        threading.Thread(target=time.sleep, args=(600,)).start()


def misbehave(
    device: Device, *, how: str = "", after: int = 2, progress: ProgressCallback, mark: str | None = None
) -> Result:
    """Send some rows, then misbehave, then send another row. `mark` is a file to leave once at the fault."""
    rows: list[Row] = []
    for index in range(after):
        rows.append(row(str(index), params={"profile": device.info()["chip"]}))
        progress(Progress(index + 1, after + 1, str(index + 1), rows[-1]))
    if mark:
        Path(mark).write_text(str(os.getpid()))
    while how == "flood":
        progress(Progress(after, after + 1, "flooding"))
    behave(how)
    rows.append(row("last", metrics={"soft": device.compile_budget.soft, "used": device.compiles_used}))
    progress(Progress(after + 1, after + 1, "", rows[-1]))
    return finish(rows)


def one_by_one(device: Device, *, items: list[str], budget: float, progress: ProgressCallback) -> Result:
    """Send a row for each item, which says how to behave meanwhile."""
    rows: list[Row] = []
    for index, item in enumerate(items):
        progress(Progress(index, len(items), item))
        name, _, how = item.partition(":")
        if how == "spend" and index == 0:
            how = ""
        behave(how)
        rows.append(row(name, metrics={"process": os.getpid()}))
        progress(Progress(index + 1, len(items), item, rows[-1]))
    return finish(rows)


def good(device: Device, *, budget: float, progress: ProgressCallback) -> Result:
    """Send rows as a probe that works does."""
    rows = [row("good/1", metrics={"budget": budget}), row("good/2")]
    for done, one in enumerate(rows):
        progress(Progress(done + 1, 2, "", one))
    return Result(probe="good", environment=an_environment(), rows=tuple(rows), notes=("all well",))


def in_processes(device: Device, *, budget: float, progress: ProgressCallback, processes: int = 1) -> Result:
    return finish([row("in_processes", metrics={"processes": float(processes)})])


def also_good(device: Device, *, budget: float, progress: ProgressCallback) -> Result:
    """Send all rows only at the end."""
    rows = (Row(key="also_good/1", status="ok"),)
    return Result(probe="also_good", environment=an_environment(), rows=rows)


def aborts(device: Device, *, budget: float, progress: ProgressCallback) -> Result:
    """Die."""
    progress(Progress(1, 2, "falling", row("aborts/1")))
    os.abort()


def hangs(device: Device, *, budget: float, progress: ProgressCallback) -> Result:
    """Never end."""
    progress(Progress(1, 2, "hanging", row("hangs/1")))
    if mark := os.environ.get("CHILD_PROBES_MARK"):
        Path(mark).write_text("hanging")
    time.sleep(600)
    raise AssertionError


_TEXT = "program(1.3) { func main<ios18>(tensor<fp16, [1, 64, 1, 64]> x) {} -> (x); }"


def never_returns(*arguments: Any, **options: Any) -> None:
    """Stand in for a call of the framework; the files of its model lie in the temporary folder."""
    Path(tempfile.gettempdir(), "model.mil").write_text("program")
    if mark := os.environ.get("CHILD_PROBES_MARK"):
        Path(mark).write_text(str(os.getpid()))
    time.sleep(600)


def never_compiles(
    device: Any, *, progress: ProgressCallback, items: list[str] | None = None, budget: float | None = None
) -> Result:
    """Finish a row, then ask for a compile that never returns."""
    progress(Progress(1, 2, "2x conv", row("finished")))
    device._watched = SimpleNamespace(compile=never_returns)
    device.compile(_TEXT, {"@model_path/weights/w.bin": bytes(2_500_000)})
    raise AssertionError


def write_and_send(parent: Parent) -> None:
    """Send messages without an end while another thread writes models."""

    def write() -> None:
        for number in itertools.count():
            with suppress(OSError):
                (folder / f"{number}").mkdir()
                (folder / f"{number}" / "weight.bin").write_bytes(b"")

    folder = Path(tempfile.gettempdir())
    threading.Thread(target=write, daemon=True).start()
    while True:
        parent.send(Row(key="made-up/0", status="ok"))


def serve_and_hang_once(parent: Parent) -> None:
    """Serve as a worker of training; the compile of the first one's third kernel never returns."""
    load, loaded = LoadedKernel.load, []

    def load_or_hang(self: LoadedKernel, *arguments: Any) -> None:
        loaded.append(self)
        if len(loaded) == 3 and not Path(os.environ["CHILD_PROBES_MARK"]).exists():
            self._device._watched = SimpleNamespace(compile=never_returns)  # type: ignore[attr-defined]
        load(self, *arguments)

    LoadedKernel.load = load_or_hang  # type: ignore[method-assign]
    worker.serve(parent)


def answer(parent: Parent) -> None:
    """Send each report back, between the announcements of a compile."""
    decoder = msgspec.json.Decoder(Progress)
    while True:
        step = parent.receive(decoder)
        with parent.compiling("a program"):
            parent.send(step)


def fails(device: Device, *, budget: float, progress: ProgressCallback) -> Result:
    """Raise an error."""
    progress(Progress(1, 2, "failing", row("fails/1")))
    raise ZeroDivisionError("division by nothing")


def prints(device: Device, *, budget: float, progress: ProgressCallback) -> Result:
    """Print while running."""
    behave("print")
    return Result(probe="prints", environment=an_environment(), rows=(row("prints/1"),))


def repeats(device: Device, *, budget: float, progress: ProgressCallback) -> Result:
    """Send the rows of another probe."""
    return Result(probe="repeats", environment=an_environment(), rows=(row("good/1"),))


def ticking_stacks(device: Device, *, items: list[str], budget: float, progress: ProgressCallback) -> Result:
    """Measure a sweep's stacks in as much time on any machine."""
    return measure_stacks(device, items=items, budget=budget, progress=progress, clock=TickingClock(20.0))


def ticking_peak(
    device: Device, *, configs: list[ConvStack], budget: float, progress: ProgressCallback
) -> Result:
    """Measure stacks in as much time on any machine."""
    return peak(device, configs=configs, budget=budget, progress=progress, clock=TickingClock(budget / 8))


def no_overlap(device: Device, *, budget: float, progress: ProgressCallback) -> Result:
    """Stand in for the part of `limits` that compiles during evaluations."""
    return finish([row("overlap")])


def take_turns(device: Device, *, key: str, number: int, progress: ProgressCallback) -> Result:
    """Make calls of 100 ns in this process's turns."""
    run = in_turns(key, lambda count: np.full(count, 100))
    with row_in_turns(key):
        for _ in range(number):
            run(3)
    return finish([row(key)])
