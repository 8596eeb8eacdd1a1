"""Weights whose transfer to the engine's cores stalls, at about twice its time.

It stalls where the weights of one core, of 16, lie within 16 KiB of a multiple of 1 MiB. Source: pull request
110 of kasper0406/stablehlo-coreml, measured on M4, after a finding of Eileen Yoon. From M5 on no weights seem
to stall: 4,096 channels do not on M5 Max (maderix/ANE, pull request 50).
"""

import math
from collections.abc import Sequence

WITHOUT_STALLS = frozenset({"h17", "h18", "h18g", "h19"})  # generations
_CORES = 16
_MEBIBYTE = 1 << 20
_WINDOW = 16 << 10  # bytes


def bytes_per_core(weight: Sequence[int]) -> int:
    """Return the bytes of fp16 weights, of shape [out, in, ...], that each core holds."""
    return 2 * -(-weight[0] // _CORES) * math.prod(weight[1:])


def stalls(weight: Sequence[int]) -> bool:
    """Tell whether the transfer of fp16 weights of a shape stalls."""
    size = bytes_per_core(weight)
    nearest = max(1, round(size / _MEBIBYTE)) * _MEBIBYTE
    return abs(size - nearest) < _WINDOW


def describe_stall(weight: Sequence[int]) -> str:
    """Say why the transfer of weights of a shape stalls."""
    size = bytes_per_core(weight) / _MEBIBYTE
    return (
        f"{size:.2f} MiB of weights for each of {_CORES} cores, near a multiple of 1 MiB, stall on their way"
    )


def parts_without_stall(weight: Sequence[int]) -> int | None:
    """Return the least number of even parts of the input channels none of which stalls; None above 8."""
    outputs, inputs, *kernel = weight
    for parts in range(2, min(8, inputs) + 1):
        sizes = {inputs // parts, -(-inputs // parts)}
        if not any(stalls((outputs, size, *kernel)) for size in sizes):
            return parts
    return None
