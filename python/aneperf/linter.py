"""Find constructs known to fail, to be slow or to give wrong numbers on a generation of the engine.

docs/lint.md lists the rules with their sources.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from . import _ane_native as native
from .chips import profile_of
from .errors import ArgumentError
from .mil import Fp16Program, Graph, Operation, Program, Tensor, parse
from .mil.files import read_source
from .stalls import describe_stall, stalls

Severity = Literal["fails", "wrong numbers", "slow"]


@dataclass(frozen=True)
class Finding:
    """A hazard of one construct, at a line of the program's text; None if it concerns the whole program."""

    line: int | None
    op: str  # the operation, "port", "const" or "program"
    severity: Severity
    reason: str
    remedy: str

    def __str__(self) -> str:
        where = "" if self.line is None else f"line {self.line}: "
        return f"{where}{self.op} {self.severity}: {self.reason}. {self.remedy}."


def lint(program: Program | str | os.PathLike[str], chip: str = "h16") -> list[Finding]:
    """List every known hazard of a program on a chip such as "M4 Max" or "h16", by line.

    A string is MIL text, and a path names what `mil.read` takes. Of a program that `mil.to_fp16` converted,
    the lines are those before the conversion. The chip "none" has no hazards. Raises CompileError for text
    that is not MIL, ArgumentError for an unknown chip, ResultFileError.
    """
    if not isinstance(program, (Program, str, os.PathLike)):
        raise ArgumentError(f"lint takes a mil.Program, MIL text or a path, not {program!r}")
    generation = profile_of(chip)
    profile = native.chip_profile(generation)
    text, weights = _source(program)
    graph = parse(text, weights)
    if not profile["is_engine"]:
        return []
    context = _Context(graph, generation, profile)
    findings = [finding for rule in _PROGRAM_RULES for finding in rule(context)]
    for operation in context.operations:
        for ops, check in _OPERATION_RULES:
            if operation.op in ops:
                findings += (
                    Finding(operation.line, operation.op, *problem) for problem in check(operation, context)
                )
    if isinstance(program, Fp16Program):
        findings = [replace(finding, line=program.origins.get(finding.line or 0)) for finding in findings]
    return sorted(findings, key=lambda finding: finding.line or 0)


def _source(program: Program | str | os.PathLike[str]) -> tuple[str, dict[str, bytes] | None]:
    """Return the text, and the weights if they are all there."""
    if isinstance(program, Program):
        return program.text, program.weights
    if isinstance(program, str):
        return program, None
    source = read_source(program)
    return source.text, None if source.absent else source.weights


class _Context:
    """The program around an operation, and the profile of the engine's generation."""

    def __init__(self, graph: Graph, generation: str, profile: dict[str, Any]) -> None:
        self.graph = graph
        self.generation = generation
        self.profile = profile
        self.operations = [s for s in graph.statements if isinstance(s, Operation)]
        self.producers = {result: o for o in self.operations for result in o.results}
        self.consumers: dict[Tensor, list[Operation]] = {}
        for operation in self.operations:
            for _, tensor in operation.operands():
                self.consumers.setdefault(tensor, []).append(operation)
        # The results of operations whose operands are all constant are constants too.
        self.constants = {s for s in graph.statements if isinstance(s, Tensor)} | set(graph.blobs)
        for operation in self.operations:
            if all(self.is_constant(tensor) for _, tensor in operation.operands()):
                self.constants.update(operation.results)

    def is_constant(self, tensor: Tensor) -> bool:
        return tensor.constant is not None or tensor in self.constants

    def producer(self, tensor: Tensor) -> str:
        """Return the name of the operation that computes `tensor`; empty if none does."""
        operation = self.producers.get(tensor)
        return "" if operation is None else operation.op


Problem = tuple[Severity, str, str]
_Check = Callable[[Operation, _Context], Iterator[Problem]]
_TO_INTEGERS = {"floor", "ceil", "round"}
_NONLINEARITIES = {
    *("atan", "elu", "erf", "exp", "exp2", "gelu", "log", "relu", "rsqrt", "sigmoid", "silu", "softmax"),
    *("softplus", "softsign", "sqrt", "tanh"),
}
_INTEGER_ENGINES = ("h16", "h17")  # which compute on quantized operands as they are
_MEBIBYTE = 1 << 20
_MOST_WEIGHTS = 2 << 30  # bytes, by the compiler's own message


def _argument(operation: Operation, name: str) -> Tensor | None:
    value = operation.arguments.get(name)
    return value if isinstance(value, Tensor) else None


def _integers(operation: Operation, name: str) -> list[int]:
    tensor = _argument(operation, name)
    if tensor is None or tensor.constant is None or isinstance(tensor.constant, str):
        return []
    return [int(value) for value in np.ravel(tensor.constant)]


