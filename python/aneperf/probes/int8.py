"""int8: fp16 against W8A8 on the published five configurations, in turns."""

import time
from collections.abc import Sequence

import msgspec

from .._ane_native import Device
from ..kernels.conv_stack import ConvStack
from ..kernels.quantized_stack import QuantizedStack
from ..results import Result
from ..runner.case import Case, StackCase, check_stacks, refuse_repetition
from ..runner.progress import ProgressCallback
from ..runner.rounds import Repeat
from ..runner.run import run_groups
from ..runner.timing import Clock, time_pair
from .registry import default_budget

INT8_PUBLISHED = tuple(
    QuantizedStack(channels=channels, depth=depth, height=64, width=64)
    for channels, depth in ((512, 128), (512, 64), (256, 256), (256, 128), (384, 128))
)
_NOTES = (
    "Ratio: time in fp16 / time in W8A8, timed in turns, ± the larger half of its 95 % interval.",
    "W8A8: int8 weights, dequantized as they are read; activations pass through int8 between layers, as in "
    "the published benchmark. Weights and scales keep values in range. Ports are fp16.",
)


def int8(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("int8"),
    configs: Sequence[QuantizedStack] = INT8_PUBLISHED,
    processes: int = 1,
    progress: ProgressCallback | None = None,
    clock: Clock = time.perf_counter,
) -> Result:
    """Time stacks of convolutions in fp16 and in W8A8, in turns, and check every output.

    `budget` is in seconds of `clock`, for the whole probe. `processes` are as those of `peak`. Keys:
    "int8/conv512x128/sp64x64/fp16" and ".../w8a8". The metrics of the latter hold fp16's time over its own:
    "ratio", "ratio_low" and "ratio_high".
    Raises ArgumentError, DeviceUnavailable.
    """
    check_stacks(configs, QuantizedStack)
    pairs = [[_case(_in_fp16(stack), "FP16"), _case(stack, "W8A8")] for stack in configs]
    order = [case.key for pair in pairs for case in pair]
    refuse_repetition(case for pair in pairs for case in pair)
    # The quick pairs come first: a pair that overruns its share then takes no time from them.
    pairs.sort(key=lambda pair: pair[0].kernel.flops)

    result = run_groups(
        "int8",
        device,
        pairs,
        time_pair,
        budget=budget,
        progress=progress,
        clock=clock,
        notes=_NOTES,
        repeat=Repeat(processes, int8, {"configs": configs}),
    )
    rows = sorted(result.rows, key=lambda row: order.index(row.key))
    return msgspec.structs.replace(result, rows=tuple(rows))


def _in_fp16(stack: QuantizedStack) -> ConvStack:
    return ConvStack(
        stack.channels, stack.depth, stack.height, stack.width, port_dtype="fp16", seed=stack.seed
    )


def _case(stack: ConvStack, precision: str) -> Case:
    area = f"sp{stack.width}" if stack.height == 1 else f"sp{stack.height}x{stack.width}"
    return StackCase(
        key=f"int8/conv{stack.channels}x{stack.depth}/{area}/{precision.lower()}",
        kernel=stack,
        params={
            "config": f"{precision} {stack.name}",
            "precision": precision.lower(),
            "channels": stack.channels,
            "depth": stack.depth,
            "height": stack.height,
            "width": stack.width,
        },
    )
