"""Define small training runs."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from aneperf.kernels import TransformerConfig
from aneperf.training.checkpoint import Run
from aneperf.training.config import TrainingConfig
from aneperf.training.data import SyntheticTokens
from aneperf.training.events import StepDone
from aneperf.training.hugging_face import Origin
from aneperf.training.models import Parameters, random_parameters
from aneperf.training.record import RunOptions
from aneperf.training.trainer import Trainer

MODEL = TransformerConfig(dim=32, hidden=64, layers=2, heads=4, kv_heads=2, head_dim=8, vocab=64, seq=16)

# MODEL as options of the verb train.
SHAPE = [
    *("--dim", "32", "--hidden", "64", "--layers", "2", "--heads", "4", "--kv-heads", "2"),
    *("--head-dim", "8", "--vocab", "64", "--seq", "16"),
]
SMALL = [*SHAPE, "--steps", "6", "--accumulation", "3"]

RUN: dict[str, Any] = {
    "steps": 12,
    "accumulation": 3,
    "learning_rate": 1e-2,
    "seed": 4,
    "checkpoint_every": 0,
}


CONFIG = TrainingConfig(MODEL, steps=9, accumulation=3, learning_rate=1e-2)


DATA = SyntheticTokens(MODEL.vocab, MODEL.seq, seed=3)


KEPT = RunOptions(
    device="emulator:h16",
    compile_timeout=120.0,
    data="synthetic",
    weights=None,
    state_folder=None,
    eval_data=None,
    eval_every=10,
    eval_sequences=20,
    telemetry=None,
    tensorboard=None,
    checkpoint_every=10.0,
    keep=2,
    peak_tflops=None,
)


def described(config: TrainingConfig, origin: Origin | None = None) -> Run:
    """Return what checkpoints of a run with this configuration tell of it."""
    return Run(config, "synthetic", None, KEPT, origin)


def trainer(device_name: str, config: TrainingConfig = CONFIG, **options: object) -> Trainer:
    return Trainer(config, random_parameters(config.model), DATA, device=device_name, **options)  # type: ignore[arg-type]


def worker_pid(run: Trainer) -> int | None:
    worker = run._workers.current  # which a thread may find gone at any time
    return None if worker is None else worker.pid


def copied(parameters: Parameters) -> Parameters:
    return {name: value.copy() for name, value in parameters.items()}


@cache
def undisturbed(device_name: str, config: TrainingConfig = CONFIG) -> tuple[list[float], Parameters]:
    """Return the losses and the trained parameters of a run that nothing disturbs."""
    with trainer(device_name, config) as run:
        losses = [event.loss for event in run.run() if isinstance(event, StepDone)]
        return losses, copied(run.parts["parameters"])


DEEP = replace(CONFIG, model=replace(MODEL, layers=12), steps=4, accumulation=2)  # a worker for each batch


def assert_trained_alike(some: Parameters, others: Parameters, learning_rate: float) -> None:
    """Check that two runs differ by rounding alone.

    Sums in another order round differently. Adam divides a gradient by its size, so where one is nearly 0,
    rounding changes a value by a share of the learning rate; values are rarely so.
    """
    for name, value in some.items():
        difference = np.abs(value - others[name])
        assert difference.max() <= 0.2 * learning_rate, name
        assert difference.mean() <= 1e-3 * learning_rate, name
