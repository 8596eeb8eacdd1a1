"""Progress reports of a probe, and its time budget."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from .. import notebook
from ..checks import positive
from ..results import Environment, Row

MINIMUM_SHARE_S = 1e-3
NO_TIME = "the time budget was spent: give more seconds"


@dataclass(frozen=True)
class Progress:
    """A report: `done` of `total` rows are finished, `row` is the last one, and the probe is `doing` this.

    A `note` is for the reader, before the first row. The `environment` is that of the rows, where a device's
    own does not describe it.
    """

    done: int
    total: int
    doing: str
    row: Row | None = None
    note: str = ""
    environment: Environment | None = None


ProgressCallback = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Do nothing with a report."""


def reporter(progress: ProgressCallback | None) -> ProgressCallback:
    """Return the callback, or else one that draws a bar in a notebook and elsewhere does nothing."""
    if progress is not None:
        return progress
    bar = notebook.bar()
    return silent if bar is None else lambda step: bar.show(step.done, step.total, step.doing)


class Budget:
    """A time budget, split evenly: each part gets its share of the seconds that are left.

    Once `seconds` are spent, the parts that are left get the least share until `longest` seconds are.
    """

    def __init__(
        self,
        seconds: float,
        parts: int,
        clock: Callable[[], float] = time.perf_counter,
        *,
        longest: float = 0.0,
    ) -> None:
        self._parts = parts
        self._clock = clock
        start = clock()
        self._end = start + positive("budget", seconds)
        self._last = start + longest

    def next_share(self, parts: int = 1) -> float:
        """Return the seconds for the next parts; 0 once everything is spent."""
        now = self._clock()
        share = max(MINIMUM_SHARE_S if now < self._last else 0.0, (self._end - now) * parts / self._parts)
        self._parts -= parts
        return share
