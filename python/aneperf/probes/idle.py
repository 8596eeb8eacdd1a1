"""Idle: what the first call after a pause costs, by the length of the pause."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

import numpy as np

from .._ane_native import Device
from ..checks import positive, shown
from ..device import info, opened
from ..errors import REFUSALS, ArgumentError
from ..kernels.conv_stack import ConvStack
from ..measure import analyze, summarize
from ..results import Environment, Result, Row
from ..runner.case import Case, stack_case
from ..runner.measured import Measured, Params, doubt_of, refused
from ..runner.progress import Progress, ProgressCallback, reporter
from ..runner.timing import Clock, Loaded
from .registry import default_budget

# An M6's engine slows its clock within 0.15 s, is off from 5.7 s on, and wakes by itself at 10.2 s (751K).
PAUSES = (0.1, 0.3, 1.0, 3.0, 5.0, 7.0, 9.0, 12.0)
STACK = ConvStack(channels=512, depth=32, port_dtype="fp16")
LONGEST_S = 60.0
_STEADY_S = 0.25  # of calls before a pause, by whose last half the first one after it is judged
_MOST_ROUNDS = 9
_MOST_CALLS = 1_000
_NOTABLE = 2.0  # times a steady call
_DANGER = (
    "not tried: before macOS 27, an M3 Ultra whose engine got a request in its power transition, 5 s after "
    "the last one, panicked minutes later (source: loading-awesome/MiniMax-H3-Swift); --even-on-ultra pauses "
    "all the same"
)


def idle(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("idle"),
    pauses: Sequence[float] = PAUSES,
    even_on_ultra: bool = False,
    progress: ProgressCallback | None = None,
    clock: Clock = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Time the first call after pauses of 0.1 to 12 s, and a steady one before each.

    The budget, in seconds of `clock`, bounds the sum of the pauses: every pause that fits is taken once, the
    short ones first, and then again as often as they fit. A row's median is that of the first calls; its
    metrics hold "steady_ms", "second_ms", "extra_ms", what the first call takes more, and "times_steady", the
    median of what each takes by the steady calls before it.
    Keys: "idle/0.1 s". Notes hold the verdict. On an Ultra before macOS 27 pauses were followed by kernel
    panics: there the rows are skipped unless `even_on_ultra`.
    Raises ArgumentError, DeviceUnavailable.
    """
    positive("budget", budget)
    device = opened(device)
    environment = info(device)
    report = reporter(progress)
    run = _Pauses(_checked(pauses), clock, sleep, report)
    if is_dangerous(environment) and not even_on_ultra:
        found = dict.fromkeys(run.pauses, Measured("skipped", _DANGER))
    else:
        found = run.measure(device, stack_case("idle", STACK), budget)
    rows = [_row(pause, measured) for pause, measured in found.items()]
    for done, row in enumerate(rows):
        report(Progress(done + 1, len(rows), "", row))
    is_timed = any(row.status == "ok" for row in rows)
    notes = [*doubt_of(environment), judge_pauses(rows)] if is_timed else []
    if environment.is_software:
        notes.insert(
            0, f"The {environment.device} has no power states: the CPU's caches and clocks cool down."
        )
    return Result(probe="idle", environment=environment, rows=tuple(rows), notes=tuple(notes))


def is_dangerous(environment: Environment) -> bool:
    """Tell whether pauses were followed by kernel panics on such a machine: an Ultra before macOS 27."""
    if environment.is_software or "ultra" not in environment.chip.lower():
        return False
    told = f"{environment.properties.get('weight files', '')} {environment.os}"  # the kernel's version first
    version = re.search(r"macOS (\d+)", told)
    return version is None or int(version[1]) < 27


def _checked(pauses: Sequence[float]) -> list[float]:
    if isinstance(pauses, str) or not isinstance(pauses, Sequence) or not pauses:
        raise ArgumentError(f"pauses must be a list of seconds, not {shown(pauses)}")
    if (longest := max(positive("pauses", pause) for pause in pauses)) > LONGEST_S:
        raise ArgumentError(f"a pause takes at most {LONGEST_S:g} s, not {longest:g}")
    return sorted(set(map(float, pauses)))


