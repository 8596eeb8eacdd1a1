"""Compatibility: the dialects, port types, weight files and operations that a device computes right."""

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import mil
from .._ane_native import Device
from ..reference.precision import ROUNDING
from ..results import Result
from ..runner.operations import CASES
from ..runner.progress import ProgressCallback
from ..runner.question import Question, ask_all, ask_in_children, chosen, question_of
from .registry import default_budget

_SHAPE = (1, 32, 4, 32)
_INTEGERS = ("int8", "uint8", "int16", "int32", "bool")


def compat(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("compat"),
    items: Sequence[str] | None = None,
    progress: ProgressCallback | None = None,
) -> Result:
    """Compile, load and evaluate a small program for each of `items` (by default all), in child processes.

    Outputs are compared with a float64 reference. A row is ok; or unsupported, with the compiler's reason; or
    in error, for a wrong output, a failed evaluation or a process that died. Keys: "compat/op/conv".
    Raises ArgumentError, DeviceUnavailable.
    """
    names = chosen(items, tuple(ITEMS), "items")
    return ask_in_children("compat", check_items, names, device, budget=budget, progress=progress)


def check_items(device: Device, *, items: Sequence[str], budget: float, progress: ProgressCallback) -> Result:
    """Return the rows of `items`, measured in this process."""
    return ask_all("compat", lambda item: ITEMS[item](), items, device, progress)


def _normal(seed: int, shape: tuple[int, ...]) -> NDArray[np.float16]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float16)


def _convolution(**options: Any) -> Question:
    """Ask for two convolutions: there are two weights to store."""
    b = mil.Builder()
    x = b.input("x", _SHAPE)
    b.output("y", mil.conv(mil.conv(x, _normal(1, (32, 32, 1, 1)) / 8), _normal(2, (64, 32, 1, 1)) / 8))
    return question_of(b.build(**options), [{"x": _normal(0, _SHAPE)}], 4 * ROUNDING)


def _float_ports(dtype: Any) -> Question:
    b = mil.Builder()
    x = b.input("x", _SHAPE, dtype)
    inner = mil.mul(x if dtype == "fp16" else mil.cast(x, "fp16"), 0.5)
    b.output("y", inner if dtype == "fp16" else mil.cast(inner, "fp32"))
    return question_of(b.build(), [{"x": _normal(0, _SHAPE).astype(mil.types.numpy_dtype(dtype))}], ROUNDING)


def _integer_input(dtype: Any) -> Question:
    """Rewrite a program with an fp32 input: the builder makes no integer ports."""
    b = mil.Builder()
    b.output("y", mil.mul(mil.cast(b.input("x", _SHAPE, "fp32"), "fp16"), 0.5))
    return _with_type(b.build(), " x", dtype, np.random.default_rng(0).integers(0, 2, _SHAPE))


def _integer_output(dtype: Any) -> Question:
    b = mil.Builder()
    b.output("y", mil.cast(mil.mul(b.input("x", _SHAPE), 2.0), "fp32"))
    question = _with_type(b.build(), " y ", dtype, np.random.default_rng(0).integers(0, 2, _SHAPE) / 2)
    return replace(
        question,
        text=question.text.replace('string("fp32")', f'string("{dtype}")'),
        inputs=[{"x": arrays["x"].astype(np.float16)} for arrays in question.inputs],
    )


def _with_type(program: mil.Program, port: str, dtype: Any, values: NDArray[Any]) -> Question:
    shape = ", ".join(map(str, _SHAPE))
    text = program.text.replace(f"tensor<fp32, [{shape}]>{port}", f"tensor<{dtype}, [{shape}]>{port}")
    question = question_of(program, [{"x": values}], 0.0)
    return replace(question, text=text, inputs=[{"x": values.astype(mil.types.numpy_dtype(dtype))}])


def _published_header() -> Question:
    """Ask for the published benchmarks' weight file, whose header leaves size and offset almost unset.

    The one byte that it sets makes the size right for 512 x 512 fp16.
    """
    b = mil.Builder()
    weight = (_normal(1, (512, 512, 1, 1)) / 32).astype(np.float16)
    b.output("y", mil.conv(b.input("x", (1, 512, 1, 32)), weight))
    program = b.build()
    header = struct.pack("<II56xIIQQ40x", 1, 2, 0xDEADBEEF, 1, 512 * 512 * 2, 0)
    (path,) = program.weights
    question = question_of(program, [{"x": _normal(0, (1, 512, 1, 32))}], 4 * ROUNDING)
    return replace(question, weights={path: header + weight.tobytes()}, lenient=True)


def _several(inputs: Sequence[tuple[str, int]], outputs: Sequence[str]) -> Question:
    """Ask for several ports, not in the order of their names; every swap changes an output."""
    b = mil.Builder()
    tensors = [b.input(name, (1, channels, 4, 32)) for name, channels in inputs]
    for place, name in enumerate(outputs):
        weighted = [
            mil.mul(mil.reduce_sum(x, [1]), 0.25 * (1 + (i + place) % len(tensors)))
            for i, x in enumerate(tensors)
        ]
        total = weighted[0]
        for term in weighted[1:]:
            total = mil.add(total, term)
        b.output(name, total)
    arrays = {name: _normal(i, (1, channels, 4, 32)) for i, (name, channels) in enumerate(inputs)}
    return question_of(b.build(), [arrays], 4 * ROUNDING)


