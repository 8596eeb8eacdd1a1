"""The small run that the tests of training share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from support.training_runs import MODEL, RUN


@pytest.fixture(scope="session")
def fp32_device(device: aneperf.Device, plain: aneperf.Device) -> aneperf.Device:
    """Return the device under test, or the emulator that sums in fp32, as PyTorch does."""
    return plain if device.info()["kind"] == "emulator" else device


@pytest.fixture(scope="module")
def train(device_name: str) -> Callable[..., aneperf.TrainingResult]:
    """Return a small run on the device under test."""

    def train(**options: Any) -> aneperf.TrainingResult:
        return aneperf.train(options.pop("model", MODEL), **{"device": device_name, **RUN, **options})

    return train


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.bin"
    np.random.default_rng(0).integers(0, MODEL.vocab, 500).astype("<u2").tofile(path)
    return path
