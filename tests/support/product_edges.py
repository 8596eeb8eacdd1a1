"""Evaluate products with extents around the edges of tiles, blocks and vectors, on every path.

    python -m support.product_edges EVERY RESULTS.npz

evaluates one of EVERY extents and saves the outputs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import aneperf
from aneperf import mil
from support import oracle
from support.integers import Quantized, full_range, product
from support.oracle import engine
from support.programs import NO_BUDGET, evaluate, normal_halves

# A block has 4, 6 or 8 rows and 8, 16 or 32 columns, a tile 64 to 256; sums are split every 512 terms.
ROWS = [*range(1, 10), 12, 13, 16, 17, 31, 63, 64, 65, 127, 255, 256, 257, 521]
COLUMNS = [*range(1, 10), 15, 16, 17, 24, 31, 32, 33, 47, 48, 49, 63, 64, 65, 127, 129, 255, 256, 257, 521]
TERMS = [1, 2, 3, 31, 32, 33, 127, 511, 512, 513, 1024, 1031, 2049]
# Rows, terms, columns.
CHIPS = ["h16", "none"]
EXTENTS = [
    *((rows, 37, 19) for rows in ROWS),
    *((7, 41, columns) for columns in COLUMNS),
    *((1, 515, columns) for columns in COLUMNS),
    *((9, terms, 35) for terms in TERMS),
    *((rows, terms, 1) for rows, terms in [(1, 1), (9, 513), (257, 40)]),
    (257, 513, 257),
    (67, 1031, 131),
    (2, 600, 300),
    (3, 600, 300),
]


class Case(NamedTuple):
    """A program, and the product of an oracle that it computes."""

    define: Callable[..., Any]
    arrays: list[NDArray[np.float16]]
    op: str
    operands: Sequence[NDArray[np.float16]]
    options: Mapping[str, Any] = MappingProxyType({})

    def check(self, chip: str, got: NDArray[np.float16]) -> None:
        """Check the engine's sums to the bit, and those in fp32 within what fp32 errs."""
        if chip == "none":
            expected = getattr(oracle, self.op)(*self.operands, **self.options)
            oracle.assert_within(got, expected, has_nan=True)
        else:
            oracle.assert_same(got, getattr(engine, self.op)(*self.operands, **self.options))


class IntegerCase(NamedTuple):
    """A program of integers, whose product is exact but for one rounding."""

    define: Callable[..., Any]
    arrays: list[NDArray[np.float16]]
    expected: Callable[..., oracle.Halves]

    def check(self, chip: str, got: NDArray[np.float16]) -> None:
        oracle.assert_same(got, self.expected(ties_away=chip != "none"))


def product_cases(rows: int, terms: int, columns: int) -> dict[str, Case]:
    x = normal_halves(1, (2, rows, terms), terms**-0.5)
    y = normal_halves(2, (2, terms, columns))
    flipped_x, flipped_y = (np.ascontiguousarray(a.transpose(0, 2, 1)) for a in (x, y))
    matrix, bias = y[0], normal_halves(3, (columns,))
    weight = np.ascontiguousarray(matrix.T)
    kernel = x[0][:, :, None, None]
    positions = y[:, :, None]
    groups = np.concatenate([kernel, kernel[::-1]])
    both = positions.reshape(1, 2 * terms, 1, columns)

    def matmul(define: Callable[..., Any], *arrays: NDArray[np.float16]) -> Case:
        return Case(define, list(arrays), "matmul", (x, y))

    return {
        "matmul": matmul(mil.matmul, x, y),
        "matmul_x": matmul(lambda a, b: mil.matmul(a, b, transpose_x=True), flipped_x, y),
        "matmul_y": matmul(lambda a, b: mil.matmul(a, b, transpose_y=True), x, flipped_y),
        "matmul_xy": matmul(
            lambda a, b: mil.matmul(a, b, transpose_x=True, transpose_y=True), flipped_x, flipped_y
        ),
        "matmul_constant": Case(lambda a: mil.matmul(a, y[:1]), [x], "matmul", (x, y[:1])),
        "linear": Case(lambda a: mil.linear(a, weight, bias), [x], "linear", (x, weight), {"bias": bias}),
        "conv": Case(lambda a: mil.conv(a, kernel), [positions], "conv", (positions, kernel)),
        "grouped": Case(
            lambda a: mil.conv(a, groups, groups=2), [both], "conv", (both, groups), {"groups": 2}
        ),
    }


