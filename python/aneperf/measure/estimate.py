"""An estimate with its interval, and the ratio of two medians."""

import math
import sys
from dataclasses import dataclass
from typing import Protocol

from ..errors import ArgumentError


class HasInterval(Protocol):
    """Something with a median and its 95 % interval: `Statistics`, or a `Row`."""

    @property
    def median(self) -> float | None:
        """Return the median, in any unit."""

    @property
    def ci_low(self) -> float | None:
        """Return the lower end; None without an interval."""

    @property
    def ci_high(self) -> float | None:
        """Return the upper end; None without an interval."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; `ci_low` and `ci_high` are None where that is not known."""

    value: float
    ci_low: float | None
    ci_high: float | None

    def excludes(self, value: float) -> bool:
        """Return whether the interval is known and does not hold `value`."""
        return (
            self.ci_low is not None and self.ci_high is not None and not self.ci_low <= value <= self.ci_high
        )

    def is_above(self, value: float) -> bool:
        """Return whether the interval is known and lies above `value`."""
        return self.ci_low is not None and self.ci_low > value

    def is_below(self, value: float) -> bool:
        """Return whether the interval is known and lies below `value`."""
        return self.ci_high is not None and self.ci_high < value

    def as_factor(self) -> str:
        """Write a ratio with its interval: 1.02x [1.01, 1.03]."""
        if self.ci_low is None or self.ci_high is None:
            return f"{self.value:.3g}x, without an interval,"
        return f"{self.value:.3g}x [{self.ci_low:.3g}, {self.ci_high:.3g}]"


def ratio(numerator: HasInterval, denominator: HasInterval) -> Estimate:
    """Return the ratio of two medians, from the smallest to the largest that their intervals allow.

    It excludes 1 exactly if the intervals do not meet. That is wider than 95 %, because two runs on one
    machine differ by more than either of them shows. Raises ArgumentError for a median that is unknown or 0,
    and for two that are too far apart for a float.
    """
    if not _known(denominator):
        raise ArgumentError("a median of 0 has no ratio: the clock is too coarse for the calls")
    value = _known(numerator) / _known(denominator)
    if not math.isfinite(value):
        raise ArgumentError(f"{_known(numerator)} and {_known(denominator)} are too far apart for a ratio")
    ends = (numerator.ci_low, numerator.ci_high, denominator.ci_low, denominator.ci_high)
    if ends[0] is None or ends[1] is None or not ends[2] or ends[3] is None:
        return Estimate(value, None, None)
    low, high = ends[0] / ends[3], ends[1] / ends[2]
    return Estimate(value, low, high) if math.isfinite(high) else Estimate(value, None, None)


def exponential(center: float, half: float) -> Estimate:
    """Return e^center with the interval from e^(center - half) to e^(center + half), if a float holds it."""
    if center + half > math.log(sys.float_info.max):
        return Estimate(math.exp(center), None, None)
    return Estimate(math.exp(center), math.exp(center - half), math.exp(center + half))


def _known(figure: HasInterval) -> float:
    if figure.median is None:
        raise ArgumentError("the median is unknown")
    return figure.median
