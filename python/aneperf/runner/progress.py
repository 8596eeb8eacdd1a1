"""What every probe shares: a time budget and reports of progress."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..checks import positive
from ..results import Row


@dataclass(frozen=True)
class Step:
    """Progress: `done` of `total` rows are finished, `row` being the last of them; now `doing`."""

    done: int
    total: int
    doing: str
    row: Row | None = None


Progress = Callable[[Step], None]
NO_TIME = "the time budget was spent: give more seconds"


class Budget:
    """Seconds shared out evenly: each part gets its share of what the parts before it left over."""

    def __init__(self, seconds: float, parts: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._parts = parts
        self._clock = clock
        self._end = clock() + positive("budget", seconds)

    def next_share(self, parts: int = 1) -> float:
        """Seconds for the next parts; 0 once everything is spent."""
        share = max(0.0, self._end - self._clock()) * parts / self._parts
        self._parts -= parts
        return share