# Rules about one operation


def _last_axis_slice(operation: Operation, context: _Context) -> Iterator[Problem]:
    x, limit = _argument(operation, "x"), context.profile["slice_limit"]
    begin = _integers(operation, "crop_width" if operation.op == "crop" else "begin")
    if x is None or not begin or not math.isfinite(limit):
        return
    masks = _integers(operation, "begin_mask")
    first = begin[0] if operation.op == "crop" else begin[-1]
    if (masks and masks[-1]) or first in (0, -x.width):
        return
    yield (
        "wrong numbers",
        f"it starts inside the last axis: {context.generation} makes magnitudes above {limit:.0f} infinite",
        "Slice another axis, or keep the values smaller",
    )


def _run_time_weights(operation: Operation, context: _Context) -> Iterator[Problem]:
    x, weight = _argument(operation, "x"), _argument(operation, "weight")
    if x is None or weight is None or context.is_constant(weight):
        return
    if x.shape[0] > 1:
        yield "fails", "weights computed at run time need a batch of 1", "Use matmul"
    else:
        yield "wrong numbers", "run-time weights are reportedly ignored on M3 Max", "Use matmul"


def _tile(operation: Operation, context: _Context) -> Iterator[Problem]:
    reason = "at run time it reportedly corrupts every later evaluation of the process on M3 Max"
    yield "wrong numbers", reason, "Use concat, or repeat before the input"


def _attention_mask(operation: Operation, context: _Context) -> Iterator[Problem]:
    if context.profile["ignores_attention_mask"] and "attn_mask" in operation.arguments:
        yield "wrong numbers", "attn_mask is ignored", "Add the mask to the scores of a decomposed attention"


def _scaled_integers(operation: Operation, context: _Context) -> Iterator[Problem]:
    operands = [tensor for _, tensor in operation.operands()]
    rounding = {context.producer(tensor) for tensor in operands} & _TO_INTEGERS
    scalar = any(context.is_constant(tensor) and tensor.type.elements == 1 for tensor in operands)
    if rounding and scalar:
        reason = f"a multiplication by a scalar right after {rounding.pop()} is dropped"
        yield "wrong numbers", reason, "Multiply by a constant of the full shape"


def _reduction_times_zero(operation: Operation, context: _Context) -> Iterator[Problem]:
    operands = [tensor for _, tensor in operation.operands()]
    reduced = any(context.producer(tensor).startswith("reduce_") for tensor in operands)
    constants = [t.constant for t in operands if t.constant is not None and not isinstance(t.constant, str)]
    if reduced and any(not np.any(constant) for constant in constants):
        yield "fails", "a reduction times 0 does not compile", "Omit the product: it is 0"


def _square(operation: Operation, context: _Context) -> Iterator[Problem]:
    result = operation.results[0]
    after = {user.op for user in context.consumers.get(result, [])} & _NONLINEARITIES
    if after and result.width % 128 > 64:
        reason = f"square fused with {min(after)} does not compile for a width of {result.width}"
        yield "fails", reason, "Write mul(x, x)"


def _matmul_by_constant(operation: Operation, context: _Context) -> Iterator[Problem]:
    y = _argument(operation, "y")
    if y is not None and context.is_constant(y):
        reason = "a 1x1 convolution computes the product with a constant matrix about 3 times as fast"
        yield "slow", reason, "Use conv with tokens along the last axis"


def _stalled_weights(operation: Operation, context: _Context) -> Iterator[Problem]:
    weight = _argument(operation, "weight")
    # Decompressed weights reach the engine in another form, of which nothing is known.
    if weight is None or not context.is_constant(weight) or context.producer(weight).startswith("constexpr_"):
        return
    if stalls(weight.shape):
        reason = f"{describe_stall(weight.shape)}; on M4 it took twice the time"
        yield "slow", reason, "Split the output channels into two operations, or change their number"


def _product_of_scales(operation: Operation, context: _Context) -> Iterator[Problem]:
    if context.generation not in _INTEGER_ENGINES:
        return
    given = [context.producers.get(tensor) for _, tensor in operation.operands()]
    given_scales = [_scale(producer) for producer in given if producer and producer.op == "dequantize"]
    users = [user for user in context.consumers.get(operation.results[0], []) if user.op == "quantize"]
    if any(_scale(user) != scale for user in users for scale in given_scales):
        reason = "the scale of its quantized result is used for its dequantized operand on M5 Pro"
        yield "wrong numbers", reason, "Clip the product to the range of the quantized result"


def _scale(operation: Operation) -> bytes | str | None:
    scale = _argument(operation, "scale")
    return None if scale is None else scale.constant_data


