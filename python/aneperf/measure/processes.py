"""One kernel timed in several processes: statistics in which what varies between processes counts.

The levels are processes, then calls (Kalibera and Jones 2013, Rigorous Benchmarking in Reasonable Time). A
process gives one observation, the median of its calls, and the interval is Student's over the logarithms of
these: the variance between observations holds that of the processes, and that of the calls within them. Each
process has the same weight, however many calls it made.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .estimate import Estimate, exponential
from .statistics import CONFIDENCE, Statistics
from .student import student_quantile
from .trace import FEW_SAMPLES, Sample

_OF_ONE_PROCESS = frozenset({"few samples", "correlated", "noisy"})  # they do not tell of the joined interval


@dataclass(frozen=True)
class Joined:
    """The statistics of a kernel that several processes measured, and the median of each in ms."""

    statistics: Statistics
    medians: tuple[float, ...]
    published_mean: float | None
    flags: tuple[str, ...]


def join(samples: Sequence[Sample], *, relative_half_width: float = 0.02) -> Joined:
    """Join the samples of two or more processes.

    The median, p05 and p95 are the geometric means of the processes' own, and the mean is the mean of theirs.
    A flag of a trace stays if at least half of the processes raise it. "few samples" tells of all calls,
    "noisy" of the joined interval, and "correlated" of none: the interval does not rest on it.
    """
    parts = [sample.statistics for sample in samples]
    medians = tuple(part.median for part in parts)
    median = geometric_mean(medians)
    joined = Statistics(
        n=sum(part.n for part in parts),
        effective=len(parts),
        median=median.value,
        mean=math.fsum(part.mean for part in parts) / len(parts),
        p05=geometric_mean([part.p05 for part in parts]).value,
        p95=geometric_mean([part.p95 for part in parts]).value,
        ci_low=median.ci_low,
        ci_high=median.ci_high,
    )
    width = joined.relative_half_width
    known = [sample.published_mean for sample in samples if sample.published_mean is not None]
    raised = [flag for sample in samples for flag in sample.flags if flag not in _OF_ONE_PROCESS]
    flags = [flag for flag in dict.fromkeys(raised) if 2 * raised.count(flag) >= len(samples)]
    flags += ["few samples"] * (joined.n < FEW_SAMPLES)
    flags += ["noisy"] * (width is None or width > relative_half_width)
    return Joined(
        statistics=joined,
        medians=medians,
        published_mean=math.fsum(known) / len(known) if len(known) == len(samples) else None,
        flags=tuple(flags),
    )


def geometric_mean(values: Sequence[float]) -> Estimate:
    """Return the geometric mean of processes' values >= 0 with its 95 % interval.

    One process has no interval, nor have values with a 0 among them or too far apart for a float.
    """
    if min(values) <= 0:
        return Estimate(0.0, None, None)
    logs = [math.log(value) for value in values]
    center = math.fsum(logs) / len(logs)
    if len(logs) < 2:
        return Estimate(math.exp(center), None, None)
    variance = math.fsum((log - center) ** 2 for log in logs) / (len(logs) - 1)
    half = student_quantile(CONFIDENCE, len(logs) - 1) * math.sqrt(variance / len(logs))
    return exponential(center, half)
