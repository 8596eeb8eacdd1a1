from typing import Any

import numpy as np
import pytest

from aneperf.errors import ArgumentError
from aneperf.kernels import QuantizedStack


def test_reference_is_the_quantized_chain() -> None:
    stack = QuantizedStack(channels=6, depth=3, width=4)
    steps = [stack._steps(layer).tolist() for layer in range(3)]
    for column in range(4):
        y = [float(value) for value in stack.input()[0, :, 0, column]]
        for layer in range(3):
            if layer:
                y = [min(127, max(-128, round(float(np.float16(value)) * 32))) / 32 for value in y]
            y = [
                stack._weight_scale * sum(w * v for w, v in zip(row, y, strict=True)) for row in steps[layer]
            ]
        np.testing.assert_allclose(stack.reference([column])[:, 0], y, rtol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 5, 40])
def test_the_device_computes_it(device: Any, depth: int) -> None:
    stack = QuantizedStack(channels=64, depth=depth, height=2, width=32)
    output = stack.build().compile(device).run(x=stack.input())["y"]
    every = list(range(64))
    assert 0 < stack.check(output, every) < stack.tolerance < 0.5
    # Without the steps between layers the numbers are others: they are there.
    y = stack.input().astype(np.float64).reshape(64, 64)
    for layer in range(depth):
        y = stack._weight_scale * stack._steps(layer).astype(np.float64) @ y
    apart = np.linalg.norm(y - stack.reference(every)) / np.linalg.norm(y)
    assert (apart > 5e-3) == (depth > 1)


def test_layers_are_distinct_and_keep_the_norm() -> None:
    stack = QuantizedStack(channels=96, depth=200, width=8)
    layers = [stack._steps(layer) for layer in range(4)]
    assert len({layer.tobytes() for layer in layers}) == 4
    for layer in layers:
        weight = layer * stack._weight_scale
        np.testing.assert_allclose(weight @ weight.T, np.eye(96), atol=0.02)
    norms = np.linalg.norm(stack.reference(range(8)), axis=0)
    assert (abs(norms / np.linalg.norm(stack.input()[0, :, 0, :].astype(np.float64), axis=0) - 1) < 0.2).all()


def test_one_wrong_layer_is_far_beyond_the_tolerance() -> None:
    stack = QuantizedStack(channels=64, depth=200, width=32)
    wrong = QuantizedStack(channels=64, depth=200, width=32, seed=1)
    assert stack.check(wrong.reference(range(32)).reshape(stack.shape)) > 1 > 2 * stack.tolerance


def test_size_and_errors() -> None:
    stack = QuantizedStack(channels=64, depth=3, height=4, width=8)
    assert stack.weight_bytes == 3 * 64 * 64
    assert stack.flops == 2 * 3 * 64 * 64 * 32
    with pytest.raises(ArgumentError, match="fp16"):
        QuantizedStack(channels=64, depth=3, port_dtype="fp32")
    with pytest.raises(ArgumentError, match="depth must be an integer from 1 to 65536, not 0"):
        QuantizedStack(channels=64, depth=0)
