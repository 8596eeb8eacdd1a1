"""Rules about a program: its ports, shapes and weights. docs/lint.md lists them with their sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..mil import Operation, Tensor
from .context import Context, argument
from .finding import Finding

_MEBIBYTE = 1 << 20
_TWO_ENGINES = ("h18g", "h19")  # the compiler does the same for both
_CONVOLUTIONS = ("conv", "conv_transpose", "linear")
_CRASHING_LENGTHS = ((1024, 768), (512, 385), (0, 387))  # least channels, and the length that crashes


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


def _weights(context: Context) -> Iterator[Finding]:
    constants = [statement for statement in context.graph.statements if isinstance(statement, Tensor)]
    constants += [tensor for tensor in context.consumers if not tensor.name]
    blobs = context.graph.blobs
    sizes = {blobs.get(tensor, tensor): tensor.type.bytes for tensor in constants if tensor.dtype != "string"}
    stored = sum(sizes.values())
    size = f"{stored / _MEBIBYTE:.0f} MiB of constants"
    if context.generation == "h15" and stored > 60 * _MEBIBYTE:
        reason = f"{size} in one program; more than 60 MiB failed to compile on M3 Max"
        yield Finding(None, "program", "fails", reason, "Split it into several programs")
    elif stored > 32 * _MEBIBYTE:
        reason = f"{size} in one program; throughput on M4 Max falls from about 32 MiB on"
        yield Finding(None, "program", "slow", reason, "Split it into several programs")


def _files(context: Context) -> Iterator[Finding]:
    paths = {place.path for place in context.graph.blobs.values()}
    if len(paths) > 1 and context.macos >= 27:
        reason = (
            f"its constants are in {len(paths)} weight files; macOS 27, and no system before it, compares "
            "the files' hashes in two orders, and refuses all programs with more than one "
            '("verifyBundleAtPath: hash mismatch")'
        )
        remedy = "Put all constants into one file, as aneperf.mil does and, on macOS 27, the bridge"
        yield Finding(None, "program", "fails", reason, remedy)


def _chains(context: Context) -> Iterator[Finding]:
    """Find the first convolution at which the compiler for two engines fails, whatever lies between them."""
    if crashing_length(context.generation, 0) is None:
        return
    lengths: dict[Tensor, int] = {}
    for operation in context.operations:
        before = max((lengths.get(tensor, 0) for _, tensor in operation.operands()), default=0)
        length = before + (operation.op in _CONVOLUTIONS)
        lengths.update(dict.fromkeys(operation.results, length))
        if length > before and length >= _length_that_crashes(operation):
            reason = (
                f"it is number {length} in a chain of convolutions: on M6 the compiler crashes or hangs, and "
                "then blocks every process, or Core ML silently takes the CPU"
            )
            yield Finding(operation.line, operation.op, "fails", reason, "Split it into several programs")
            return


def _length_that_crashes(convolution: Operation) -> int:
    weight = argument(convolution, "weight")
    return _length(weight.shape[0] if weight is not None and weight.rank else 0)


def crashing_length(generation: str, channels: int) -> int | None:
    """Return the length from which a chain of convolutions crashes a compiler; None if unknown."""
    if generation not in _TWO_ENGINES:
        return None
    return _length(channels)


def _length(channels: int) -> int:
    return next(length for least, length in _CRASHING_LENGTHS if channels >= least)


PROGRAM_RULES: tuple[Callable[[Context], Iterator[Finding]], ...] = (_ports, _files, _weights, _chains)
