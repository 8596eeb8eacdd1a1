"""Rules about a program: its ports, shapes and weights. docs/lint.md lists them with their sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..mil import Tensor
from .context import Context, argument
from .finding import Finding

_MEBIBYTE = 1 << 20
_CRASHING_CHAIN = 387  # convolutions
_MOST_WEIGHTS = 2 << 30  # bytes, by the compiler's own message


def _ports(context: Context) -> Iterator[Finding]:
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


def _extents(context: Context) -> Iterator[Finding]:
    matrices = {t for o in context.operations if o.op == "matmul" for _, t in o.operands()}
    results = [(t, o.op, o.line) for o in context.operations for t in o.results]
    tensors = [*((t, "port", t.line) for t in context.graph.inputs), *results]
    # The engine sees a compressed weight only after decompression.
    stored = {t for o in context.operations if o.op.startswith("constexpr_") for _, t in o.operands()}
    constants = [t for t in context.graph.statements if isinstance(t, Tensor) and t not in stored]
    tensors += [(t, "const", t.line) for t in constants]
    least = min(context.profile["max_spatial_extent"], context.profile["max_extent"])
    for tensor, op, line in tensors:
        if max(tensor.shape, default=0) <= least:
            continue
        for index, extent in enumerate(tensor.shape):
            spatial = index >= tensor.rank - 2 and (tensor.rank > 2 or tensor in matrices)
            most = context.profile["max_spatial_extent" if spatial else "max_extent"]
            if extent > most:
                kind = "a height, width or matrix axis" if spatial else "an axis"
                limit = f"{kind} of {context.generation} has at most {most} elements"
                yield Finding(line, op, "fails", f"{tensor.name!r} is {tensor.type}; {limit}", "Split it")


def _weights(context: Context) -> Iterator[Finding]:
    constants = [statement for statement in context.graph.statements if isinstance(statement, Tensor)]
    constants += [tensor for tensor in context.consumers if not tensor.name]
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


def _chains(context: Context) -> Iterator[Finding]:
    if context.generation != "h18":
        return
    lengths: dict[Tensor | None, int] = {}
    for operation in context.operations:
        if operation.op == "conv":
            length = lengths[operation.results[0]] = lengths.get(argument(operation, "x"), 0) + 1
            if length == _CRASHING_CHAIN:
                reason = (
                    f"it is number {length} in a chain of convolutions, at which the compiler for M6 crashes "
                    "or hangs; that for A19 Pro takes 512"
                )
                yield Finding(operation.line, "conv", "fails", reason, "Split it into several programs")


PROGRAM_RULES: tuple[Callable[[Context], Iterator[Finding]], ...] = (_ports, _extents, _weights, _chains)
