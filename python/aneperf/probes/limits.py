"""Limits: how many programs a process can compile and load, and how long that takes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import mil
from .._ane_native import CompileBudget, Device, Program
from ..checks import count, positive, shown
from ..device import ROUTES, compile_timeout_of, info, opened
from ..device import open as open_device
from ..errors import REFUSALS, ArgumentError, DeviceUnavailable, EvaluateError
from ..machine import peak_memory
from ..measure import summarize
from ..results import Result, Row
from ..runner.in_child import NOT_TRIED, Outcome, run_in_child
from ..runner.measured import Measured
from ..runner.progress import Progress, ProgressCallback, reporter
from .limits_overlap import measure_overlap
from .registry import default_budget

_MOST = 300  # more than twice the largest limit that anyone reports
_CHANNELS = 64
_NO_LIMIT = 10**9
_QUIET_S = 60.0  # besides a compile
_COUNTS = ("kept", "released")
_TIMES = ("compile time", "load time")
_OVERLAP_SHARE = 0.4  # of the budget
_WARM_UP = 20  # programs, by which the process has what it keeps in any case
_BOTH = "both"


def limits(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("limits"),
    most: int = _MOST,
    route: str | None = None,
    progress: ProgressCallback | None = None,
) -> Result:
    """Compile programs until the device refuses, keeping them loaded or unloading them, in child processes.

    Rows: "limits/kept" and "limits/released" have the programs compiled before the first failure, up to
    `most`, in metrics "programs", the growth of the process's peak memory for each in "bytes_each", and the
    ending in params. "limits/compile time" and "limits/load time" are those of the kept programs.
    "limits/overlap" is the time of compiles and evaluations one after the other, over their time in two
    threads (unit "x"), with a verdict in params. `budget` is in seconds.

    `route`, "memory", "client" or "both", counts by these routes of the engine's framework instead, in rows
    such as "limits/client/kept", without the overlap.
    Raises ArgumentError, DeviceUnavailable.
    """
    device = opened(device)
    positive("budget", budget)
    most = count("most", most)
    environment = info(device)
    devices: dict[str, Device | DeviceUnavailable] = {"": device}
    if route is not None:
        devices = _by_route(device, route)
        environment.properties["route"] = " and ".join(devices)
    counts = len(_COUNTS) * len(devices)
    share = budget * (1 - _OVERLAP_SHARE * (route is None)) / counts
    parts = _Parts(len(devices) * len((*_COUNTS, *_TIMES)) + (route is None), reporter(progress))
    notes: tuple[str, ...] = ()
    for name, opened_device in devices.items():
        for part in _COUNTS:
            where = f"{name}/{part}" if name else part
            if isinstance(opened_device, DeviceUnavailable):
                unavailable = Measured("unsupported", str(opened_device))
                parts.finish([_row(each, unavailable) for each in _rows_of(where)])
                continue
            outcome = parts.run(
                opened_device, where, share, count_programs, where=where, keep=part == "kept", most=most
            )
            notes += () if outcome.result is None else outcome.result.notes
            parts.finish(_counted(where, outcome))
    if route is None:
        outcome = parts.run(device, "overlap", _OVERLAP_SHARE * budget, overlap)
        lost = Measured(outcome.status_of_lost, outcome.failure)
        parts.finish(list(outcome.rows) or [_row("overlap", lost)])
    return Result(probe="limits", environment=environment, rows=tuple(parts.rows), notes=notes)


def count_released(device: Device, *, budget: float, progress: ProgressCallback) -> tuple[Row, str]:
    """Count the programs that a process compiles if it unloads each: the row, and the last one's refusal."""
    where = "released"
    parts = _Parts(1, progress)
    outcome = parts.run(device, where, budget, count_programs, where=where, keep=False, most=_MOST)
    notes = () if outcome.result is None else outcome.result.notes
    (row,) = _counted(where, outcome)
    return row, " ".join(note.partition(": ")[2] for note in notes)


def _by_route(device: Device, route: str) -> dict[str, Device | DeviceUnavailable]:
    """Return the Neural Engine by each route that is asked for, or why it does not open by it."""
    if route not in (*ROUTES, _BOTH):
        raise ArgumentError(f"no route is called {shown(route)}: choose {', '.join(ROUTES)} or {_BOTH}")
    if device.info()["kind"] != "ane":
        raise ArgumentError("a route is for the Neural Engine; the emulator has none")
    devices: dict[str, Device | DeviceUnavailable] = {}
    for name in ROUTES if route == _BOTH else (route,):
        try:
            devices[name] = open_device("ane", route=name, compile_timeout=compile_timeout_of(device))
        except DeviceUnavailable as error:
            devices[name] = error
    return devices


