"""The optimizer: Adam with decoupled weight decay (AdamW), clipping, and loss scaling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass

from .. import _ane_native as native
from ..bounds import LOSS_SCALE
from ..errors import AneError
from .config import TrainingConfig
from .kernels import Floats
from .state import RunState

# Source of the groups: maderix/ANE, training/training_dynamic. Norms' weights are in none of them.
_GROUPS = {
    "attn": {"wq", "wk", "wv", "wo"},
    "ffn": {"w1", "w2", "w3"},
    "embed": {"embedding", "classifier"},
}


@dataclass(frozen=True)
class Update:
    """Describes an update; it is not applied if the gradient is not finite."""

    learning_rate: float
    gradient_norm: float  # before clipping
    norms: Mapping[str, float]  # the same of the parameters of attention, feed-forward and embedding
    applied: bool


def update(
    config: TrainingConfig,
    state: RunState,
    parts: Mapping[str, Mapping[str, Floats]],
    gradients: Mapping[str, Floats],
    sequences: int,
) -> Update:
    """Update the parameters and moments in `parts` from a batch's sum of gradients.

    The gradients are scaled by `state.loss_scale`. If they are not finite, that is halved, and the parameters
    stay. The state moves on by the batch's `sequences` in either case. Raises AneError where halving does not
    help.
    """
    rate, scale = config.rate(state.step // config.accumulation), 1 / (state.loss_scale * sequences)
    squares = {name: native.sum_of_squares(gradient) for name, gradient in gradients.items()}
    norm = scale * math.sqrt(sum(squares.values()))
    norms = {group: scale * math.sqrt(_total(squares, kinds)) for group, kinds in _GROUPS.items()}
    if not math.isfinite(norm):
        if state.loss_scale / 2 < LOSS_SCALE[0]:
            raise AneError(
                f"the gradient is not finite even at a loss scale of {state.loss_scale:g}: training has "
                "diverged; resume an earlier checkpoint with a lower learning rate, or with --clip"
            )
        state.loss_scale /= 2
        state.step += sequences
        return Update(rate, norm, norms, applied=False)
    state.step += sequences
    if config.clip is not None and norm > config.clip:
        scale *= config.clip / norm
    state.applied_updates += 1
    for name, parameter in parts["parameters"].items():
        native.adam(
            parameter,
            gradients[name],
            parts["mean"][name],
            parts["variance"][name],
            step=state.applied_updates,
            learning_rate=rate,
            beta1=config.beta1,
            beta2=config.beta2,
            epsilon=config.epsilon,
            weight_decay=config.weight_decay if parameter.ndim > 1 else 0.0,
            gradient_scale=scale,
        )
    return Update(rate, norm, norms, applied=True)


def _total(squares: Mapping[str, float], kinds: Set[str]) -> float:
    """Add up those of the parameters of these kinds, and of their adapters."""
    return sum((value for name, value in squares.items() if not kinds.isdisjoint(name.split("."))), 0.0)
