"""Ports: the same stack with fp32 ports, cast inside the program, and with fp16 ports, in turns."""

import time
from collections.abc import Sequence
from dataclasses import replace

from .._ane_native import Device
from ..kernels.conv_stack import ConvStack
from ..results import Result
from ..runner.case import Case, check_stacks, refuse_repetition, stack_case
from ..runner.progress import ProgressCallback
from ..runner.rounds import Repeat
from ..runner.run import run_groups
from ..runner.timing import Clock, time_pair
from .registry import default_budget

# Little work and small ports; little work and large ports; much work and small ports.
STACKS = (
    ConvStack(channels=512, depth=1),
    ConvStack(channels=512, depth=1, width=2048),
    ConvStack(channels=512, depth=32),
    ConvStack(channels=512, depth=128),
)
_NOTE = (
    "Ratio: time with fp32 ports / with fp16 ports, timed in turns, ± the larger half of its 95 % interval."
)


def ports(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("ports"),
    configs: Sequence[ConvStack] = STACKS,
    processes: int = 1,
    progress: ProgressCallback | None = None,
    clock: Clock = time.perf_counter,
) -> Result:
    """Time stacks with fp32 ports and with fp16 ports, in turns.

    `budget` is in seconds of `clock`, for the whole probe. `processes` are as those of `peak`. Keys:
    "ports/conv512x1/sp64/fp32-ports" and ".../fp16-ports". The metrics of the latter hold the time with fp32
    ports over its own: "ratio", "ratio_low" and "ratio_high". A device without fp32 ports gives unsupported
    rows.
    Raises ArgumentError, DeviceUnavailable.
    """
    check_stacks(configs, ConvStack)
    pairs = [
        [_case(replace(stack, port_dtype="fp32")), _case(replace(stack, port_dtype="fp16"))]
        for stack in configs
    ]
    refuse_repetition(case for pair in pairs for case in pair)

    return run_groups(
        "ports",
        device,
        pairs,
        time_pair,
        budget=budget,
        progress=progress,
        clock=clock,
        notes=[_NOTE],
        repeat=Repeat(processes, ports, {"configs": configs}),
    )


def _case(stack: ConvStack) -> Case:
    return stack_case("ports", stack, config=f"{stack.port_dtype} {stack.name}")
