"""Sustained throughput: one stack under a continuous load, and how its speed changes."""

import time
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .._ane_native import Device
from ..checks import positive, shown
from ..device import info, opened
from ..errors import REFUSALS, ArgumentError
from ..kernels.conv_stack import ConvStack
from ..measure import BATCH_S, analyze, ratio, summarize
from ..power import Meter, Unavailable
from ..results import Result, Row
from ..runner.case import Case, stack_case
from ..runner.energy import meter_of, with_energy
from ..runner.measured import Measured, refused
from ..runner.progress import Progress, ProgressCallback, reporter
from ..runner.run import compile_notes
from ..runner.timing import Clock, Loaded
from .peak import PORT_NOTES

STACK = ConvStack(channels=512, depth=128, width=2048)  # the published sweep's fastest
INTERVALS = 10
_NOTABLE = 0.02
_LEAST = 6  # calls in a third of the load: fewer have no interval
_BARS = "▁▂▃▄▅▆▇█"


def sustained(
    device: Device | str | None = None,
    *,
    seconds: float = 5.0,
    budget: float | None = None,
    energy: bool = False,
    stack: ConvStack = STACK,
    ports: Literal["fp32", "fp16"] | None = None,
    progress: ProgressCallback | None = None,
    clock: Clock = time.perf_counter,
) -> Result:
    """Evaluate a stack without pause for `seconds`, and report its throughput in ten intervals.

    `budget`, in seconds of `clock`, includes building and compiling, and shortens the load if need be. The
    output is checked after the load. Keys: "sustained/conv512x128/sp2048/fp32-ports" for all of it, and
    ".../01" to ".../10" for the intervals, whose params hold "start_s" and "end_s". Notes say whether it
    slowed down. With `energy`, the row of all of it has the power above idle, or why it is unknown: before
    the load nothing runs for some seconds, then a known load, and the load lasts as long as the power needs.
    An interrupt is raised again after the finished intervals were reported to `progress`.
    Raises ArgumentError, DeviceUnavailable.
    """
    positive("seconds", seconds)
    if budget is not None:
        positive("budget", budget)
    if not isinstance(stack, ConvStack):
        raise ArgumentError(f"stack must be a ConvStack, not {shown(stack)}")
    case = stack_case("sustained", stack if ports is None else replace(stack, port_dtype=ports))
    device = opened(device)
    environment = info(device)
    report = reporter(progress)
    meter = meter_of(device, report, clock) if energy else None
    if meter is not None:
        seconds = max(seconds, meter.span_s)
    start = clock()
    report(Progress(0, INTERVALS + 1, case.name))
    load = _Load(seconds, report, case.name, clock, meter)
    try:
        with Loaded(device, case, clock) as loaded:
            load.run(loaded, seconds if budget is None else min(seconds, budget - (clock() - start)))
            rows, notes = load.conclude(case, loaded)
    except REFUSALS as refusal:
        rows, notes = [case.row(refused(refusal))], []
    for place, row in enumerate(rows):
        report(Progress(INTERVALS + 1 - len(rows) + place + 1, INTERVALS + 1, "", row))
    if load.interrupt:
        raise load.interrupt
    return Result(
        probe="sustained",
        environment=environment,
        rows=tuple(rows),
        notes=(*notes, PORT_NOTES[str(case.params["ports"])], *compile_notes(rows)),
    )


