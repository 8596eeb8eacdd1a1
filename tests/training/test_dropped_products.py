"""The effect of the engine's arithmetic on training, against plain arithmetic on the same data."""

import numpy as np
import pytest

import aneperf
from aneperf.kernels import TransformerConfig
from aneperf.training.config import TrainingConfig
from aneperf.training.models import random_parameters
from support.small_model import LETTERS, corpus, losses_in_training

MODEL = TransformerConfig(
    dim=64, hidden=128, layers=2, heads=4, kv_heads=2, head_dim=16, vocab=len(LETTERS), seq=128
)


def losses(chip: str, scale: float) -> list[float]:
    """Return the losses of 20 updates from random weights, on sentences."""
    config = TrainingConfig(MODEL, steps=20, accumulation=1, learning_rate=1e-3, loss_scale=scale)
    text = corpus(150, seed=0)
    texts = (text[begin : begin + MODEL.seq + 1] for begin in range(0, 20 * MODEL.seq, MODEL.seq))
    device = aneperf.open(chip=chip)
    return losses_in_training(device, config, random_parameters(MODEL), texts)


@pytest.mark.thorough
def test_the_loss_scale_keeps_losses_close_to_plain_arithmetic() -> None:
    default = TrainingConfig(MODEL).loss_scale
    plain = losses("none", default)
    assert plain[-1] < plain[0] - 0.15  # otherwise there is little to compare
    scaled, unscaled = (np.abs(np.subtract(losses("h16", s), plain)).max() for s in (default, 1.0))
    assert scaled < 1e-4
    assert unscaled > 1e-2
