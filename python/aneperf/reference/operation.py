"""Describe an operation in float64: what it computes, an example of its use, and the error to expect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .precision import ROUNDING

Shape = tuple[int, ...]
Values = Literal["normal", "positive", "grid", "large"]


@dataclass(frozen=True)
class Reference:
    """An operation in float64.

    `compute` takes the arguments by their names in MIL. `arguments` are those of an example, whose other
    operands are inputs of the given shapes (all alike by default) and values: standard normal, positive in
    [0.25, 4], on a grid of eighths up to 8, or up to 64. `exact` marks operations that move or choose
    elements, or whose results in the example are fp16 numbers. `measured` is the largest relative error that
    others have measured on engines, most of which comes from tables that the engine looks up: in the sweep of
    aneforge on an M5 Pro (relative, in the norm), for exp and norms in 751K's on an M6 (9.1 and 2.1 units in
    the last place), for attention in cadamcat's on an M5 Pro, and for matmul, linear, softplus and softsign
    in the probes of deverik and ironmill.
    """

    compute: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    shapes: tuple[Shape, ...] = ()
    values: Values = "normal"
    exact: bool = False
    measured: float = 0.0

    @property
    def tolerance(self) -> float:
        """Return the largest error that is no fault, relative to the largest result: twice the measured."""
        return 0.0 if self.exact else max(ROUNDING, 2 * self.measured)


def weights(*shape: int, scale: float = 0.2) -> NDArray[np.float16]:
    """Draw constants for an example, the same in every process."""
    return (np.random.default_rng(len(shape)).standard_normal(shape) * scale).astype(np.float16)


def integers(high: int, *shape: int) -> NDArray[np.uint8]:
    """Draw integers from 0 to below `high` for an example, the same in every process."""
    return np.random.default_rng(high).integers(0, high, shape, np.uint8)
