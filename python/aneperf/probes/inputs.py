"""Inputs: the same stack on random inputs and on zeros, in turns."""

import time
from collections.abc import Sequence
from dataclasses import fields

import msgspec

from .._ane_native import Device
from ..device import opened
from ..kernels.conv_stack import ConvStack
from ..kernels.repeated_stack import ZeroStack
from ..measure import PREEMPTED, Estimate
from ..results import Result, Row
from ..runner.case import Case, StackCase, check_stacks, refuse_repetition
from ..runner.energy import meter_cases, meter_of
from ..runner.measured import ratio_in
from ..runner.progress import ProgressCallback, reporter
from ..runner.rounds import Repeat
from ..runner.run import run_groups
from ..runner.timing import Clock, time_pair
from .registry import default_budget

# One is bound by arithmetic, and one by the reading of its weights.
STACKS = (
    ConvStack(channels=512, depth=16, width=512, port_dtype="fp16"),
    ConvStack(channels=512, depth=64, width=64, port_dtype="fp16"),
)
_NOTABLE = 0.05
_NOTE = "Ratio: time with random inputs / with zeros, timed in turns, ± the larger half of its 95 % interval."


def inputs(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("inputs"),
    configs: Sequence[ConvStack] = STACKS,
    processes: int = 1,
    energy: bool = False,
    progress: ProgressCallback | None = None,
    clock: Clock = time.perf_counter,
) -> Result:
    """Time stacks on random inputs and on zeros, in turns: do values change a time, or a power?

    `budget` is in seconds of `clock`, for the whole probe. `processes` are as those of `peak`. Keys:
    "inputs/conv512x16/sp512/random" and ".../zero". The metrics of the latter hold the time with random
    inputs over its own: "ratio", "ratio_low" and "ratio_high". With `energy`, which takes time besides the
    budget, each row has the power above idle, or why it is unknown. Notes hold the verdict.
    Raises ArgumentError, DeviceUnavailable.
    """
    check_stacks(configs, ConvStack)
    pairs = [[_case(stack, "random"), _case(_with_zeros(stack), "zero")] for stack in configs]
    refuse_repetition(case for pair in pairs for case in pair)
    device, report = opened(device), reporter(progress)
    meter = meter_of(device, report, clock) if energy else None
    result = run_groups(
        "inputs",
        device,
        pairs,
        time_pair,
        budget=budget,
        progress=report,
        clock=clock,
        repeat=Repeat(processes, inputs, {"configs": configs}),
    )
    if meter is not None:
        cases = [case for pair in pairs for case in pair]
        result = meter_cases(result, device, cases, meter, report, clock, constant_too=True)
    notes = [*judge_inputs(result.rows), _NOTE, *result.notes]
    if result.environment.is_software:
        notes.insert(0, f"The {result.environment.device} computes on a CPU: its times may depend on values.")
    return msgspec.structs.replace(result, notes=tuple(notes))


def _with_zeros(stack: ConvStack) -> ConvStack:
    return ZeroStack(**{field.name: getattr(stack, field.name) for field in fields(stack)})


def _case(stack: ConvStack, values: str) -> Case:
    area = str(stack.width) if stack.height == 1 else f"{stack.height}x{stack.width}"
    return StackCase(
        key=f"inputs/conv{stack.channels}x{stack.depth}/sp{area}/{values}",
        kernel=stack,
        params={
            "config": f"{values} {stack.name}",
            "values": values,
            "channels": stack.channels,
            "depth": stack.depth,
            "height": stack.height,
            "width": stack.width,
        },
    )


def judge_inputs(rows: Sequence[Row]) -> list[str]:
    """Say whether values change a time, and what power they take where it is known."""
    return [_judge_times(rows), *_judge_powers(rows)]


def _judge_powers(rows: Sequence[Row]) -> list[str]:
    """Say the power of each stack on random inputs and on zeros, with its interval."""
    watts: dict[str, dict[str, Estimate]] = {}
    for row in rows:
        metrics = row.metrics
        if row.status == "ok" and "power_w" in metrics:
            power = Estimate(metrics["power_w"], metrics.get("power_w_low"), metrics.get("power_w_high"))
            values = str(row.params["values"])
            watts.setdefault(row.name.removeprefix(f"{values} "), {})[values] = power
    return [
        f"Power, random / zero, {name}: {_watts(each['random'])} / {_watts(each['zero'])}."
        for name, each in watts.items()
        if len(each) > 1
    ]


def _watts(power: Estimate) -> str:
    ends = "without an interval" if power.ci_low is None else f"[{power.ci_low:.3g}, {power.ci_high:.3g}]"
    return f"{power.value:.3g} W {ends}"


def _judge_times(rows: Sequence[Row]) -> str:
    """Say whether values change a time, by the intervals of the ratios."""
    found = {
        str(row.params["config"]).removeprefix("zero "): ratio
        for row in rows
        if row.status == "ok" and (ratio := ratio_in(row)) is not None and ratio.ci_low
    }
    if not found:
        return "Nothing is known of an effect of values: no ratio has an interval."
    said = [
        f"{name} {ratio.as_factor()}"
        for name, ratio in found.items()
        if ratio.is_above(1 + _NOTABLE) or ratio.is_below(1 - _NOTABLE)
    ]
    if said and any(PREEMPTED in row.flags for row in rows):
        return (
            f"Values may change the time, random / zero: {', '.join(said)}. Other work took the CPU "
            "meanwhile: measure again on an idle machine."
        )
    if said:
        return f"Values change the time, random / zero: {', '.join(said)}."
    return f"No effect of values found: no interval, of {len(found)}, lies {_NOTABLE:.0%} from 1."