def _wide_kernel(operation: Operation, context: _Context) -> Iterator[Problem]:
    weight, most = _argument(operation, "weight"), context.profile["max_kernel_width"]
    if weight is not None and weight.width > most:
        reason = f"the kernel is {weight.width} wide; {context.generation} takes at most {most}"
        yield "fails", reason, "Split the kernel, or put it along the height"


def _absent(operation: Operation, context: _Context) -> Iterator[Problem]:
    if operation.op == "topk" and not context.profile["has_topk"]:
        yield "fails", "it came with h14 (M2)", "Compute it on the CPU"
    if operation.op in ("sin", "cos") and not context.profile["has_sine"]:
        yield "fails", "it came with h15 (M3)", "Make the values constants, or compute them on the CPU"


_OPERATION_RULES: tuple[tuple[set[str], _Check], ...] = (
    ({"slice_by_size", "slice_by_index", "crop"}, _last_axis_slice),
    ({"conv"}, _run_time_weights),
    ({"tile"}, _tile),
    ({"scaled_dot_product_attention"}, _attention_mask),
    ({"mul"}, _scaled_integers),
    ({"mul"}, _reduction_times_zero),
    ({"square"}, _square),
    ({"matmul"}, _matmul_by_constant),
    ({"conv", "linear"}, _stalled_weights),
    ({"mul"}, _product_of_scales),
    ({"conv", "conv_transpose"}, _wide_kernel),
    ({"sin", "cos", "topk"}, _absent),
)


# Rules about the whole program


def _ports(context: _Context) -> Iterator[Finding]:
    for tensor in (*context.graph.inputs, *context.graph.outputs):
        if tensor.dtype == "fp32" and not context.profile["casts_fp32"]:
            reason = f"{tensor.name!r} is fp32, which the private framework reportedly refuses on M1 and M2"
            yield Finding(tensor.line, "port", "fails", reason, "Use fp16, and convert on the CPU")
        elif tensor.dtype == "fp32":
            reason = f"{tensor.name!r} is fp32; fp16 ports were 37 % faster"
            yield Finding(tensor.line, "port", "slow", reason, "Use fp16, and convert on the CPU")
        whole = 64 // (4 if tensor.dtype == "fp32" else 2)
        if tensor.width % whole:
            reason = f"rows of {tensor.name!r} are {tensor.width} wide and padded to a multiple of 64 bytes"
            remedy = f"Use a multiple of {whole}"
            yield Finding(tensor.line, "port", "slow", reason, remedy)


def _extents(context: _Context) -> Iterator[Finding]:
    matrices = {t for o in context.operations if o.op == "matmul" for _, t in o.operands()}
    results = [(t, o.op, o.line) for o in context.operations for t in o.results]
    tensors = [*((t, "port", t.line) for t in context.graph.inputs), *results]
    # The engine sees a compressed weight only after decompression.
    stored = {t for o in context.operations if o.op.startswith("constexpr_") for _, t in o.operands()}
    constants = [t for t in context.graph.statements if isinstance(t, Tensor) and t not in stored]
    tensors += [(t, "const", t.line) for t in constants]
    for tensor, op, line in tensors:
        for index, extent in enumerate(tensor.shape):
            spatial = index >= tensor.rank - 2 and (tensor.rank > 2 or tensor in matrices)
            most = context.profile["max_spatial_extent" if spatial else "max_extent"]
            if extent > most:
                kind = "a height, width or matrix axis" if spatial else "an axis"
                limit = f"{kind} of {context.generation} has at most {most} elements"
                yield Finding(line, op, "fails", f"{tensor.name!r} is {tensor.type}; {limit}", "Split it")


def _weights(context: _Context) -> Iterator[Finding]:
    constants = [statement for statement in context.graph.statements if isinstance(statement, Tensor)]
    constants += [t for operation in context.operations for _, t in operation.operands() if not t.name]
    blobs = context.graph.blobs
    sizes = {blobs.get(tensor, tensor): tensor.type.bytes for tensor in constants if tensor.dtype != "string"}
    stored = sum(sizes.values())
    size = f"{stored / _MEBIBYTE:.0f} MiB of constants"
    if stored > _MOST_WEIGHTS:
        reason = f"{size} in one program; the engine's compiler takes at most 2048 MiB"
        yield Finding(None, "program", "fails", reason, "Split it into several programs")
    elif context.generation == "h15" and stored > 60 * _MEBIBYTE:
        reason = f"{size} in one program; more than 60 MiB failed to compile on M3 Max"
        yield Finding(None, "program", "fails", reason, "Split it into several programs")
    elif stored > 32 * _MEBIBYTE:
        reason = f"{size} in one program; throughput on M4 Max falls from about 32 MiB on"
        yield Finding(None, "program", "slow", reason, "Split it into several programs")


_PROGRAM_RULES: tuple[Callable[[_Context], Iterator[Finding]], ...] = (_ports, _extents, _weights)