class _Parts:
    """The parts of the probe, each in a child process with a share of the budget, and the rows so far."""

    def __init__(self, total: int, report: ProgressCallback) -> None:
        self.rows: list[Row] = []
        self._total = total
        self._report = report
        self._blocked = False

    def run(
        self, device: Device, part: str, share: float, function: Callable[..., Result], **arguments: Any
    ) -> Outcome:
        """Run a part, unless no compile ends any more, and report what it is doing."""
        self._report(Progress(len(self.rows), self._total, part))
        if self._blocked:
            return Outcome((), failure=NOT_TRIED)
        # The emulator has the engine's limit, as part of what it emulates. The engine shows its own.
        hard = CompileBudget().hard if device.info()["kind"] == "emulator" else _NO_LIMIT
        quiet_limit = _QUIET_S + compile_timeout_of(device)
        outcome = run_in_child(
            function,
            device,
            time_limit=share + quiet_limit,
            quiet_limit=quiet_limit,
            compile_budget=CompileBudget(_NO_LIMIT, hard),
            progress=lambda at: self._report(Progress(len(self.rows), self._total, f"{part}: {at.doing}")),
            budget=share,
            **arguments,
        )
        self._blocked = outcome.blocked
        return outcome

    def finish(self, rows: list[Row]) -> None:
        """Add rows and report each."""
        for row in rows:
            self.rows.append(row)
            self._report(Progress(len(self.rows), self._total, "", row))


def _rows_of(where: str) -> list[str]:
    """Return the names of the rows of a count: that of the kept programs has their times too."""
    route, slash, part = where.rpartition("/")
    return [where, *(f"{route}{slash}{time}" for time in _TIMES if part == "kept")]


def _row(name: str, measured: Measured) -> Row:
    return measured.row(f"limits/{name}", {"limit": name})


def _counted(where: str, outcome: Outcome) -> list[Row]:
    """Return the rows of a child that counted; the last report of a child that died holds its count."""
    if outcome.result is not None:
        return list(outcome.rows)
    _, *times = _rows_of(where)
    lost = [_row(name, Measured("error", f"lost with the process: {outcome.failure}")) for name in times]
    if not outcome.doing.isdecimal() or outcome.expired:
        return [_row(where, Measured(outcome.status_of_lost, outcome.failure)), *lost]
    ending = f"the process did not survive the next: {outcome.failure}"
    return [_row(where, _programs(int(outcome.doing), ending)), *lost]


def _programs(number: int, ending: str, **metrics: float) -> Measured:
    return Measured("ok", params={"ending": ending}, metrics={"programs": number, **metrics})


def count_programs(
    device: Device, *, where: str, keep: bool, most: int, budget: float, progress: ProgressCallback
) -> Result:
    """Compile small programs, no two alike, until one is refused, `most` are made or `budget` is spent."""
    end = time.perf_counter() + budget
    kept: list[Program] = []
    compile_ns, load_ns = [], []
    ending = f"none was refused of {most}"
    notes: tuple[str, ...] = ()
    warm = 0
    for number in itertools.count():
        progress(Progress(number, most, str(number)))
        if number == _WARM_UP:
            warm = peak_memory()
        if number == most:
            break
        if time.perf_counter() > end:
            ending = f"none was refused of {number} in the time given"
            break
        try:
            program = _small(number).compile(device)
            _check(program)
        except REFUSALS as refusal:
            ending, notes = "the next was refused", (f"{where}: {refusal}",)
            break
        compile_ns.append(program.stats.compile_ns)
        load_ns.append(program.stats.load_ns)
        kept.append(program)
        if not keep:
            kept.pop().unload()
    growth = {"bytes_each": (peak_memory() - warm) / (number - _WARM_UP)} if number > _WARM_UP else {}
    counted, *times = _rows_of(where)
    rows = [_row(counted, _programs(number, ending, **growth))]
    rows += [_timed(name, ns) for name, ns in zip(times, (compile_ns, load_ns), strict=False)]
    return Result(probe="limits", environment=info(device), rows=tuple(rows), notes=notes)


def _small(number: int) -> mil.Program:
    """Return a program with a text and a weight that belong to this number alone: y = w x.

    Equal texts were seen to count once, whatever their weights are (source: notes of a Qwen port, M5 Max).
    """
    weight = np.eye(_CHANNELS, dtype=np.float16)[:, :, None, None] * np.float16(1 + number / 1024)
    b = mil.Builder()
    b.output(f"y{number}", mil.conv(b.input("x", (1, _CHANNELS, 1, 64)), weight))
    return b.build()


def _check(program: Program) -> None:
    """Run the program: one that does not run does not count."""
    (y,) = program.run(x=np.ones((1, _CHANNELS, 1, 64), np.float16)).values()
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
