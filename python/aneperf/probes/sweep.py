"""Sweep: stacks of convolutions over positions, channels and depths, a row for each combination."""

import time
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import product
from typing import Literal, cast

from .._ane_native import Device
from ..checks import positive, shown
from ..device import info, opened
from ..errors import ArgumentError, CompileBudgetError
from ..kernels.conv_stack import ConvStack
from ..results import Result
from ..runner.case import Case, refuse_repetition, stack_case
from ..runner.in_child import each_in_child
from ..runner.measured import Measured
from ..runner.progress import ProgressCallback
from ..runner.rounds import Repeat
from ..runner.run import run_cases, run_groups
from ..runner.timing import Clock, part, time_together
from .peak import PORT_NOTES
from .registry import default_budget

SPATIAL = (64, 128, 256, 512, 1024, 2048)
# Powers of two, three times them, their neighbors, and others: 52 values, as in a published sweep.
CHANNELS = (
    *(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 63, 64, 65, 80, 96, 127, 128, 129, 160, 192, 255, 256, 257),
    *(320, 384, 448, 511, 512, 513, 576, 640, 768, 832, 896, 1023, 1024, 1025, 1152, 1280, 1536, 1792),
    *(2047, 2048, 2049, 2304, 2560, 3072, 3328, 3584, 4095, 4096),
)
DEPTH = (1, 2, 4, 8, 16, 32, 64, 128)
_IN_CHILDREN = "Measured in child processes, each with the compiles of one process."
_STACK_LIMIT_S = 120.0  # without a row: a compile or a call hangs
_LARGEST_BYTES = 2**31  # of weights, or of a port: a machine with little memory still holds that


def sweep(
    device: Device | str | None = None,
    *,
    spatial: Sequence[int] | None = None,
    channels: Sequence[int] | None = None,
    depth: Sequence[int] | None = None,
    budget: float = default_budget("sweep"),
    ports: Literal["fp32", "fp16"] = "fp32",
    processes: int = 1,
    progress: ProgressCallback | None = None,
    clock: Clock = time.perf_counter,
) -> Result:
    """Time the stack of every combination of positions, channels and depths.

    A dimension that is not given keeps its published value: 64 positions, 512 channels, and 128 layers (1 if
    channels vary). Without any, positions go from 64 to 2048. `CHANNELS` and `DEPTH` of this module are good
    values. `budget` is in seconds of `clock`, for the whole probe. `processes` are as those of `peak`. Child
    processes measure on the engine, and where this process has too few compiles left. Keys:
    "sweep/conv512x128/sp64/fp32-ports".
    Raises ArgumentError, also for a stack of more than 2 GiB; DeviceUnavailable.
    """
    cases = _cases(spatial, channels, depth, ports)
    device = opened(device)
    compiles_left = device.compile_budget.soft - device.compiles_used
    asked = {"spatial": spatial, "channels": channels, "depth": depth, "ports": ports}
    repeat = Repeat(processes, sweep, asked)
    is_safe = device.info()["kind"] != "ane" or part().processes > 1  # this is a child process then
    in_this_process = is_safe and len(cases) <= compiles_left
    if in_this_process or repeat.affordable(positive("budget", budget), device, len(cases)) > 1:
        return run_cases(
            "sweep",
            device,
            list(cases.values()),
            budget=budget,
            progress=progress,
            clock=clock,
            notes=[PORT_NOTES[ports]],
            repeat=repeat,
        )
    environment, few = info(device), repeat.note(budget, device, len(cases), 1)
    rows = each_in_child(
        measure_stacks,
        list(cases),
        device,
        budget=budget / part().to_come,
        item_limit=_STACK_LIMIT_S,
        lost=lambda text, measured: cases[text].row(measured),
        progress=progress,
        clock=clock,
    )
    return Result(
        probe="sweep",
        environment=environment,
        rows=tuple(rows),
        notes=(PORT_NOTES[ports], *few, _IN_CHILDREN),
    )


