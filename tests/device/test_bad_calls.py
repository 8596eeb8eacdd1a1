"""Calls that the device refuses, each with the error's type and a part of its message."""

import numpy as np
import pytest

import aneperf
from aneperf import CompileBudget, Layout, mil

SHAPE = (1, 4, 1, 32)


@pytest.fixture
def program(device):
    b = mil.Builder()
    b.output("y", mil.relu(b.input("x", SHAPE)))
    return b.build().compile(device)


def array(dtype=np.float16, shape=SHAPE):
    return np.zeros(shape, dtype)


BAD_CALLS = {
    "surface of no bytes": (lambda d, p: d.make_surface(0), aneperf.SurfaceError, "0 bytes"),
    "surface of negative size": (lambda d, p: d.make_surface(-64), aneperf.SurfaceError, "-64 bytes"),
    "surface beyond memory": (lambda d, p: d.make_surface(1 << 60), aneperf.SurfaceError, f"{1 << 60} bytes"),
    "surface of 2**70 bytes": (lambda d, p: d.make_surface(1 << 70), aneperf.ArgumentError, "integer"),
    "surface of text": (lambda d, p: d.make_surface("big"), aneperf.ArgumentError, "'big'"),
    "surface of a float": (lambda d, p: d.make_surface(64.0), aneperf.ArgumentError, "64.0"),
    "layout of unknown dtype": (lambda d, p: Layout("fp8", (1,)), aneperf.ArgumentError, '"fp8"'),
    "layout of a numpy dtype": (lambda d, p: Layout(np.float16, (1,)), aneperf.ArgumentError, "str"),
    "layout without extent": (lambda d, p: Layout("fp16", (1, 0)), aneperf.ArgumentError, "below 1"),
    "layout of six axes": (lambda d, p: Layout("fp16", (1,) * 6), aneperf.ArgumentError, "5 axes"),
    "layout beyond 1 TiB": (lambda d, p: Layout("fp16", (1 << 30,) * 5), aneperf.ArgumentError, "1 TiB"),
    "layout of a sub-byte dtype": (lambda d, p: Layout("uint4", (2,)), aneperf.ArgumentError, "whole bytes"),
    "layout of strings": (lambda d, p: Layout("string", (2,)), aneperf.ArgumentError, "whole bytes"),
    "shape of text": (lambda d, p: Layout("fp16", "12"), aneperf.ArgumentError, "sequence"),
    "shape of floats": (lambda d, p: Layout("fp16", (1.5,)), aneperf.ArgumentError, "1.5"),
    "write of a list": (lambda d, p: d.make_surface(p.inputs[0]).write([1]), aneperf.SurfaceError, "numpy"),
    "write of another dtype": (
        lambda d, p: d.make_surface(p.inputs[0]).write(array(np.float32)),
        aneperf.SurfaceError,
        "float16, the array float32",
    ),
    "write of big-endian data": (
        lambda d, p: d.make_surface(p.inputs[0]).write(array(">f2")),
        aneperf.SurfaceError,
        "astype",
    ),
    "write of another shape": (
        lambda d, p: d.make_surface(p.inputs[0]).write(array(shape=(1, 4, 32))),
        aneperf.SurfaceError,
        r"\[1, 4, 32\]",
    ),
    "write without a layout": (
        lambda d, p: d.make_surface(256).write(array()),
        aneperf.SurfaceError,
        "layout",
    ),
    "read without a layout": (lambda d, p: d.make_surface(256).read(), aneperf.SurfaceError, "layout"),
    "read past the end": (
        lambda d, p: d.make_surface(64).read(p.inputs[0].layout),
        aneperf.SurfaceError,
        "256 bytes, the surface has 64",
    ),
    "bind without an input": (
        lambda d, p: p.bind({}, {"y": d.make_surface(256)}),
        aneperf.EvaluateError,
        "input 'x' has no surface",
    ),
    "bind without an output": (
        lambda d, p: p.bind({"x": d.make_surface(256)}, {}),
        aneperf.EvaluateError,
        "output 'y' has no surface",
    ),
    "bind of an unknown port": (
        lambda d, p: p.bind({"x": d.make_surface(256), "q": d.make_surface(256)}, {"y": d.make_surface(256)}),
        aneperf.EvaluateError,
        "no input 'q'; the program has x",
    ),
    "bind of a surface made for another dtype": (
        lambda d, p: p.bind(
            {"x": d.make_surface(Layout("fp32", SHAPE))}, {"y": d.make_surface(p.outputs[0])}
        ),
        aneperf.EvaluateError,
        r"the port is tensor<fp16, .*made for tensor<fp32",
    ),
    "bind of a surface with other rows": (
        lambda d, p: p.bind(
            {"x": d.make_surface(p.inputs[0])}, {"y": d.make_surface(Layout("fp16", (1, 32, 1, 4)))}
        ),
        aneperf.EvaluateError,
        r"output 'y': the port is",
    ),
    "bind of a list": (lambda d, p: p.bind([d.make_surface(256)], {}), aneperf.ArgumentError, "dict"),
    "bind of an array": (lambda d, p: p.bind({"x": array()}, {}), aneperf.ArgumentError, "must be a Surface"),
    "bind of None": (lambda d, p: p.bind({"x": None}, {}), aneperf.ArgumentError, "must be a Surface"),
    "bind of a numbered port": (
        lambda d, p: p.bind({0: d.make_surface(256)}, {}),
        aneperf.ArgumentError,
        "must be a str",
    ),
    "time of no calls": (
        lambda d, p: p.time({"x": d.make_surface(256)}, {"y": d.make_surface(256)}, 0),
        aneperf.ArgumentError,
        "must be 1 to",
    ),
    "time of too many calls": (
        lambda d, p: p.time({"x": d.make_surface(256)}, {"y": d.make_surface(256)}, 1 << 60),
        aneperf.ArgumentError,
        "must be 1 to",
    ),
    "run without an input": (lambda d, p: p.run(), aneperf.ArgumentError, "input 'x' is missing"),
    "run with an unknown input": (
        lambda d, p: p.run(x=array(), z=array()),
        aneperf.ArgumentError,
        "no input 'z'",
    ),
    "run on another dtype": (lambda d, p: p.run(x=array(np.float64)), aneperf.SurfaceError, "float64"),
    "text of bytes": (lambda d, p: d.compile(b"program(1.3)"), aneperf.ArgumentError, "str"),
    "text of surrogates": (lambda d, p: d.compile("\ud800"), aneperf.ArgumentError, "UTF-8"),
    "empty text": (lambda d, p: d.compile(""), aneperf.CompileError, "program"),
    "weights as a list": (lambda d, p: d.compile("", []), aneperf.ArgumentError, "dict"),
    "weights of text": (lambda d, p: d.compile("", {"w": "text"}), aneperf.ArgumentError, "bytes-like"),
    "weights by number": (lambda d, p: d.compile("", {1: b""}), aneperf.ArgumentError, "str"),
    "weights not contiguous": (
        lambda d, p: d.compile("", {"w": memoryview(bytes(8))[::2]}),
        aneperf.ArgumentError,
        "contiguous",
    ),
    "unknown device": (lambda d, p: aneperf.open("gpu"), aneperf.ArgumentError, "gpu"),
    "unknown chip": (lambda d, p: aneperf.open("emulator", chip="h99"), aneperf.ArgumentError, "h99"),
    "budget of none": (
        lambda d, p: aneperf.open("emulator", compile_budget=CompileBudget(0, 119)),
        aneperf.ArgumentError,
        "at least 1",
    ),
    "budget of text": (lambda d, p: CompileBudget("many"), aneperf.ArgumentError, "'many'"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls_say_what_is_wrong(device, program, case):
    call, error, message = BAD_CALLS[case]
    with pytest.raises(error, match=message):
        call(device, program)
