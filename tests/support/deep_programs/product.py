"""Convolutions, matrix products and attention, with plain and with compressed weights."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aneperf import mil
from support import intervals as iv
from support import oracle
from support.intervals import Interval

from .maker import MOST_ELEMENTS, Family, Maker


def _matmul(m: Maker, name: str) -> None:
    x = m.operand()
    if x.rank < 2:
        return
    turn = m.boolean()
    partners = m.fitting(
        lambda s: len(s) == x.rank and s[:-2] == x.shape[:-2] and s[-1 if turn else -2] == x.shape[-1]
    )
    if partners:
        y = m.choice(partners)
        tensor, bounds = mil.matmul(x.tensor, y.tensor, transpose_y=turn), y.bounds
    else:
        weight = m.halves((x.shape[-1], m.integer(1, 6)), 0.5)
        tensor, bounds, turn = mil.matmul(x.tensor, weight), iv.point(weight), False
    m.add(tensor, iv.product(lambda a, b: oracle.matmul(a, b, transpose_y=turn), x.bounds, bounds))


def _linear(m: Maker, name: str) -> None:
    x = m.operand()
    if x.rank < 2:
        return
    rows = m.integer(1, 6)
    weight, bias = m.halves((rows, x.shape[-1]), 0.5), m.halves((rows,)) if m.boolean() else None
    bounds = iv.product(lambda a, b: oracle.linear(a, b, bias), x.bounds, iv.point(weight))
    m.add(mil.linear(x.tensor, weight, bias), bounds)


def _einsum(m: Maker, name: str) -> None:
    x = m.image()
    if m.boolean():
        y = m.halves((1, x.shape[3], x.shape[2], m.integer(1, 4)), 0.5)
        # The result is as large as the operands' batches broadcast, which for a constant is that of x.
        y = np.broadcast_to(y, (x.shape[0], *y.shape[1:])).copy()
        m.add(mil.einsum([x.tensor, y]), iv.product(oracle.einsum, x.bounds, iv.point(y)))
    elif math.prod(x.shape[:3]) * x.shape[1] <= MOST_ELEMENTS:
        y = x.moved(lambda t: mil.transpose(t, [0, 3, 2, 1]), lambda a: a.transpose(0, 3, 2, 1))
        m.add(mil.einsum([x.tensor, y.tensor]), iv.product(oracle.einsum, x.bounds, y.bounds))


def _attention(m: Maker, name: str) -> None:
    x = m.operand()
    if x.rank >= 3:
        tensor = mil.scaled_dot_product_attention(x.tensor, x.tensor, x.tensor)
        m.add(tensor, iv.attention(x.bounds, x.bounds, x.bounds))


def _conv(m: Maker, name: str) -> None:
    x = m.image()
    channels, height, width = x.shape[1:]
    groups = m.choice([g for g in (1, 2, 3) if channels % g == 0])
    kernel = (m.integer(1, min(3, height)), m.integer(1, min(3, width)))
    strides, pad = (m.integer(1, 2), 1), (0, 1, 1, 0)
    weight = m.halves((groups * m.integer(1, 3), channels // groups, *kernel), 0.5)
    bias = m.halves((len(weight),)) if m.boolean() else None
    tensor = mil.conv(x.tensor, weight, bias, strides=strides, pad_type="custom", pad=pad, groups=groups)

    def point(a: NDArray, w: NDArray) -> oracle.Expected:
        return oracle.conv(a, w, strides=strides, pad=pad, groups=groups, bias=bias)

    m.add(tensor, iv.product(point, x.bounds, iv.point(weight)))


def _conv_transpose(m: Maker, name: str) -> None:
    x = m.image()
    groups = m.choice([g for g in (1, 2, 3) if x.shape[1] % g == 0])
    kernel = (m.integer(1, 3), m.integer(1, 3))
    strides, dilations = (m.integer(1, 2), m.integer(1, 2)), (1, m.integer(1, 2))
    pad = [m.integer(0, 1) if extent > 1 else 0 for extent in x.shape[2:] for _ in range(2)]
    weight = m.halves((x.shape[1], m.integer(1, 2), *kernel), 0.5)
    options: dict[str, Any] = {"strides": strides, "pad": pad, "dilations": dilations, "groups": groups}
    extents = [
        (size - 1) * s + (k - 1) * d + 1 - sum(pad[2 * i : 2 * i + 2])
        for i, (size, s, k, d) in enumerate(zip(x.shape[2:], strides, kernel, dilations, strict=True))
    ]
    if min(extents) < 1:
        return
    tensor = mil.conv_transpose(x.tensor, weight, pad_type="custom", **options)

    def point(a: NDArray, w: NDArray) -> oracle.Expected:
        return oracle.conv_transpose(a, w, extents, **options)

    m.add(tensor, iv.product(point, x.bounds, iv.point(weight)))


class Stored(NamedTuple):
    """A weight, and what encloses it."""

    tensor: mil.Tensor
    bounds: Interval


def _affine_weight(random: np.random.Generator, shape: tuple[int, ...]) -> Stored:
    data = random.integers(-100, 100, shape, np.int8)
    scale, zero = random.uniform(0.005, 0.02, shape[0]).astype(np.float16), np.int8(3)
    exact = oracle.dequantize(data, scale, zero, 0)
    halves = oracle.rounded(exact).astype(np.float64)
    # The product of two quantized operands is of their integers, so that its weight is never rounded.
    bounds = Interval(np.minimum(exact, halves), np.maximum(exact, halves))
    return Stored(mil.constexpr_affine_dequantize(data, scale, zero, 0), bounds)


def _table_weight(random: np.random.Generator, shape: tuple[int, ...]) -> Stored:
    indices = random.integers(0, 16, shape)
    lut = random.standard_normal((shape[0], 1, 1, 1, 16, 1)).astype(np.float16)
    weight = np.stack([lut[i].ravel()[row] for i, row in enumerate(indices)])
    return Stored(mil.constexpr_lut_to_dense(mil.const(indices, "uint4"), lut), iv.point(weight))


def _sparse_weight(random: np.random.Generator, shape: tuple[int, ...]) -> Stored:
    mask = random.integers(0, 2, shape)
    mask.flat[0] = 1
    values = random.standard_normal(int(mask.sum())).astype(np.float16)
    weight = np.zeros(shape, np.float16)
    weight[mask == 1] = values
    return Stored(mil.constexpr_sparse_to_dense(values, mask), iv.point(weight))


def _block_weight(random: np.random.Generator, shape: tuple[int, ...]) -> Stored:
    data = random.integers(-100, 100, shape, np.int8)
    scale = random.uniform(0.005, 0.02, (shape[0], 1, 1, 1)).astype(np.float16)
    weight = oracle.rounded(data * scale.astype(np.float64))
    return Stored(mil.constexpr_blockwise_shift_scale(data, scale), iv.point(weight))


_COMPRESSED = {
    "constexpr_affine_dequantize": _affine_weight,
    "constexpr_lut_to_dense": _table_weight,
    "constexpr_sparse_to_dense": _sparse_weight,
    "constexpr_blockwise_shift_scale": _block_weight,
}


def _compressed(m: Maker, name: str) -> None:
    """Add a 1x1 convolution whose weight is stored in another form."""
    x = m.image()
    random = np.random.default_rng(m.integer(0, 1000))
    weight = _COMPRESSED[name](random, (m.integer(1, 4), x.shape[1], 1, 1))
    m.add(mil.conv(x.tensor, weight.tensor), iv.product(oracle.conv, x.bounds, weight.bounds))


OPERATIONS: dict[str, Family] = {
    "matmul": _matmul,
    "linear": _linear,
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    **dict.fromkeys(_COMPRESSED, _compressed),
}