def _attention_mask() -> Question:
    """Ask for a causal mask, which engines are known to ignore."""
    shape, mask = (1, 2, 32, 64), np.triu(np.full((1, 1, 32, 32), -1e4, np.float16), 1)
    questions = []
    for attn_mask in (mask, None):
        b = mil.Builder()
        x = b.input("x", shape)
        b.output("y", mil.scaled_dot_product_attention(x, x, x, attn_mask))
        questions.append(question_of(b.build(), [{"x": _normal(0, shape)}], 4 * ROUNDING))
    masked, unmasked = questions
    return replace(masked, departure=("the mask is ignored", unmasked.expected))


def _attention_ports() -> Question:
    """Ask for attention of four inputs of one shape, which may be bound by name or as declared."""
    declared, shape = ("q", "k", "v", "mask"), (1, 1, 32, 32)
    b = mil.Builder()
    q, k, v, mask = (b.input(name, shape) for name in declared)
    scores = mil.add(mil.matmul(q, k, transpose_y=True), mask)
    b.output("y", mil.matmul(mil.softmax(scores, -1), v))
    arrays = {name: _normal(seed, shape) for seed, name in enumerate(declared)}
    question = question_of(b.build(), [arrays], 8 * ROUNDING)
    # We pass arrays in the order of names; such a device takes them in the order of declaration.
    swapped = {name: arrays[bound] for name, bound in zip(declared, sorted(declared), strict=True)}
    departed = question_of(b.build(), [swapped], 8 * ROUNDING).expected
    return replace(question, departure=("ports are bound in the order of declaration", departed))


def _unread(build: Callable[[], mil.Program], pattern: str, spelling: str) -> Question:
    """Ask Apple's compiler for a program in a spelling that aneperf refuses, in place of a pattern."""
    program = build()
    ((name, tensor),) = program.inputs.items()
    question = question_of(program, [{name: _normal(0, tensor.shape)}], 8 * ROUNDING)
    return replace(question, text=re.sub(pattern, spelling, program.text, count=1), strict=False)


def _sum() -> mil.Program:
    b = mil.Builder()
    b.output("y", mil.reduce_sum(b.input("x", _SHAPE), [1], keep_dims=True))
    return b.build()


def _table() -> mil.Program:
    """Build a product by a constant of rank 4, whose values stand in the text."""
    b = mil.Builder()
    b.output("y", mil.mul(b.input("x", (1, 2, 1, 32)), np.array([[[[0.5]], [[2.0]]]], np.float16)))
    return b.build()


def _twice() -> mil.Program:
    b = mil.Builder()
    b.output("y", mil.mul(mil.relu(b.input("x", _SHAPE)), 2.0))
    return b.build()


def _attention() -> mil.Program:
    b = mil.Builder()
    x = b.input("x", (1, 2, 32, 64))
    b.output("y", mil.scaled_dot_product_attention(x, x, x))
    return b.build()


def _operation(name: str) -> Question:
    case = CASES[name]
    return question_of(case.build(), [case.inputs()], case.tolerance)


ITEMS: dict[str, Callable[[], Question]] = {
    "dialect/ios18": lambda: _convolution(dialect="ios18"),
    "dialect/ios16": lambda: _convolution(dialect="ios16"),
    "ports/fp16": partial(_float_ports, "fp16"),
    "ports/fp32": partial(_float_ports, "fp32"),
    "ports/2 inputs": lambda: _several([("b", 32), ("a", 32)], ["y"]),
    "ports/4 inputs, 3 outputs": lambda: _several(
        [("x10", 32), ("x2", 32), ("b", 32), ("a", 32)], ["z", "y10", "y9"]
    ),
    "ports/inputs of unequal size": lambda: _several([("b", 64), ("a", 32)], ["y"]),
    "ports/q, k, v, mask": _attention_ports,
    "weights/a file each": lambda: _convolution(weight_files="separate"),
    "weights/chunks of one file": _convolution,
    "weights/published header": _published_header,
    "semantics/attention mask": _attention_mask,
    "weights/a file each, as they are": lambda: replace(_convolution(weight_files="separate"), strict=False),
    **{f"op/{name}": partial(_operation, name) for name in CASES},
    # Spellings that others' programs have; nobody published what the compiler says.
    "text/bare literal": partial(_unread, _sum, "= keep_dims_0", "= true"),
    "text/flat list": partial(_unread, _table, r"\(\[{4}(\S+)\]{2}, \[{2}(\S+)\]{4}\)", r"([\1, \2])"),
    "text/double name": partial(_unread, _twice, r"(.* relu_0 = .*\n)", r"\1\1"),
    "text/ios16 attention": partial(_unread, _attention, "main<ios18>", "main<ios16>"),
    "text/empty buildInfo": partial(_unread, _sum, r"\(\{\{.*\}\}\)", "({})"),
    # The most likely refusals come last: failed compiles are reported to slow down later ones.
    **{f"ports/{dtype} input": partial(_integer_input, dtype) for dtype in _INTEGERS},
    **{f"ports/{dtype} output": partial(_integer_output, dtype) for dtype in _INTEGERS},
}
