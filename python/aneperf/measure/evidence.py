"""How sure a difference is where few processes measured it, and in a table of many."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .contrast import Contrast, contrast
from .estimate import Estimate

# Too few processes or runs do not show what varies between them. Then medians are taken to have this relative
# standard deviation, as if 5 and 5 processes had shown it: 8 degrees of freedom. A spread that was seen is
# blended with it (Smyth 2004). docs/measurement.md says why 2 %.
ASSUMED_SPREAD = 0.02
_ASSUMED_FREEDOM = 8
_ENOUGH_FREEDOM = 4  # 3 and 3 processes


@dataclass(frozen=True)
class Evidence:
    """A contrast, and factors by which the ratio may be smaller or larger for reasons that no sample shows.

    `assumed` tells that the spread of the medians is assumed, and `pairs` how many pairs of processes took
    turns, if that gave the ratio.
    """

    contrast: Contrast
    assumed: bool
    pairs: int = 0
    smaller: float = 1.0
    larger: float = 1.0

    def estimate(self) -> Estimate:
        """Return the ratio with its 95 % interval."""
        found = self.contrast.estimate()
        if found.ci_low is None or found.ci_high is None or math.isinf(found.ci_high * self.larger):
            return Estimate(found.value, None, None)
        return Estimate(found.value, found.ci_low / self.smaller, found.ci_high * self.larger)

    def p_value(self, margin: float) -> float:
        """Return the chance of a ratio so far from 1, if the true one is within `margin` of it."""
        log_ratio = self.contrast.log_ratio
        nearest = log_ratio - math.log(self.smaller) if log_ratio > 0 else log_ratio + math.log(self.larger)
        if nearest * log_ratio <= 0:
            return 1.0
        return replace(self.contrast, log_ratio=nearest).p_value(margin)


def evidence(numerator: Sequence[float], denominator: Sequence[float], within: float) -> Evidence:
    """Return how sure the ratio of two sides is, from the medians > 0 of their runs or processes.

    `within` is the standard error of the ratio's logarithm by the calls of single processes alone. It counts
    where no replicates contain it.
    """
    sides = [np.log(np.asarray(side, dtype=np.float64)) for side in (numerator, denominator)]
    freedom = sum(side.size - 1 for side in sides)
    if freedom >= _ENOUGH_FREEDOM and (found := contrast(numerator, denominator)) is not None:
        # With as many medians on one side as on the other, Student's error equals Welch's, and Student's test
        # keeps its level although the spreads differ (Boneau 1960). With 3 medians a side that vary by 1 %,
        # in a table of 3 rows, it finds 10 % in 98 % of cases, and Welch's in 74 %.
        equal = sides[0].size == sides[1].size
        return Evidence(replace(found, freedom=freedom) if equal else found, assumed=False)
    squares = sum(float(((side - side.mean()) ** 2).sum()) for side in sides)
    variance = (_ASSUMED_FREEDOM * ASSUMED_SPREAD**2 + squares) / (_ASSUMED_FREEDOM + freedom)
    error = math.sqrt(variance * sum(1 / side.size for side in sides) + within**2)
    log_ratio = float(sides[0].mean() - sides[1].mean())
    return Evidence(Contrast(log_ratio, error, _ASSUMED_FREEDOM + freedom), assumed=True)


def discoveries(p_values: Sequence[float], rate: float) -> tuple[bool, ...]:
    """Tell for each test whether it found something (Benjamini and Hochberg 1995).

    At most the share `rate` of what is found is false, on average. Where nothing is there, that bounds the
    chance of any finding. It holds for independent tests, and for those that depend on each other positively
    (Benjamini and Yekutieli 2001).
    """
    passing = [p for rank, p in enumerate(sorted(p_values), 1) if p <= rate * rank / len(p_values)]
    return tuple(bool(passing) and p <= passing[-1] for p in p_values)
