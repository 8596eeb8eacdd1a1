"""Student's t distribution, for any positive number of degrees of freedom."""

import math
from functools import lru_cache

_MOST = 1e4  # degrees of freedom; the quantiles of more differ by less than 0.1 %
_STEPS = 60  # of bisection, after which floats end


def student_tail(t: float, freedom: float) -> float:
    """Return the probability of |T| >= t, for t >= 0."""
    freedom = min(freedom, _MOST)
    return _beta_share(freedom / (freedom + t * t), freedom / 2, 0.5)


@lru_cache(maxsize=1024)
def student_quantile(confidence: float, freedom: float) -> float:
    """Return t with a probability of |T| <= t of `confidence`, below 1."""
    low, high = 0.0, math.pi / 2  # of the angle whose tangent is t / sqrt(freedom)
    freedom = min(freedom, _MOST)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _beta_share(math.cos(middle) ** 2, freedom / 2, 0.5) > 1 - confidence:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan(high)


def _beta_share(x: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b) by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return min(1.0, max(0.0, x))
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly
        return 1 - _beta_share(1 - x, b, a)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    fraction = 1.0
    for term in range(20 + 2 * math.isqrt(math.ceil(max(a, b))), 0, -1):
        m = term // 2
        if term % 2:
            factor = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            factor = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        fraction = 1 + factor / fraction
    return math.exp(scale) / (a * fraction)
