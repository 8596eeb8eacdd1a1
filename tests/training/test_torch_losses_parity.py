"""Training runs against a model in PyTorch, in float32."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf.device import name_of
from aneperf.kernels import TransformerConfig
from aneperf.training.config import TrainingConfig
from aneperf.training.data import Data, TokenFile
from aneperf.training.events import StepDone
from aneperf.training.models import Parameters, random_parameters
from aneperf.training.trainer import Trainer
from support.torch_llama import WIDE, leaves, loss_of, model, torch

ADAM: dict[str, Any] = {"steps": 20, "accumulation": 1}
# On the refrain the loss falls by half a nat a step, and at higher rates a difference in rounding grows:
# Adam's first updates are as large for a tiny gradient as for any other.
SLOW_ADAM: dict[str, Any] = {**ADAM, "learning_rate": 1e-4}
ADAMW: dict[str, Any] = {
    "steps": 40,
    "accumulation": 2,
    "learning_rate": 3e-4,
    "beta2": 0.95,
    "weight_decay": 0.1,
    "warmup": 5,
    "decay": "cosine",
    "clip": 1.0,
}


class Refrain:
    """A text of a few words, repeated, which a model learns in a few updates."""

    def __init__(self, config: TransformerConfig) -> None:
        words = np.random.default_rng(7).integers(0, config.vocab, 50)
        self._text, self._seq = np.tile(words, 2 + config.seq // len(words)), config.seq

    def sequence(self, step: int) -> np.ndarray:
        begin = 7 * step % 50
        return self._text[begin : begin + self._seq + 1]


def documentation(config: TransformerConfig, folder: Path) -> Data:
    """Return the bytes of Python's own documentation."""
    text = Path(pytest.importorskip("pydoc_data.topics").__file__).read_bytes()
    np.frombuffer(text, np.uint8).astype("<u2").tofile(folder / "tokens.bin")
    return TokenFile(folder / "tokens.bin", config.vocab, config.seq, seed=0)


def torch_losses(config: TrainingConfig, parameters: Parameters, data: Data) -> list[float]:
    """Return the loss of every step."""
    p = leaves(parameters)
    groups = [
        {"params": [x for x in p.values() if x.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [x for x in p.values() if x.ndim == 1], "weight_decay": 0.0},
    ]
    betas = (config.beta1, config.beta2)
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=config.epsilon)
    losses = []
    for step in range(config.steps):
        loss = loss_of(p, torch.from_numpy(data.sequence(step)), config.model)
        (loss / config.accumulation).backward()
        losses.append(loss.item())
        if (step + 1) % config.accumulation == 0:
            if config.clip is not None:
                torch.nn.utils.clip_grad_norm_(p.values(), config.clip)
            for group in optimizer.param_groups:
                group["lr"] = rate(config, step // config.accumulation)
            optimizer.step()
            optimizer.zero_grad()
    return losses


def rate(config: TrainingConfig, update: int) -> float:
    """Warm up linearly, then follow PyTorch's cosine to a tenth at the end of the run."""
    if update < config.warmup:
        return config.learning_rate * (update + 1) / config.warmup
    if config.decay == "constant":
        return config.learning_rate
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=config.learning_rate)
    updates = config.steps // config.accumulation - config.warmup
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, updates, eta_min=config.final_rate * config.learning_rate
    )
    for _ in range(update - config.warmup):
        optimizer.step()
        schedule.step()
    return float(schedule.get_last_lr()[0])


OPTIMIZERS = {
    "adam": (ADAM, "documentation"),
    "slow adam": (SLOW_ADAM, "refrain"),
    "adamw": (ADAMW, "refrain"),
}
REAL = product(["stories260k"], OPTIMIZERS, ["static", "static-ane"])
# Random models take each pipeline and each optimizer, but not each pair.
RANDOM = [
    ("random stories260k", "adam", "static"),
    ("random stories260k", "adam", "static-ane"),
    ("random stories260k", "slow adam", "static"),
    ("random stories260k", "adamw", "static-ane"),
    ("wide", "adam", "static"),
    ("wide", "adamw", "static-ane"),
]


@pytest.mark.parametrize(("name", "optimizer", "pipeline"), [*REAL, *RANDOM])
def test_losses_of_twenty_updates(
    fp32_device: aneperf.Device, tmp_path: Path, name: str, optimizer: str, pipeline: Any
) -> None:
    model_config, parameters = model(name)
    if name == "wide":  # it soon learns the vocabulary
        model_config = replace(WIDE, vocab=4000)
        parameters = random_parameters(model_config)
    options, text = OPTIMIZERS[optimizer]
    config = TrainingConfig(model_config, pipeline=pipeline, **options)
    data = Refrain(model_config) if text == "refrain" else documentation(model_config, tmp_path)
    with Trainer(config, parameters, data, device=name_of(fp32_device)) as run:
        losses = [event.loss for event in run.run() if isinstance(event, StepDone)]
    expected = torch_losses(config, parameters, data)
    assert len(losses) == config.steps
    assert expected[-1] < expected[0] - 0.15  # otherwise there is little to compare
    np.testing.assert_allclose(losses, expected, rtol=0, atol=0.02)
