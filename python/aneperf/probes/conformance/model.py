"""The model of the engine's arithmetic that `conformance` asks a device about, in integers.

A number is a word: the 16 bits of fp16. A sum of products is an integer, in units of 2^-16. The rules were
measured on M4 and M6 by 751K/Apple-Neural-Engine-Microarchitecture-Study-M6. The errors that ANEForge and
MiniMax-H3-Swift published of M1 to M6 follow from them.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Words = NDArray[np.uint16]
Integers = NDArray[np.int64]
Reals = NDArray[np.float64]

INFINITY = 0x7C00
_SIGN = 0x8000
_UNIT = 16  # a sum is in units of 2^-16
_OVERFLOW = 1 << 31  # of a sum, in its units: 32768
_DROPPED = -17  # the largest exponent of a product that is dropped


def words_of(values: ArrayLike) -> Words:
    """Return the words of values that fp16 holds exactly."""
    return np.asarray(values, np.float64).astype(np.float16).view(np.uint16)


def decode(words: Words) -> Reals:
    """Return the values: the engine takes exponent 31 for one more exponent, without NaN or infinity."""
    significand, exponent = _parts(words)
    values: Reals = np.ldexp(significand, exponent - 10)
    return values


def _parts(words: Words) -> tuple[Integers, Integers]:
    """Return the signed significands, in units of 2^-10, and the exponents, -14 for subnormals."""
    bits = np.asarray(words, np.int64)
    field, fraction = bits >> 10 & 31, bits & 1023
    significand = np.where(field > 0, 1024 + fraction, fraction)
    return np.where(bits & _SIGN, -significand, significand), np.maximum(field, 1) - 15


def dot(x: Words, w: Words, bias: Words | None = None) -> Words:
    """Sum products over the last axis as the engine's multiply-accumulate does, the bias first."""
    return round_sum(sum_products(x, w, bias))


def sum_products(x: Words, w: Words, bias: Words | None = None) -> Integers:
    """Return the sum in units of 2^-16; one that overflowed on its way stays there.

    The order of the terms is known to be part of the question only where a sum overflows and comes back.
    """
    products = multiply(x, w)
    if bias is not None:
        significand, exponent = _parts(bias)
        start = _shifted(significand, exponent - 10 + _UNIT)
        products = np.concatenate([start[..., None], products], axis=-1)
    sums = np.cumsum(products, axis=-1)
    over = np.abs(sums) >= _OVERFLOW
    first = np.take_along_axis(sums, over.argmax(-1)[..., None], -1)[..., 0]
    return np.where(over.any(-1), first, sums[..., -1])


def multiply(x: Words, w: Words) -> Integers:
    """Return products in units of 2^-16, ties away from zero; 0 for those that the engine drops."""
    (x_significand, x_exponent), (w_significand, w_exponent) = _parts(x), _parts(w)
    exponent = x_exponent + w_exponent
    products = _shifted(x_significand * w_significand, exponent - 20 + _UNIT)
    return np.where(exponent > _DROPPED, products, 0)


def _shifted(integers: Integers, places: Integers) -> Integers:
    """Multiply by powers of two, and round to integers with ties away from zero."""
    magnitude, right = np.abs(integers), np.clip(-places, 0, 62)
    half = np.where(right > 0, np.int64(1) << np.maximum(right - 1, 0), 0)
    rounded = np.where(places >= 0, magnitude << np.clip(places, 0, 40), (magnitude + half) >> right)
    return np.where(integers < 0, -rounded, rounded)


def round_sum(sums: Integers) -> Words:
    """Round sums to words, ties away from zero; a sum of 32768 is infinite, one below may round to it."""
    magnitude = np.abs(sums)
    words = _encode(np.ldexp(np.minimum(magnitude, _OVERFLOW - 1), -_UNIT))
    words = np.where(magnitude >= _OVERFLOW, INFINITY, words)
    return np.where(sums < 0, words | _SIGN, words).astype(np.uint16)


def round_real(values: Reals) -> Words:
    """Round once, ties away from zero, as the element-wise unit does; zero is positive."""
    words = _encode(np.abs(values))
    return np.where((values < 0) & (words > 0), words | _SIGN, words).astype(np.uint16)


def _encode(magnitude: Reals) -> Integers:
    magnitude = np.minimum(magnitude, 1 << 17)
    exponent = np.maximum(np.frexp(magnitude)[1] - 1, -14)
    steps = np.floor(np.ldexp(magnitude, 10 - exponent) + 0.5).astype(np.int64)
    # A significand of 2048 carries into the exponent by itself.
    words: Integers = np.where(steps >= 1024, ((exponent + 14) << 10) + steps, steps)
    return np.minimum(words, INFINITY)


def convolve_by_tiles(x: Words, weight: Words) -> Words:
    """Convolve x [C, H + 2, W + 2] with weight [O, C, 3, 3] by Winograd's F(2, 3) along the width.

    Transformed weights and inputs are rounded to fp16. A pair of outputs comes from four sums of products
    like others, and is rounded once.
    """
    g0, g1, g2 = np.moveaxis(decode(weight), -1, 0)
    weights = [round_real(g) for g in (g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2)]
    d0, d1, d2, d3 = (decode(x)[..., first : x.shape[-1] - 3 + first : 2] for first in range(4))
    inputs = [round_real(d) for d in (d0 - d2, d1 + d2, d2 - d1, d1 - d3)]
    m = [_sum_rows(d, g) for d, g in zip(inputs, weights, strict=True)]
    pair = np.stack([m[0] + m[1] + m[2], m[1] - m[2] - m[3]], axis=-1)
    return round_sum(pair.reshape(*pair.shape[:-2], -1))


def convolve(x: Words, weight: Words) -> Words:
    """Convolve x [C, H + 2, W + 2] with weight [O, C, 3, 3], each output one sum of products."""
    width = x.shape[-1] - 2
    columns = [x[..., first : first + width] for first in range(3)]
    sums = [_sum_rows(column, weight[..., first]) for first, column in enumerate(columns)]
    return round_sum(sums[0] + sums[1] + sums[2])


def _sum_rows(x: Words, weight: Words) -> Integers:
    """Sum over channels and rows: x [C, H + 2, T], weight [O, C, 3] -> [O, H, T]."""
    height = x.shape[1] - 2
    total = np.zeros((len(weight), height, x.shape[2]), np.int64)
    for channel in range(x.shape[0]):
        for row in range(3):
            total += multiply(x[None, channel, row : row + height], weight[:, channel, row, None, None])
    return total
