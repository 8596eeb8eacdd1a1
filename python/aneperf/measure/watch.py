"""Watch whether other processes take the CPU while calls are timed, as the operating system counts it."""

import os
import resource
import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .loop import Run
from .trace import UNSETTLED, UNTRUSTED, is_unsettled

PREEMPTED = "preempted"
DOUBTFUL = UNTRUSTED | {PREEMPTED}  # flags that another run may give another median
# A scheduler takes the CPU from a thread for some milliseconds at a time: 50 times in a second cost it a
# tenth or more. The short work of a kernel on a quiet machine interrupts less often.
_MOST_SWITCHES_PER_S = 50
_LEAST_SWITCHES = 10  # fewer are chance in a short measurement


class Watch:
    """A `run`, watched: it makes the calls, and adds up what they cost this process."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._start_over()

    def __call__(self, count: int) -> NDArray[np.int64]:
        """Make the calls."""
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        try:
            return self._run(count)
        finally:
            after = resource.getrusage(resource.RUSAGE_SELF)
            self._wall_s += time.perf_counter() - start
            self._cpu_s += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            self._switches += after.ru_nivcsw - before.ru_nivcsw

    def take(self) -> dict[str, float]:
        """Return what was seen since the last call, as a row's metrics.

        "calls_s" and "cpu_s" are the time of the calls by the clock and on all cores, "preemptions" how often
        a thread lost its core to other work, and "load_average" the machine's runnable threads over the last
        minute.
        """
        seen = {"calls_s": self._wall_s, "cpu_s": self._cpu_s, "preemptions": float(self._switches)}
        self._start_over()
        if (load := load_average()) is not None:
            seen["load_average"] = load
        return seen

    def _start_over(self) -> None:
        self._wall_s = self._cpu_s = 0.0
        self._switches = 0


def is_preempted(seen: Mapping[str, float]) -> bool:
    """Tell whether other work took the CPU so often that the times are those of a busy machine."""
    switches = seen.get("preemptions", 0)
    return switches >= max(_LEAST_SWITCHES, _MOST_SWITCHES_PER_S * seen.get("calls_s", 0))


def flags_of(seen: Mapping[str, float]) -> tuple[str, ...]:
    """Return the flags that a row's metrics give, and its durations do not."""
    flags = {UNSETTLED: is_unsettled(seen.get("loaded_s")), PREEMPTED: is_preempted(seen)}
    return tuple(flag for flag, raised in flags.items() if raised)


def load_average() -> float | None:
    """Return the number of runnable threads over the last minute, if the system tells."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None
