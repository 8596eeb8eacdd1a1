"""Updating the parameters from accumulated gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .. import _ane_native as native
from .config import TrainingConfig
from .kernels import Floats


@dataclass(frozen=True)
class Update:
    """What an update did; one whose gradient is not finite does nothing."""

    learning_rate: float
    gradient_norm: float  # before clipping
    applied: bool


def update(
    config: TrainingConfig,
    number: int,
    applied_before: int,
    parts: Mapping[str, Mapping[str, Floats]],
    gradients: Mapping[str, Floats],
    gradient_scale: float,
) -> Update:
    """Update number `number`, from 0 on, of the parameters and moments in `parts`.

    Gradients are multiplied by `gradient_scale`: one over the loss scale and the sequences that they sum up.
    """
    norm = gradient_scale * math.sqrt(sum(native.sum_of_squares(gradient) for gradient in gradients.values()))
    rate = config.rate(number)
    if not math.isfinite(norm):
        return Update(rate, norm, applied=False)
    if config.clip is not None and norm > config.clip:
        gradient_scale *= config.clip / norm
    for name, parameter in parts["parameters"].items():
        native.adam(
            parameter,
            gradients[name],
            parts["mean"][name],
            parts["variance"][name],
            step=applied_before + 1,
            learning_rate=rate,
            beta1=config.beta1,
            beta2=config.beta2,
            epsilon=config.epsilon,
            weight_decay=config.weight_decay if parameter.ndim > 1 else 0.0,
            gradient_scale=gradient_scale,
        )
    return Update(rate, norm, applied=True)