def _row(pause: float, measured: Measured) -> Row:
    params: Params = {"config": f"after {pause:g} s", "pause_s": pause}
    return measured.row(f"idle/{pause:g} s", params)


class _Pauses:
    """Rounds of pauses on one program."""

    def __init__(
        self,
        pauses: Sequence[float],
        clock: Clock,
        sleep: Callable[[float], None],
        report: ProgressCallback,
    ) -> None:
        self.pauses = pauses
        self._clock = clock
        self._sleep = sleep
        self._report = report
        self._calls: dict[float, list[tuple[int, int, float]]] = {pause: [] for pause in pauses}
        self._retried = dict.fromkeys(pauses, 0)

    def measure(self, device: Device, case: Case, budget: float) -> dict[float, Measured]:
        """Return what the first call after each pause takes."""
        end = self._clock() + budget
        try:
            with Loaded(device, case, self._clock) as loaded:
                for done in range(_MOST_ROUNDS):
                    if not self._round(loaded, done, end):
                        break
                wrong = loaded.judge(analyze(loaded.run(1))).reason
        except REFUSALS as refusal:
            return dict.fromkeys(self.pauses, refused(refusal))
        if wrong:
            return dict.fromkeys(self.pauses, Measured("error", wrong))
        return {pause: self._conclude(pause, budget) for pause in self.pauses}

    def _round(self, loaded: Loaded, number: int, end: float) -> bool:
        """Take every pause that fits once; tell whether one did."""
        fitted = False
        for pause in self.pauses:
            if self._clock() + pause + _STEADY_S > end:
                break
            self._report(Progress(0, len(self.pauses), f"round {number + 1}, {pause:g} s"))
            steady = self._steady(loaded)
            self._sleep(pause)
            before = loaded.program.stats.retried_evaluations or 0
            first, second = (int(loaded.run(1)[0]) for _ in range(2))
            self._calls[pause].append((first, second, steady))
            self._retried[pause] += (loaded.program.stats.retried_evaluations or 0) - before
            fitted = True
        return fitted

    def _steady(self, loaded: Loaded) -> float:
        """Call without a pause, and return the median of the last half, in ns."""
        call_s = max(float(loaded.run(1)[0]) * 1e-9, 1e-6)
        calls = loaded.run(max(4, min(round(_STEADY_S / call_s), _MOST_CALLS)))
        return float(np.median(calls[len(calls) // 2 :]))

    def _conclude(self, pause: float, budget: float) -> Measured:
        if not self._calls[pause]:
            reason = f"a budget of {budget:g} s has no room for it: the shorter pauses come first"
            return Measured("skipped", reason)
        calls = np.array(self._calls[pause]) * 1e-6  # ms
        times = summarize(calls[:, 0])
        second, steady = (float(np.median(calls[:, column])) for column in (1, 2))
        metrics = {"second_ms": second, "steady_ms": steady, "extra_ms": times.median - steady}
        if self._retried[pause]:
            metrics["retried_evaluations"] = float(self._retried[pause])
        if calls[:, 2].min() > 0:
            own = calls[:, 0] / calls[:, 2]  # each by the steady calls just before it
            metrics |= {"times_steady": float(np.median(own)), "least_times_steady": float(own.min())}
        return Measured("ok", statistics=times, metrics=metrics)


def judge_pauses(rows: Sequence[Row]) -> str:
    """Say after which pause a first call is notably slower, each time, and what the slowest costs."""
    timed = [row for row in rows if row.status == "ok" and "times_steady" in row.metrics]
    slow = [row for row in timed if row.metrics["least_times_steady"] >= _NOTABLE]
    if not slow:
        return (
            f"No pause that was tried ({len(timed)}) made every first call take {_NOTABLE:g} times a steady "
            "one or more."
        )
    first, worst = slow[0], max(slow, key=lambda row: row.metrics["extra_ms"])
    told = " and ".join(dict.fromkeys(_told(row) for row in (first, worst)))
    return f"A first call takes {told}: {worst.metrics['extra_ms']:.3g} ms more."


def _told(row: Row) -> str:
    pauses = "one pause" if row.n == 1 else f"{row.n} pauses"
    return f"{row.metrics['times_steady']:.2g} times a steady one {row.params['config']} ({pauses})"
