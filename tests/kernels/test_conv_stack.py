"""The conv stack: its published configurations, its program, and its reference."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aneperf import mil
from aneperf.errors import ArgumentError
from aneperf.kernels import PUBLISHED, ConvStack, conv_stack
from aneperf.mil.graph import Operation

SMALL = ConvStack(channels=48, depth=6, height=2, width=40)


def layers(stack: ConvStack) -> list[NDArray[Any]]:
    """Return the weights that the program of `stack` holds, in the order of its convolutions."""
    program = stack.build()
    graph = mil.parse(program.text, program.weights)
    weights = [
        operation.arguments["weight"]
        for operation in graph.statements
        if isinstance(operation, Operation) and operation.op == "conv"
    ]
    return [np.asarray(weight.constant) for weight in weights if isinstance(weight, mil.Tensor)]


def run_in_fp16(stack: ConvStack) -> NDArray[Any]:
    """Compute the output of an engine that rounds each layer's output to fp16."""
    y = stack.input().astype(np.float16).reshape(stack.channels, -1)
    for weight in layers(stack):
        y = (weight[:, :, 0, 0].astype(np.float32) @ y.astype(np.float32)).astype(np.float16)
    return y.reshape(stack.shape)


def tolerance(stack: ConvStack) -> float:
    """Allow independent roundings of 2**-11 at each layer and of the norm of a column, with a margin."""
    return 2 * 2**-11 * math.sqrt(stack.depth)


def test_the_published_configurations() -> None:
    assert [(s.name, s.weight_bytes / 2**20, round(s.flops / 1e9, 2)) for s in PUBLISHED] == [
        ("32x conv 512ch sp64", 16.0, 1.07),
        ("48x conv 512ch sp64", 24.0, 1.61),
        ("64x conv 512ch sp64", 32.0, 2.15),
        ("96x conv 512ch sp64", 48.0, 3.22),
        ("128x conv 512ch sp64", 64.0, 4.29),
        ("64x conv 256ch sp64", 8.0, 0.54),
        ("128x conv 256ch sp64", 16.0, 1.07),
        ("256x conv 256ch sp64", 32.0, 2.15),
        ("64x conv 384ch sp64", 18.0, 1.21),
        ("128x conv 384ch sp64", 36.0, 2.42),
    ]
    assert {(s.height, s.width, s.port_dtype) for s in PUBLISHED} == {(1, 64, "fp32")}


def test_a_taller_input_is_named_by_both_sides() -> None:
    assert ConvStack(512, 128, height=64).name == "128x conv 512ch 64x64"


@pytest.mark.parametrize("port_dtype", ["fp32", "fp16"])
def test_the_program_is_what_it_says(port_dtype: Any) -> None:
    stack = replace(SMALL, port_dtype=port_dtype)
    program = stack.build()
    port = mil.TensorType(port_dtype, stack.shape)
    assert (program.inputs, program.outputs) == ({"x": port}, {"y": port})
    assert program.text.count(" = conv(") == stack.depth
    assert program.text.count(" = cast(") == (2 if port_dtype == "fp32" else 0)
    assert stack.input().dtype == np.dtype({"fp32": "f4", "fp16": "f2"}[port_dtype])
    assert stack.input().shape == stack.shape


def test_each_layer_has_weights_of_its_own_of_unit_gain() -> None:
    weights = layers(SMALL)
    assert len({weight.tobytes() for weight in weights}) == SMALL.depth
    for weight in weights:
        assert weight.shape == (SMALL.channels, SMALL.channels, 1, 1)
        assert weight.std() * SMALL.channels**0.5 == pytest.approx(1, abs=0.06)


def test_weights_are_made_once_for_the_program_and_its_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the last stack's weights for any positions and ports, unless they are too large."""
    made: list[int] = []

    def weight(channels: int, depth: int, layer: int, seed: int) -> NDArray[np.float16]:
        made.append(layer)
        return np.full((channels, channels), seed, np.float16)

    monkeypatch.setattr("aneperf.kernels.conv_stack._weight", weight)
    conv_stack._weights.cache_clear()
    ConvStack(channels=4, depth=2, seed=1).reference([0])
    ConvStack(channels=4, depth=2, seed=1, width=32, port_dtype="fp16").reference([0])
    assert made == [0, 1]
    assert ConvStack(channels=4, depth=2, seed=2).reference([0]).any()
    assert made == [0, 1, 0, 1]
    monkeypatch.setattr("aneperf.kernels.conv_stack._KEPT_BYTES", 0)
    ConvStack(channels=4, depth=2, seed=2).reference([0])
    assert made == [0, 1, 0, 1, 0, 1]
    conv_stack._weights.cache_clear()


