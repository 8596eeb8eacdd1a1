"""Products to the bit: as the engine's multiply-accumulate forms, drops, rounds and sums them.

Sums that overflow on their way and come back are not modeled: an order is part of the question.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from . import product
from .rounding import Array, Halves, rounded

STEP = 2.0**-16  # between the numbers that a sum can be
OVERFLOW = 32768.0
_AT_ONCE = 1 << 22  # products


def decode(x: NDArray) -> Array:
    """Return fp16 as the engine reads it: exponent 31 is one more exponent."""
    words = np.asarray(x, np.float16).view(np.uint16).astype(np.int64)
    exponent, fraction = words >> 10 & 31, words & 1023
    magnitude = np.where(exponent > 0, np.ldexp(1024 + fraction, exponent - 25), np.ldexp(fraction, -24))
    return np.where(words >> 15, -magnitude, magnitude)


def on_grid(x: Array) -> Array:
    """Round to multiples of STEP, ties away from zero."""
    return np.copysign(np.floor(np.abs(x) / STEP + 0.5) * STEP, x)


def _scale(x: Array) -> Array:
    """Return 2 to the exponent of each number, which is that of the least normal one for subnormals."""
    return np.ldexp(1.0, np.maximum(np.frexp(x)[1] - 1, -14))


def contract(equation: str, x: Array, y: Array) -> tuple[Array, Array]:
    """Sum rounded products but for the dropped ones. The engine makes no error of fp32."""
    inputs, result = equation.split("->")
    (summed,) = set(inputs) - set(result) - {","}
    terms = [_first(summed, spec, a) for spec, a in zip(inputs.split(","), (x, y), strict=True)]
    whole = inputs.replace(summed, "")
    every = max(1, _AT_ONCE // max(1, np.einsum(f"{whole}->{result}", *(a[0] for a in terms)).size))
    total = np.zeros(())
    for first in range(0, len(terms[0]), every):
        part = [a[first : first + every] for a in terms]
        by_term = "->".join([",".join(f"Z{spec}" for spec in whole.split(",")), f"Z{result}"])
        products = np.einsum(by_term, *part)
        scales = np.einsum(by_term, *map(_scale, part))
        total = total + np.where(scales > 2.0**-17, on_grid(products), 0.0).sum(0)
    return total, np.zeros_like(total)


def _first(letter: str, spec: str, x: Array) -> Array:
    """Return x with the axis of `letter` first."""
    before, _, behind = spec.partition("...")
    return np.moveaxis(x, before.index(letter) if letter in before else behind.index(letter) - len(behind), 0)


def _to_the_bit(operation: Callable[..., product.Expected]) -> Callable[..., Halves]:
    def bits(x: NDArray, y: NDArray, *arguments: object, **options: object) -> Halves:
        if options.get("bias") is not None:
            options["bias"] = on_grid(decode(options["bias"]))
        value = operation(decode(x), decode(y), *arguments, contract=contract, **options).value
        return rounded(value + 0.0, ties_away=True, overflow=OVERFLOW)

    return bits


matmul, linear, einsum = map(_to_the_bit, (product.matmul, product.linear, product.einsum))
conv, conv_transpose = map(_to_the_bit, (product.conv, product.conv_transpose))


def winograd_conv(
    x: NDArray,
    weight: NDArray,
    pad: Sequence[int] | None = None,
    groups: int = 1,
    bias: NDArray | None = None,
) -> Halves:
    """Convolve by F(2, 3) along the width: transform, round to fp16, sum, transform back, round once."""
    top, bottom, left, right = pad or [0] * 4
    columns = x.shape[-1] + left + right - 2
    d = np.pad(decode(x), ((0, 0), (0, 0), (0, 0), (left, right + columns % 2)))
    d0, d1, d2, d3 = (d[..., i : i + columns + columns % 2 - 1 : 2] for i in range(4))
    g0, g1, g2 = np.moveaxis(decode(weight), -1, 0)

    def halves(value: Array) -> Array:
        return decode(rounded(value, ties_away=True))

    seen = [halves(v) for v in (d0 - d2, d1 + d2, d2 - d1, d1 - d3)]
    factors = [halves(u) for u in (g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2)]
    m0, m1, m2, m3 = (
        product.conv(v, u[..., None], pad=(top, bottom, 0, 0), groups=groups, contract=contract).value
        for v, u in zip(seen, factors, strict=True)
    )
    value = np.stack([m0 + m1 + m2, m1 - m2 - m3], -1).reshape(*m0.shape[:-1], -1)[..., :columns]
    start = 0.0 if bias is None else on_grid(decode(bias)).reshape(-1, 1, 1)
    return rounded(value + start + 0.0, ties_away=True, overflow=OVERFLOW)