def _cases(
    spatial: Sequence[int] | None,
    channels: Sequence[int] | None,
    depth: Sequence[int] | None,
    ports: Literal["fp32", "fp16"],
) -> dict[str, Case]:
    """Return the case of every combination, by the text that names it to a child process."""
    if spatial is None and channels is None and depth is None:
        spatial = SPATIAL
    widths = _values("spatial", spatial, 64)
    depths = _values("depth", depth, 128 if channels is None else 1)
    counts = _values("channels", channels, 512)
    stacks = [
        ConvStack(channels=count, depth=layers, width=width, port_dtype=ports)
        for count, layers, width in product(counts, depths, widths)
    ]
    for stack in stacks:
        _refuse_large(stack)
    cases = {_text(stack): stack_case("sweep", stack) for stack in stacks}
    if len(cases) < len(stacks):
        refuse_repetition(stack_case("sweep", stack) for stack in stacks)
    return cases


def measure_stacks(
    device: Device,
    *,
    items: Sequence[str],
    budget: float,
    progress: ProgressCallback | None = None,
    clock: Clock = time.perf_counter,
) -> Result:
    """Time stacks in a child process. Raises CompileBudgetError once its compiles are used up."""
    groups = [[stack_case("sweep", _stack(text))] for text in items]
    return run_groups("sweep", device, groups, _measure_one, budget=budget, progress=progress, clock=clock)


def _measure_one(device: Device, group: Sequence[Case], share_s: float, clock: Clock) -> list[Measured]:
    (measured,) = time_together(device, group, share_s, clock)
    if measured.status == "skipped":
        raise CompileBudgetError(measured.reason)
    return [measured]


def _text(stack: ConvStack) -> str:
    return f"{stack.channels} {stack.depth} {stack.width} {stack.port_dtype}"


def _stack(text: str) -> ConvStack:
    channels, depth, width, ports = text.split()
    return ConvStack(
        int(channels), int(depth), width=int(width), port_dtype=cast(Literal["fp32", "fp16"], ports)
    )


def parse_values(name: str, text: str, all_values: Sequence[int]) -> list[int]:
    """Return the values of a text: "64,512", "64..2048" (doubling), or "all". Raises ArgumentError."""
    if text.strip() == "all":
        return list(all_values)
    values: list[int] = []
    for piece in text.split(","):
        first, dots, last = piece.strip().partition("..")
        ends = [first, last] if dots else [first]
        if not all(end.isascii() and end.isdecimal() and len(end) < 10 for end in ends):
            raise ArgumentError(f"{name}: {shown(piece.strip())} is no value: give 64,512 or 64..2048 or all")
        low, high = int(ends[0]), int(ends[-1])
        if not 0 < low <= high:
            raise ArgumentError(f"{name}: {shown(piece.strip())} is no value: they start at 1 and go upwards")
        while low <= high:
            values.append(low)
            low *= 2
    return list(dict.fromkeys(values))


parse_spatial = partial(parse_values, "--spatial", all_values=SPATIAL)
parse_channels = partial(parse_values, "--channels", all_values=CHANNELS)
parse_depth = partial(parse_values, "--depth", all_values=DEPTH)


def _values(name: str, given: Iterable[int] | None, otherwise: int) -> list[int]:
    if given is None:
        return [otherwise]
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ArgumentError(f"{name} must be a list of integers, not {shown(given)}")
    values = list(given)
    if not values:
        raise ArgumentError(f"{name} is empty: give at least one value")
    return values


def _refuse_large(stack: ConvStack) -> None:
    port_bytes = 4 * stack.channels * stack.height * stack.width
    for what, size in (("weights", stack.weight_bytes), ("each port", port_bytes)):
        if size > _LARGEST_BYTES:
            raise ArgumentError(
                f"{stack.name} has {size / 2**30:.1f} GiB of {what}, where a sweep takes "
                f"{_LARGEST_BYTES / 2**30:.0f}: give fewer channels, layers or positions"
            )
