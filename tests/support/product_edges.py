"""Evaluate products with extents around the edges of tiles, blocks and vectors, on every path.

    python -m support.product_edges EVERY RESULTS.npz

evaluates one of EVERY extents and saves the outputs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import aneperf
from aneperf import mil
from support import oracle
from support.integers import Quantized, full_range, product
from support.programs import NO_BUDGET, evaluate, normal_halves

# A block has 4, 6 or 8 rows and 8, 16 or 32 columns, a tile 64 to 256; sums are split every 512 terms.
ROWS = [*range(1, 10), 12, 13, 16, 17, 31, 63, 64, 65, 127, 255, 256, 257, 521]
COLUMNS = [*range(1, 10), 15, 16, 17, 24, 31, 32, 33, 47, 48, 49, 63, 64, 65, 127, 129, 255, 256, 257, 521]
TERMS = [1, 2, 3, 31, 32, 33, 127, 511, 512, 513, 1024, 1031, 2049]
# Rows, terms, columns.
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
    define: Callable[..., Any]
    arrays: list[NDArray[np.float16]]
    expected: Callable[[], oracle.Expected]


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
    product = cache(lambda: oracle.matmul(x, y))
    return {
        "matmul": Case(mil.matmul, [x, y], product),
        "matmul_x": Case(lambda a, b: mil.matmul(a, b, transpose_x=True), [flipped_x, y], product),
        "matmul_y": Case(lambda a, b: mil.matmul(a, b, transpose_y=True), [x, flipped_y], product),
        "matmul_xy": Case(
            lambda a, b: mil.matmul(a, b, transpose_x=True, transpose_y=True), [flipped_x, flipped_y], product
        ),
        "matmul_constant": Case(lambda a: mil.matmul(a, y[:1]), [x], lambda: oracle.matmul(x, y[:1])),
        "linear": Case(lambda a: mil.linear(a, weight, bias), [x], lambda: oracle.linear(x, weight, bias)),
        "conv": Case(lambda a: mil.conv(a, kernel), [positions], lambda: oracle.conv(positions, kernel)),
        "grouped": Case(
            lambda a: mil.conv(a, groups, groups=2), [both], lambda: oracle.conv(both, groups, groups=2)
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
            lambda arguments=arguments: oracle.conv(x, weight, **arguments),
        )
        for name, arguments in {"window": same, "strided": strided}.items()
    }


def attention_cases(rows: int, length: int, features: int) -> dict[str, Case]:
    shapes = [(2, rows, features), (2, length, features), (2, length, features + 3)]
    arrays = [normal_halves(i, shape) for i, shape in enumerate(shapes)]
    return {"attention": Case(mil.scaled_dot_product_attention, arrays, lambda: oracle.attention(*arrays))}


def integer_cases(rows: int, terms: int, columns: int) -> dict[str, Case]:
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

    def case(define: Callable[..., Any], a: Quantized, expected: Callable[[], NDArray[np.float16]]) -> Case:
        return Case(
            lambda t: define(a.activation(t)),
            [a.port()],
            lambda: oracle.Expected(expected().astype(np.float64), 0.0),
        )

    return {
        "integer_conv": case(
            lambda t: mil.conv(t, weight.constant()), x, lambda: product(oracle.conv, x, weight, 1)
        ),
        "integer_window": case(
            lambda t: mil.conv(t, window.constant(), pad_type="custom", pad=pad),
            tall,
            lambda: product(lambda a, b: oracle.conv(a, b, pad=pad), tall, window, 1),
        ),
        "integer_linear": case(
            lambda t: mil.linear(t, matrix.constant(), bias),
            flat,
            lambda: product(oracle.linear, flat, matrix, 1, bias),
        ),
        "integer_matmul": case(
            lambda t: mil.matmul(t, turned.constant()), flat, lambda: product(oracle.matmul, flat, turned, 1)
        ),
        "integer_matmul_left": case(
            lambda t: mil.matmul(matrix.constant(), t),
            flat_turned,
            lambda: product(lambda a, b: oracle.matmul(b, a), flat_turned, matrix, 0),
        ),
    }


def cases(every: int) -> dict[str, Case]:
    """Return the products of one of `every` extents, by name."""
    result = {}
    for extents in EXTENTS[::every]:
        for family in (product_cases, conv_cases, attention_cases, integer_cases):
            for path, case in family(*extents).items():
                result[f"{path} {extents}"] = case
    return result


def main(every: int, path: str) -> None:
    device = aneperf.open("emulator:h16", compile_budget=NO_BUDGET)
    outputs = {name: evaluate(device, case.define, *case.arrays)[0] for name, case in cases(every).items()}
    np.savez(path, **outputs)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
