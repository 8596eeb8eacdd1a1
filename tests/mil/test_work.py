"""The work of a program, counted by hand."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aneperf import mil
from aneperf.kernels import ConvStack, QuantizedStack
from aneperf.mil.work import Work, work_of

SHAPE = (1, 8, 4, 16)
HALF = 2
SIZE = math.prod(SHAPE)


def work(define: Callable[..., mil.Tensor], *shapes: tuple[int, ...]) -> Work:
    """Return the work of the last operation."""
    b = mil.Builder()
    b.output("y", define(*(b.input(f"x{i}", shape) for i, shape in enumerate(shapes))))
    return list(work_of(mil.parse(b.build().text)).values())[-1]


WEIGHT = np.ones((12, 4, 3, 5), np.float16)


@pytest.mark.parametrize(
    ("define", "shapes", "flops"),
    [
        (lambda x: mil.conv(x, WEIGHT, groups=2, pad_type="same"), [SHAPE], 2 * 12 * 4 * 16 * 4 * 3 * 5),
        (lambda x: mil.conv_transpose(x, np.ones((8, 6, 2, 2)), strides=(2, 2)), [SHAPE], 2 * SIZE * 6 * 4),
        (lambda x, y: mil.matmul(x, y, transpose_y=True), [SHAPE, (1, 8, 32, 16)], 2 * 8 * 4 * 32 * 16),
        (lambda x, y: mil.matmul(x, y, transpose_x=True), [SHAPE, (1, 8, 4, 32)], 2 * 8 * 16 * 32 * 4),
        (lambda x: mil.linear(x, np.ones((5, 16))), [(3, 16)], 2 * 3 * 5 * 16),
        (
            lambda x, y: mil.einsum([x, y], "nchw,nwhu->nchu"),
            [(1, 4, 8, 32), (1, 32, 8, 64)],
            2 * 4 * 8 * 32 * 64,
        ),
        (
            mil.scaled_dot_product_attention,
            [(1, 4, 32, 64), (1, 4, 48, 64), (1, 4, 48, 16)],
            2 * 4 * 32 * 48 * (64 + 16),
        ),
        (lambda x: mil.avg_pool(x, (2, 4), strides=(2, 4)), [SHAPE], SIZE),
        (lambda x: mil.reduce_sum(x, [1, 2, 3]), [SHAPE], SIZE),
        (lambda x: mil.softmax(x, axis=1), [SHAPE], SIZE),
        (lambda x: x + 1.0, [SHAPE], SIZE),
        (lambda x: mil.transpose(x, (0, 2, 1, 3)), [SHAPE], 0),
        (lambda x: mil.cast(x, "fp32"), [SHAPE], 0),
    ],
)
def test_arithmetic(define: Any, shapes: Any, flops: int) -> None:
    assert work(define, *shapes).flops == flops


def test_bytes_are_those_of_operands_and_result() -> None:
    assert work(mil.add, SHAPE, SHAPE).bytes == 3 * HALF * SIZE
    assert work(lambda x: mil.cast(x, "fp32"), SHAPE).bytes == (2 + 4) * SIZE


def test_weights_count_as_they_are_stored() -> None:
    for stack, weight_bytes in ((ConvStack(64, 1, port_dtype="fp16"), 2), (QuantizedStack(64, 1), 1)):
        graph = mil.parse(stack.build().text)
        (conv,) = (one for operation, one in work_of(graph).items() if operation.op == "conv")
        assert conv.flops == stack.flops
        ports = 2 * HALF * 64 * stack.height * stack.width
        assert 0 <= conv.bytes - ports - weight_bytes * 64 * 64 < 100  # strides, padding, scales


def test_what_the_compiler_evaluates_costs_nothing() -> None:
    graph = mil.parse(QuantizedStack(64, 1).build().text)
    (constant,) = (w for operation, w in work_of(graph).items() if operation.op.startswith("constexpr"))
    assert constant == Work()
