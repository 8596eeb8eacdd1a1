"""Time one evaluation: the call itself, and the published stacks of convolutions."""

import numpy as np
import pytest

from aneperf import mil
from aneperf.kernels.conv_stack import PUBLISHED


def bound(device, program):
    compiled = program.compile(device)
    inputs = {port.name: device.make_surface(port) for port in compiled.inputs}
    outputs = {port.name: device.make_surface(port) for port in compiled.outputs}
    return compiled.bind(inputs, outputs)


def test_smallest_program(benchmark, device):
    b = mil.Builder()
    b.output("y", mil.add(b.input("x", (1, 32, 1, 32)), 1.0))
    benchmark(bound(device, b.build()).evaluate)


@pytest.mark.parametrize("op", [mil.add, mil.mul, mil.silu, mil.exp, mil.softmax], ids=lambda op: op.__name__)
def test_elementwise(benchmark, device, op):
    b = mil.Builder()
    x = b.input("x", (1, 768, 1, 2048))
    b.output("y", op(x, x) if op in (mil.add, mil.mul) else op(x, -1) if op is mil.softmax else op(x))
    benchmark(bound(device, b.build()).evaluate)


@pytest.mark.parametrize("stack", [PUBLISHED[0], PUBLISHED[4]], ids=lambda stack: stack.name)
def test_conv_stack(benchmark, device, stack):
    compiled = stack.build().compile(device)
    x, y = device.make_surface(compiled.inputs[0]), device.make_surface(compiled.outputs[0])
    x.write(stack.input())
    request = compiled.bind({"x": x}, {"y": y})
    benchmark(request.evaluate)
    benchmark.extra_info["gflop"] = stack.flops / 1e9
    assert np.isfinite(y.read()).all()
    compiled.unload()
