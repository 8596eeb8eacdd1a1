"""Student's t distribution, for any positive number of degrees of freedom.

With T = sqrt(freedom) tan(a), the density of the angle a is proportional to cos(a)^(freedom - 1): a smooth
function on a finite interval, which trapezoids integrate.
"""

import math
from functools import lru_cache

import numpy as np

_POINTS = 2001
_MOST = 1e4  # degrees of freedom; the quantiles of more differ by less than 0.1 %


def student_tail(t: float, freedom: float) -> float:
    """Return the probability of |T| >= t, for t >= 0."""
    freedom = min(freedom, _MOST)
    return _area(math.atan2(t, math.sqrt(freedom)), freedom) / _area(0.0, freedom)


@lru_cache(maxsize=1024)
def student_quantile(confidence: float, freedom: float) -> float:
    """Return t with a probability of |T| <= t of `confidence`, below 1."""
    freedom = min(freedom, _MOST)
    low, high = 0.0, math.pi / 2
    for _ in range(50):
        middle = (low + high) / 2
        if _area(middle, freedom) > (1 - confidence) * _area(0.0, freedom):
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan(high)


def _area(angle: float, freedom: float) -> float:
    """Return the integral of cos^(freedom - 1) from `angle` to a right angle, or to where it is nothing."""
    end = min(math.pi / 2, angle + 10 / math.sqrt(freedom))
    heights = np.cos(np.linspace(angle, end, _POINTS)) ** (freedom - 1)
    return float((heights.sum() - (heights[0] + heights[-1]) / 2) * (end - angle) / (_POINTS - 1))
