"""The share of training that an allreduce of the gradients takes, and where the time of a step is from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import get_args

from ..chips import Chip, chips_of, find_chip
from ..chips.summaries import Summary, summaries
from ..errors import ArgumentError
from ..kernels.config import TransformerConfig
from ..kernels.presets import model_name
from ..kernels.schedule import Pipeline
from ..prediction import predict_training
from ..results import Environment, Row

_ACCUMULATIONS = (1, 10)  # steps in a batch: as small as can be, and the default of training


@dataclass(frozen=True)
class Step:
    """The time of a training step, and who says so. `is_least`: the step takes longer by an unknown time."""

    ms: float
    origin: str
    is_least: bool = False


def judge_share(
    row: Row, shape: TransformerConfig, environment: Environment, step_ms: float | None
) -> list[str]:
    """Say how long the sum of the gradients takes, and what share of a batch that is, if a step is known."""
    if row.status != "ok" or row.median is None:
        return []
    size = f"{row.params['bytes'] * 1e-6:,.1f} MB" if isinstance(row.params["bytes"], int) else ""
    said = f"The gradients of {model_name(shape)} are {size}: an allreduce takes {row.median:.4g} ms."
    step = step_of(shape, environment, step_ms)
    if step is None:
        return [
            said,
            "Share of a training step: unavailable: its time is not known. Give yours as --step-ms.",
        ]
    bound = "at most " if step.is_least else ""
    told = " and ".join(
        f"{row.median / (row.median + steps * step.ms):.0%} of a batch of {_counted(steps)}"
        for steps in _ACCUMULATIONS
    )
    return [said, f"{step.origin}. Without overlap the allreduce takes {bound}{told} (--accumulation)."]


def _counted(steps: int) -> str:
    return "1 step" if steps == 1 else f"{steps} steps"


def step_of(shape: TransformerConfig, environment: Environment, step_ms: float | None) -> Step | None:
    """Return the time of a step: the one given, or the published one, or what is predicted of it."""
    if step_ms is not None:
        return Step(step_ms, f"A step takes {step_ms:g} ms (given)")
    chip = _chip_of(environment)
    if chip is None:
        return None
    keys = [f"training/{pipeline}/{model_name(shape)}/step" for pipeline in get_args(Pipeline)]
    known = chain.from_iterable(summaries(chip=chip.name, key=key) for key in keys)
    if (summary := next((one for one in known if one.unit == "ms" and one.value), None)) is not None:
        return _published(summary)
    engine = predict_training(shape, chip).ms
    return Step(
        engine.value,
        f"The engine's part of a step takes {engine.value:.3g} ms ({engine.low:.3g} to {engine.high:.3g}) on "
        f"{chip.name}, predicted; the host's part is not known",
        is_least=True,
    )


def _published(summary: Summary) -> Step:
    assert summary.value is not None
    among = "" if summary.low == summary.high else f" ({summary.low:.4g} to {summary.high:.4g})"
    return Step(
        summary.value,
        f"A step takes {summary.value:.4g} ms{among} on {summary.chip}, published: {summary.key}",
    )


def _chip_of(environment: Environment) -> Chip | None:
    """Return the chip that trains or is imitated; of those that share an imitated engine, the first."""
    name = environment.properties.get("imitates", environment.chip)
    try:
        return find_chip(name)
    except ArgumentError:
        return next(iter(chips_of(name)), None) if environment.is_software else None