def test_everything_follows_from_the_seed() -> None:
    assert SMALL.build() == SMALL.build()
    assert np.array_equal(SMALL.input(), SMALL.input())
    other = replace(SMALL, seed=1)
    assert other.build().weights != SMALL.build().weights
    assert not np.array_equal(other.input(), SMALL.input())


def test_the_reference_is_the_product_of_the_layers() -> None:
    columns = [0, 17, 79]
    y = SMALL.input().astype(np.float16).astype(np.float64).reshape(SMALL.channels, -1)[:, columns]
    for weight in layers(SMALL):
        y = weight[:, :, 0, 0].astype(np.float64) @ y
    np.testing.assert_allclose(SMALL.reference(columns), y, rtol=1e-12)


def test_the_values_keep_their_size_in_the_deepest_published_stack() -> None:
    deepest = max(PUBLISHED, key=lambda stack: stack.depth)
    size = np.sqrt((deepest.reference(range(8)) ** 2).mean(axis=0))
    assert (size > 0.05).all()
    assert (size < 20).all()


def test_check_passes_fp16_rounding_and_nothing_more() -> None:
    output = run_in_fp16(SMALL)
    assert 0 < SMALL.check(output) < tolerance(SMALL)
    assert SMALL.check(output * 1.05) == pytest.approx(0.05, abs=tolerance(SMALL))
    assert SMALL.check(output[:, ::-1]) > 1
    assert SMALL.check(output[:, :, :, ::-1]) > 1
    assert SMALL.check(np.zeros_like(output)) == 1


def test_check_looks_at_the_columns_it_is_given() -> None:
    output = run_in_fp16(SMALL)
    output[0, :, 1, 5] = 0
    assert SMALL.check(output) < tolerance(SMALL)
    assert SMALL.check(output, columns=[45]) == 1
    assert SMALL.check(output, columns=[44, 45, 46]) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_output_that_is_not_finite_is_infinitely_wrong(value: float) -> None:
    output = run_in_fp16(SMALL)
    output[0, 3, 0, 0] = value
    assert SMALL.check(output) == math.inf


def test_one_position_is_checked_once() -> None:
    stack = ConvStack(channels=8, depth=1, width=1)
    assert stack.check(run_in_fp16(stack)) < tolerance(stack)


@pytest.mark.parametrize("dialect", ["ios18", "ios16"])
@pytest.mark.parametrize("port_dtype", ["fp32", "fp16"])
def test_the_device_computes_it(device: Any, port_dtype: Any, dialect: Any) -> None:
    stack = replace(SMALL, port_dtype=port_dtype)
    program = stack.build(dialect).compile(device)
    output = program.run(x=stack.input())["y"]
    assert output.dtype == stack.input().dtype
    assert stack.check(output, range(80)) < tolerance(stack)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 0}, "channels must be an integer from 1 to 65536, not 0"),
        ({"channels": 65537}, "channels must be an integer from 1 to 65536, not 65537"),
        ({"channels": 64.0}, "channels must be an integer from 1 to 65536, not 64.0"),
        ({"channels": True}, "channels must be an integer from 1 to 65536, not True"),
        ({"depth": -1}, "depth must be an integer from 1 to 65536, not -1"),
        ({"depth": "8"}, "depth must be an integer from 1 to 65536, not '8'"),
        ({"height": 0}, "height must be an integer from 1 to 65536, not 0"),
        ({"width": None}, "width must be an integer from 1 to 65536, not None"),
        ({"port_dtype": "int8"}, "port_dtype 'int8' is neither"),
        ({"port_dtype": []}, "port_dtype \\[\\] is neither"),
        ({"seed": -1}, "seed must be an integer of at least 0, not -1"),
        ({"seed": 0.5}, "seed must be an integer of at least 0, not 0.5"),
    ],
)
def test_bad_stacks(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        ConvStack(**{"channels": 8, "depth": 2, **arguments})


def test_bad_outputs_and_columns() -> None:
    with pytest.raises(ArgumentError, match=r"the array is \[3\], not \[1, 48, 2, 40\]"):
        SMALL.check(np.zeros(3))
    for columns in ([80], [-1], []):
        with pytest.raises(ArgumentError, match="columns"):
            SMALL.check(SMALL.input(), columns)
