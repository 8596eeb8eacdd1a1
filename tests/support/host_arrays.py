"""Make and compare arrays for the CPU's share of training."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import aneperf

Array = NDArray[Any]


def normal(seed: int, *shape: int, scale: float = 1.0) -> NDArray[np.float32]:
    """Return standard normal numbers times `scale`."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def assert_near(got: Array, expected: Array, tolerance: float = 1e-5) -> None:
    """Check against the largest value's share `tolerance`."""
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def surface(device: aneperf.Device, channels: int, positions: int) -> aneperf.Surface:
    """Make a surface of fp16 channels."""
    return device.make_surface(aneperf.Layout("fp16", (1, channels, 1, positions)))


def bad(call: Callable[[], Any], message: str) -> None:
    """Check that a call raises ArgumentError with this message."""
    with pytest.raises(aneperf.ArgumentError, match=message):
        call()
