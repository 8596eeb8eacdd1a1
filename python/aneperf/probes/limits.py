"""Limits: how many programs a process can compile and load, and how long that takes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import mil
from .._ane_native import CompileBudget, Device, Program
from ..checks import count, positive
from ..device import compile_timeout_of, info, opened
from ..errors import REFUSALS, EvaluateError
from ..measure import summarize
from ..results import Result, Row
from ..runner.in_child import NOT_TRIED, Outcome, run_in_child
from ..runner.measured import Measured
from ..runner.progress import Progress, ProgressCallback, silent
from .limits_overlap import measure_overlap
from .registry import default_budget

_MOST = 256  # twice the largest limit that anyone reports
_CHANNELS = 64
_NO_LIMIT = 10**9
_QUIET_S = 60.0  # besides a compile
_ROWS = 5
_SHARES = {"kept": 0.3, "released": 0.3, "overlap": 0.4}  # of the budget


def limits(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("limits"),
    most: int = _MOST,
    progress: ProgressCallback | None = None,
) -> Result:
    """Compile programs until the device refuses, keeping them loaded or unloading them, in child processes.

    Rows: "limits/kept" and "limits/released" have the programs compiled before the first failure, up to
    `most`, in metrics "programs", and the ending in params. "limits/compile time" and "limits/load time" are
    those of the kept programs. "limits/overlap" is the time of compiles and evaluations one after the other,
    over their time in two threads (unit "x"), with a verdict in params. `budget` is in seconds.
    Raises ArgumentError, DeviceUnavailable.
    """
    parts = _Parts(opened(device), positive("budget", budget), progress or silent)
    environment = info(parts.device)
    most = count("most", most)
    notes: tuple[str, ...] = ()
    for part in ("kept", "released"):
        outcome = parts.run(part, count_programs, keep=part == "kept", most=most)
        notes += () if outcome.result is None else outcome.result.notes
        parts.finish(_counted(part, outcome))
    outcome = parts.run("overlap", overlap)
    parts.finish(list(outcome.rows) or [_row("overlap", Measured(outcome.status_of_lost, outcome.failure))])
    return Result(probe="limits", environment=environment, rows=tuple(parts.rows), notes=notes)


def count_released(device: Device, *, budget: float, progress: ProgressCallback) -> tuple[Row, str]:
    """Count the programs that a process compiles if it unloads each: the row, and the last one's refusal."""
    parts = _Parts(device, budget / _SHARES["released"], progress)
    outcome = parts.run("released", count_programs, keep=False, most=_MOST)
    notes = () if outcome.result is None else outcome.result.notes
    (row,) = _counted("released", outcome)
    return row, " ".join(note.partition(": ")[2] for note in notes)


class _Parts:
    """The parts of the probe, each in a child process with a share of the budget, and the rows so far."""

    def __init__(self, device: Device, budget: float, report: ProgressCallback) -> None:
        self.device = device
        self.rows: list[Row] = []
        self._budget = budget
        self._report = report
        self._blocked = False
        # The emulator has the engine's limit, as part of what it emulates. The engine shows its own.
        hard = CompileBudget().hard if device.info()["kind"] == "emulator" else _NO_LIMIT
        self._compile_budget = CompileBudget(_NO_LIMIT, hard)

    def run(self, part: str, function: Callable[..., Result], **arguments: Any) -> Outcome:
        """Run a part, unless no compile ends any more, and report what it is doing."""
        self._report(Progress(len(self.rows), _ROWS, part))
        if self._blocked:
            return Outcome((), failure=NOT_TRIED)
        share, quiet_limit = _SHARES[part] * self._budget, _QUIET_S + compile_timeout_of(self.device)
        outcome = run_in_child(
            function,
            self.device,
            time_limit=share + quiet_limit,
            quiet_limit=quiet_limit,
            compile_budget=self._compile_budget,
            progress=lambda at: self._report(Progress(len(self.rows), _ROWS, f"{part}: {at.doing}")),
            budget=share,
            **arguments,
        )
        self._blocked = outcome.blocked
        return outcome

    def finish(self, rows: list[Row]) -> None:
        """Add rows and report each."""
        for row in rows:
            self.rows.append(row)
            self._report(Progress(len(self.rows), _ROWS, "", row))


def _row(name: str, measured: Measured) -> Row:
    return measured.row(f"limits/{name}", {"limit": name})


def _counted(part: str, outcome: Outcome) -> list[Row]:
    """Return the rows of a child that counted; the last report of a child that died holds its count."""
    if outcome.result is not None:
        return list(outcome.rows)
    timed = ("compile time", "load time") if part == "kept" else ()
    lost = [_row(name, Measured("error", f"lost with the process: {outcome.failure}")) for name in timed]
    if not outcome.doing.isdecimal() or outcome.expired:
        return [_row(part, Measured(outcome.status_of_lost, outcome.failure)), *lost]
    ending = f"the process did not survive the next: {outcome.failure}"
    return [_row(part, _programs(int(outcome.doing), ending)), *lost]


def _programs(number: int, ending: str) -> Measured:
    return Measured("ok", params={"ending": ending}, metrics={"programs": number})


def count_programs(
    device: Device, *, keep: bool, most: int, budget: float, progress: ProgressCallback
) -> Result:
    """Compile small programs, no two alike, until one is refused, `most` are made or `budget` is spent."""
    end = time.perf_counter() + budget
    kept: list[Program] = []
    compile_ns, load_ns = [], []
    ending = f"none was refused of {most}"
    part = "kept" if keep else "released"
    notes: tuple[str, ...] = ()
    for number in itertools.count():
        progress(Progress(number, most, str(number)))
        if number == most:
            break
        if time.perf_counter() > end:
            ending = f"none was refused of {number} in the time given"
            break
        try:
            program = _small(number).compile(device)
            _check(program)
        except REFUSALS as refusal:
            ending, notes = "the next was refused", (f"{part}: {refusal}",)
            break
        compile_ns.append(program.stats.compile_ns)
        load_ns.append(program.stats.load_ns)
        kept.append(program)
        if not keep:
            kept.pop().unload()
    rows = [_row(part, _programs(number, ending))]
    if keep:
        rows += [_timed("compile time", compile_ns), _timed("load time", load_ns)]
    return Result(probe="limits", environment=info(device), rows=tuple(rows), notes=notes)


def _small(number: int) -> mil.Program:
    """Return a program with a weight that belongs to this number alone: y = w x."""
    weight = np.eye(_CHANNELS, dtype=np.float16)[:, :, None, None] * np.float16(1 + number / 1024)
    b = mil.Builder()
    b.output("y", mil.conv(b.input("x", (1, _CHANNELS, 1, 64)), weight))
    return b.build()


def _check(program: Program) -> None:
    """Run the program: one that does not run does not count."""
    y = program.run(x=np.ones((1, _CHANNELS, 1, 64), np.float16))["y"]
    if not (np.isfinite(y).all() and (y > 0).all()):
        raise EvaluateError("a program loaded and gave no result")


def _timed(name: str, ns: list[int | None]) -> Row:
    known = [one for one in ns if one is not None]
    if not known:
        return _row(name, Measured("unsupported", "unavailable: the device does not report it"))
    return _row(name, Measured("ok", statistics=summarize(np.array(known) / 1e6)))


def overlap(device: Device, *, budget: float, progress: ProgressCallback) -> Result:
    """Return the row of the overlap, measured in this process."""
    row = _row("overlap", measure_overlap(device, budget=budget, progress=progress))
    return Result(probe="limits", environment=info(device), rows=(row,))
