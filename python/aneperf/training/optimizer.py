"""The optimizer: Adam with decoupled weight decay (AdamW), clipping, and loss scaling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .. import _ane_native as native
from .config import TrainingConfig
from .kernels import Floats


@dataclass(frozen=True)
class Update:
    """Describes an update; it is not applied if the gradient is not finite."""

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
    """Make the update with this number, counted from 0, of the parameters and moments in `parts`.

    `gradient_scale` turns the sum of scaled gradients into their mean: 1 / (loss scale * sequences).
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