def conv_cases(rows: int, terms: int, columns: int) -> dict[str, Case]:
    """Return convolutions with windows of 3x3, which have 9 terms a channel."""
    channels = -(-terms // 9)
    x, weight = normal_halves(4, (1, channels, 5, columns)), normal_halves(5, (rows, channels, 3, 3), 0.1)
    same = {"pad": (1, 1, 1, 1)}
    strided = {"pad": (2, 1, 0, 3), "strides": (2, 3)}
    return {
        name: Case(
            lambda a, arguments=arguments: mil.conv(a, weight, pad_type="custom", **arguments),
            [x],
            "conv",
            (x, weight),
            arguments,
        )
        for name, arguments in {"window": same, "strided": strided}.items()
    }


def attention_cases(rows: int, length: int, features: int) -> dict[str, Case]:
    shapes = [(2, rows, features), (2, length, features), (2, length, features + 3)]
    arrays = [normal_halves(i, shape) for i, shape in enumerate(shapes)]
    return {"attention": Case(mil.scaled_dot_product_attention, arrays, "attention", arrays)}


def integer_cases(rows: int, terms: int, columns: int) -> dict[str, IntegerCase]:
    """Return products of integers, whose expected result is exact."""
    x = Quantized(full_range(1, (1, terms, 1, columns), "int8"), np.float16(0.05), -7)
    scale = np.exp2(np.random.default_rng(2).uniform(-8, -4, rows)).astype(np.float16)
    weight = Quantized(full_range(3, (rows, terms, 1, 1), "int8"), scale, 0, 0)
    flat = Quantized(full_range(4, (columns, terms), "uint8"), np.float16(0.1), 130)
    zeros = full_range(5, (rows,), "uint8")
    matrix = Quantized(full_range(6, (rows, terms), "uint8"), scale, zeros, 0)
    turned = matrix._replace(q=np.ascontiguousarray(matrix.q.T), axis=1)
    flat_turned = flat._replace(q=np.ascontiguousarray(flat.q.T))
    tall = Quantized(full_range(7, (1, -(-terms // 9), 5, columns), "uint8"), np.float16(0.1), 99)
    window = Quantized(full_range(8, (rows, tall.q.shape[1], 3, 3), "int8"), scale, 0, 0)
    bias, pad = normal_halves(9, (rows,), 10), (1, 1, 1, 1)

    def case(define: Callable[..., Any], a: Quantized, *operands: Any) -> IntegerCase:
        return IntegerCase(lambda t: define(a.activation(t)), [a.port()], partial(product, *operands))

    return {
        "integer_conv": case(lambda t: mil.conv(t, weight.constant()), x, oracle.conv, x, weight, 1),
        "integer_window": case(
            lambda t: mil.conv(t, window.constant(), pad_type="custom", pad=pad),
            tall,
            partial(oracle.conv, pad=pad),
            tall,
            window,
            1,
        ),
        "integer_linear": case(
            lambda t: mil.linear(t, matrix.constant(), bias),
            flat,
            oracle.linear,
            flat,
            matrix,
            1,
            bias,
        ),
        "integer_matmul": case(
            lambda t: mil.matmul(t, turned.constant()), flat, oracle.matmul, flat, turned, 1
        ),
        "integer_matmul_left": case(
            lambda t: mil.matmul(matrix.constant(), t),
            flat_turned,
            lambda a, b: oracle.matmul(b, a),
            flat_turned,
            matrix,
            0,
        ),
    }


def cases(every: int) -> dict[str, Case | IntegerCase]:
    """Return the products of one of `every` extents, by name."""
    result: dict[str, Case | IntegerCase] = {}
    for extents in EXTENTS[::every]:
        for family in (product_cases, conv_cases, attention_cases, integer_cases):
            for path, case in family(*extents).items():
                result[f"{path} {extents}"] = case
    return result


def main(every: int, path: str) -> None:
    outputs = {}
    for chip in CHIPS:
        device = aneperf.open("emulator", chip=chip, compile_budget=NO_BUDGET)
        for name, case in cases(every).items():
            outputs[f"{chip} {name}"] = evaluate(device, case.define, *case.arrays)[0]
    np.savez(path, **outputs)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