class _Load:
    """Calls made one after the other, and the time at which each ended."""

    def __init__(
        self, seconds: float, report: ProgressCallback, name: str, clock: Clock, meter: Meter | None
    ) -> None:
        self.interrupt: KeyboardInterrupt | None = None
        self._interval_s = seconds / INTERVALS
        self._report = report
        self._name = name
        self._clock = clock
        self._meter = meter
        self._durations: list[NDArray[np.int64]] = []
        self._ends: list[NDArray[np.float64]] = []  # s since the first call began

    def run(self, loaded: Loaded, seconds: float) -> None:
        """Call for that long, at least once. An interrupt ends the load and is kept."""
        start, count = self._clock(), 1
        meter = self._meter or Unavailable("it was not asked for")
        meter.begin()
        try:
            while True:
                began = self._clock() - start
                batch = loaded.run(count)
                self._durations.append(batch)
                self._ends.append(np.asarray(began + np.cumsum(batch) * 1e-9))
                meter.poll()
                elapsed = self._clock() - start
                if elapsed >= seconds:
                    return
                done = min(int(elapsed / self._interval_s), INTERVALS)
                self._report(Progress(done, INTERVALS + 1, f"{self._name}, {elapsed:.1f} s"))
                typical_s = max(float(np.median(batch)) * 1e-9, 1e-6)
                turn_s = min(BATCH_S, self._interval_s, seconds - elapsed)
                count = max(1, min(round(turn_s / typical_s), 10 * count))
        except KeyboardInterrupt as interrupt:
            if not self._durations:
                raise
            self.interrupt = interrupt
        finally:
            meter.end()

    @property
    def durations(self) -> NDArray[np.int64]:
        """Return the duration of every call [n], in ns."""
        return np.concatenate(self._durations)

    def conclude(self, case: Case, loaded: Loaded) -> tuple[list[Row], list[str]]:
        """Return the row of all calls, one for each interval in which a call ended, and notes."""
        whole = loaded.judge(analyze(self.durations))
        places = self._places()
        rows = [
            self._row(case, place, self.durations[places == place], whole)
            for place in sorted(set(places.tolist()))
        ]
        first = case.row(whole)
        if self._meter is not None and whole.status == "ok":
            gflop = case.kernel.flops / 1e9
            first = with_energy(first, self._meter.energy(len(self.durations), gflop=gflop))
        return [first, *rows], self.verdict() if whole.status == "ok" else []

    def _row(self, case: Case, place: int, durations: NDArray[np.int64], whole: Measured) -> Row:
        times = summarize(durations * 1e-6)
        start_s, end_s = place * self._interval_s, (place + 1) * self._interval_s
        is_ok = whole.status == "ok" and times.mean > 0
        measured = Measured(
            whole.status,
            whole.reason,
            statistics=times,
            metrics={"tflops": case.kernel.flops / (times.mean * 1e9)} if is_ok else {},
            params={"config": f"{start_s:.4g} to {end_s:.4g} s", "start_s": start_s, "end_s": end_s},
        )
        return measured.row(f"{case.key}/{place + 1:02}", case.params)

    def verdict(self) -> list[str]:
        """Describe throughput over time, and compare its last third with its first."""
        durations, places = self.durations, self._places()
        rates = [1 / durations[places == place].mean() for place in sorted(set(places.tolist()))]
        slowest, fastest = min(rates), max(rates)
        bars = "".join(_BARS[round((len(_BARS) - 1) * rate / fastest)] for rate in rates)
        shape = (
            f"Throughput over time: {bars}. The slowest interval has {slowest / fastest:.0%} of the fastest."
        )
        third = len(durations) // 3
        if third < _LEAST:
            return [shape, f"{len(durations)} calls are too few to tell a trend: give more seconds."]
        change = ratio(summarize(durations[-third:]), summarize(durations[:third]))
        told = f"the last third's calls take {change.as_factor()} the first third's"
        if not change.excludes(1) or abs(change.value - 1) < _NOTABLE:
            return [shape, f"Steady: {told}."]
        if change.value < 1:
            return [shape, f"Sped up: {told}."]
        return [shape, f"Slowed down: {told}, by throttling or by other work on this machine."]

    def _places(self) -> NDArray[np.int64]:
        """Return the interval [n] in which each call ended; a call that overran belongs to the last one."""
        ends = np.concatenate(self._ends)
        return np.minimum(ends / self._interval_s, INTERVALS - 1).astype(np.int64)
