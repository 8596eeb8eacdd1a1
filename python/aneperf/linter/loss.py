"""Predict the loss of the engine's sums of products. docs/emulator.md has its arithmetic and the sources."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_UNIT = 2.0**-16  # of a sum
_DROPPED = -17  # the largest sum of two exponents whose product is dropped
_CHUNK = 1 << 20

# The magnitudes of fp16 by their bits, as the engine reads them: exponent 31 is one more exponent.
_BITS = np.arange(1 << 15)
_SIGNIFICANDS = np.where(_BITS < 1024, _BITS, 1024 + _BITS % 1024)
_STEPS = np.maximum(_BITS >> 10, 1) - 25  # exponents of the last place
_VALUES = np.ldexp(_SIGNIFICANDS.astype(np.float64), _STEPS)
_EXPONENTS = np.frexp(_VALUES)[1] - 1
_GRIDS = _STEPS + np.frexp(_SIGNIFICANDS & -_SIGNIFICANDS)[1] - 1  # exponents of the last 1
_LOWEST = -14  # exponent, which subnormal numbers have too
_FINEST = -24  # exponent of a last 1

Shares = NDArray[np.float64]  # of each magnitude among an operand's elements


class Loss(NamedTuple):
    """The expected loss of sums of products."""

    dropped: float  # share of the products that are not 0
    energy: float  # of the dropped products, as a share of the sum of all squares
    error: float  # of the results, relative, root mean square; not that of their rounding to fp16


@functools.lru_cache(maxsize=16)
def normal(deviation: float) -> Shares:
    """Return the shares of a normal distribution around 0."""
    with np.errstate(over="ignore", under="ignore"):
        density: Shares = np.exp(-np.square(_VALUES / deviation) / 2) * np.ldexp(1.0, _STEPS)
    density[0] /= 2
    density /= density.sum() or 1.0
    density.flags.writeable = False
    return density


def given(array: NDArray[Any]) -> Shares:
    """Return the shares in an array of fp16."""
    counts = np.zeros(len(_BITS))
    bits = array.reshape(-1).view(np.uint16)
    for start in range(0, bits.size, _CHUNK):  # the memory stays small
        counts += np.bincount(bits[start : start + _CHUNK] & 0x7FFF, minlength=len(_BITS))
    counts /= bits.size
    return counts


def loss(deviation: float, y: Shares, scale: int = 0) -> Loss | None:
    """Return the loss of sums of products of normal x and y 2^scale, independent; None where all are 0."""
    count_x, energy_x = _by_exponent(deviation)
    some = np.flatnonzero(y[1:]) + 1
    shares, exponents = y[some], np.maximum(_EXPONENTS[some] + scale, _LOWEST) - _LOWEST
    energy_y = np.bincount(exponents, shares * np.ldexp(_VALUES[some], scale) ** 2, 64)
    # The last bit of y tells how fine the products are, of which a sum keeps multiples of its unit.
    pairs = np.bincount(exponents * 64 + _GRIDS[some] - _FINEST, shares, 64 * 64).reshape(64, 64)
    energy, products = float(energy_x.sum() * energy_y.sum()), float(count_x.sum() * pairs.sum())
    if not energy:
        return None
    numbers = np.arange(64)
    kept = numbers[:, None] + numbers + 2 * _LOWEST > _DROPPED
    # A product lies on any of 2^finer places in a unit. Their mean square, with halves at the upper end:
    finer = np.maximum(-6.0 - (numbers[:, None] + _LOWEST) - (numbers + _FINEST + scale), 0)
    rounded = np.where(finer, (1 + 2 * 4.0**-finer) / 12, 0) * _UNIT**2
    rounding = float(np.sum((count_x[:, None] * kept) @ pairs * rounded))
    lost = float(np.sum(np.outer(energy_x, energy_y)[~kept]))
    dropped = float(np.sum(np.outer(count_x, pairs.sum(1))[~kept])) / products
    return Loss(dropped, lost / energy, math.sqrt((lost + rounding) / energy))


@functools.lru_cache(maxsize=16)
def _by_exponent(deviation: float) -> tuple[Shares, Shares]:
    """Return the shares of normal values other than 0 by exponent, and the sums of their squares."""
    shares, exponents = normal(deviation)[1:], np.maximum(_EXPONENTS[1:], _LOWEST) - _LOWEST
    count, energy = (np.bincount(exponents, each, 64) for each in (shares, shares * _VALUES[1:] ** 2))
    return np.asarray(count, np.float64), np.asarray(energy, np.float64)
