"""Two sets of medians, one for each process or run: their ratio, how sure it is, and a test of it.

Calls of one process are alike, and differ from those of the next: memory lies elsewhere, threads sit on
other cores, the machine does other things. A process is therefore one observation. Its median, which holds
the noise of its calls, is compared on a logarithmic scale, where a ratio's interval is symmetric. The two
sides may spread differently (Welch 1947).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .estimate import Estimate, exponential
from .statistics import CONFIDENCE
from .student import student_quantile, student_tail

# Processes, or pairs of them: fewer leave one degree of freedom, and an interval that says nothing.
LEAST_PROCESSES = 3
# Equal code in two processes is sometimes apart by 5 to 10 %, for as long as they live. A fifth of the pairs
# is left out at either end, so that one such pair in ten does not hide a difference of 5 %. Of fewer than ten
# pairs too few would stay.
TRIMMED, _LEAST_TO_TRIM = 0.2, 10


@dataclass(frozen=True)
class Contrast:
    """The logarithm of a ratio, its standard error, and Student's degrees of freedom of that error."""

    log_ratio: float  # natural logarithm
    standard_error: float
    freedom: float  # degrees of freedom

    def estimate(self, confidence: float = CONFIDENCE) -> Estimate:
        """Return the ratio with its interval."""
        half = student_quantile(confidence, self.freedom) * self.standard_error
        return exponential(self.log_ratio, half)

    def p_value(self, margin: float = 0.0) -> float:
        """Return the chance of a ratio so far from 1, if the true one is within `margin` of it.

        That is from 1 / (1 + margin) to 1 + margin. Either direction counts.
        """
        beyond = abs(self.log_ratio) - math.log1p(margin)
        if self.standard_error == 0 or beyond <= 0:
            return 0.0 if beyond > 0 else 1.0
        return student_tail(beyond / self.standard_error, self.freedom)


def contrast(changed: Sequence[float], base: Sequence[float]) -> Contrast | None:
    """Contrast the medians of two sides, changed over base; one median for each process or run.

    A side with one median is taken to spread as the other does. None if both have one, or one is 0: nothing
    is known then of what varies.
    """
    sides = [np.asarray(side, dtype=np.float64) for side in (changed, base)]
    if not all(side.size and (side > 0).all() for side in sides) or max(side.size for side in sides) < 2:
        return None
    logs = [np.log(side) for side in sides]
    log_ratio = float(logs[0].mean() - logs[1].mean())
    spreads = [float(side.var(ddof=1)) for side in logs if side.size > 1]
    if len(spreads) == 1:
        sizes = [side.size for side in logs]
        error = math.sqrt(spreads[0] * (1 / sizes[0] + 1 / sizes[1]))
        return Contrast(log_ratio, error, max(sizes) - 1)
    parts = [spread / side.size for spread, side in zip(spreads, logs, strict=True)]
    total = sum(parts)
    freedoms = [part**2 / (side.size - 1) for part, side in zip(parts, logs, strict=True)]
    freedom = total**2 / sum(freedoms) if total else float(sum(side.size - 1 for side in logs))
    return Contrast(log_ratio, math.sqrt(total), freedom)


def contrast_of_ratios(times: Sequence[float]) -> Contrast | None:
    """Contrast two sides by the ratios > 0 of their times that pairs of processes gave: base over changed.

    Each pair is an observation: Student's test on the logarithms, from ten pairs on of their trimmed mean
    (Tukey and McLaughlin 1963). None for fewer than three pairs.
    """
    logs = np.sort(-np.log(np.asarray(times, dtype=np.float64)))
    if logs.size < LEAST_PROCESSES:
        return None
    cut = int(TRIMMED * logs.size) if logs.size >= _LEAST_TO_TRIM else 0
    kept = logs[cut : logs.size - cut]
    winsorized = np.clip(logs, kept[0], kept[-1])
    squares = float(((winsorized - winsorized.mean()) ** 2).sum())
    error = math.sqrt(squares / (kept.size * (kept.size - 1)))
    return Contrast(float(kept.mean()), error, kept.size - 1)
