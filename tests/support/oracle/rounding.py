"""How near to the true value a result in fp16 must be."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Halves = NDArray[np.float16]

UNIT = 2.0**-24  # the relative error of one fp32 rounding
ELEMENTARY = 8 * UNIT  # of an elementary function in fp32
POWER = 16 * UNIT  # of pow, whose argument to exp2 is large

OVERFLOW = 65520.0  # what is nearer to 65536 than to 65504 is infinite
REDUCTION_OVERFLOW = 65504.004  # the engine's reductions: anything past 65504


class Expected(NamedTuple):
    """The true value, and a bound on the error of computing it in fp32."""

    value: Array
    error: Array


def spacing(x: Array) -> Array:
    """Return the distance between fp16 numbers at |x|; that of subnormals is the least normals'."""
    _, exponent = np.frexp(np.where(np.isfinite(x), x, 0.0))
    return np.ldexp(1.0, np.maximum(exponent - 1, -14) - 10)


@np.errstate(all="ignore")
def rounded(
    value: Array, *, ties_away: bool = False, overflow: float = OVERFLOW, has_nan: bool = False
) -> Halves:
    """Return the nearest fp16; an undefined result is +0 instead of NaN."""
    value = np.asarray(value, np.float64)
    step = spacing(value)
    count = np.abs(value) / step
    whole, rest = np.floor(count), count - np.floor(count)
    up = (rest > 0.5) | ((rest == 0.5) & (ties_away | (whole % 2 == 1)))
    magnitude = np.where(np.abs(value) >= overflow, np.inf, (whole + up) * step)
    undefined = np.nan if has_nan else 0.0
    return np.where(np.isnan(value), undefined, np.copysign(magnitude, value)).astype(np.float16)


def assert_same(got: Halves, expected: Halves) -> None:
    """Check for the same bits; a NaN is a NaN."""
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    canonical = [np.where(np.isnan(a), np.float16(np.nan), a) for a in (got, expected)]
    np.testing.assert_array_equal(*(a.view(np.uint16) for a in canonical))


@np.errstate(all="ignore")
def assert_within(
    got: Halves, expected: Expected, *, overflow: float = OVERFLOW, has_nan: bool = False
) -> None:
    """Check that a result is within one rounding to fp16, to even or away.

    Let t be the true value, f the fp32 result with |f - t| <= e, and g the fp16 nearest to f. Then g and f
    are at most half a spacing of fp16 at f apart; the spacing grows with |f|, which is at most |t| + e. So

        |g - t| <= spacing(|t| + e) / 2 + e,

    and g is infinite if |f| reaches `overflow`: surely if |t| - e does, possibly if |t| + e does.
    """
    true, error = np.broadcast_arrays(np.asarray(expected.value), np.asarray(expected.error))
    assert got.shape == true.shape
    assert got.dtype == np.float16
    error = np.where(np.isfinite(true), error, 0.0)
    assert np.isfinite(error).all(), "no bound is known"
    g, size = got.astype(np.float64), np.abs(true)
    near = (np.abs(g - true) <= spacing(size + error) / 2 + error) & (size - error < overflow)
    infinite = (g == np.copysign(np.inf, true)) & (size + error >= overflow)
    undefined = np.isnan(g) if has_nan else (g == 0)
    good = np.where(np.isnan(true), undefined, near | infinite)
    if not good.all():
        at = np.unravel_index(int(np.argmin(good)), good.shape)
        raise AssertionError(
            f"{np.count_nonzero(~good)} of {good.size} elements are wrong; at {[int(i) for i in at]}: "
            f"got {g[at]!r}, true value {true[at]!r}, fp32 error {error[at]!r}"
        )


def doubles(*arrays: NDArray) -> list[Array]:
    return [np.asarray(array, np.float64) for array in arrays]
