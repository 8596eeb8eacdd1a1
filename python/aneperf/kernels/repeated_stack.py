"""Stacks of 1x1 convolutions that differ from the published ones in their weights or their input."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import mil
from ..errors import ArgumentError
from .conv_stack import ConvStack


@dataclass(frozen=True)
class OrthogonalStack(ConvStack):
    """A chain of `depth` 1x1 convolutions by orthogonal weights, one matrix with its rows in turn.

    Products of hundreds of random matrices lose a signal in some directions, and rounding takes its place.
    These keep the norm of both. Ports are fp16.
    """

    port_dtype: Literal["fp32", "fp16"] = "fp16"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.port_dtype != "fp16":
            raise ArgumentError("orthogonal stack: ports are fp16")

    def _weight(self, layer: int) -> NDArray[np.float16]:
        return np.roll(_orthogonal(self.channels, self.seed), layer, axis=0)


@dataclass(frozen=True)
class RepeatedStack(OrthogonalStack):
    """A chain of `depth` 1x1 convolutions that share one weight: much arithmetic, and little to read.

    Layers with weights of their own wait for memory where positions are few, and engines share the memory.
    Stacks of other seeds have other names in their text: equal texts were seen to count as one program.
    """

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of the one fp16 weight."""
        return 2 * self.channels**2

    def build(self, dialect: Literal["ios18", "ios16"] = "ios18") -> mil.Program:
        """Return the program, with ports "x" and "y"."""
        builder = mil.Builder(dialect)
        weight = mil.const(self._weight(0)[:, :, None, None])
        y = builder.input("x", self.shape)
        for layer in range(self.depth):
            y = mil.conv(y, weight, name=f"layer{self.seed}_{layer}")
        builder.output("y", y)
        return builder.build()

    def _weight(self, layer: int) -> NDArray[np.float16]:
        return _orthogonal(self.channels, self.seed)


@dataclass(frozen=True)
class ZeroStack(ConvStack):
    """A stack whose input is zero, and therefore its output."""

    def input(self) -> NDArray[Any]:
        """Return zeros of the port's data type."""
        return np.zeros(self.shape, np.float32 if self.port_dtype == "fp32" else np.float16)

    def check(self, output: NDArray[Any], columns: object = None) -> float:
        """Return the largest magnitude of the output, which should be 0; infinite if one is not finite."""
        return float(np.abs(output.astype(np.float64)).max()) if np.isfinite(output).all() else float("inf")


@lru_cache(maxsize=2)
def _orthogonal(channels: int, seed: int) -> NDArray[np.float16]:
    """Return a random orthogonal matrix [C, C], rounded to fp16."""
    random = np.random.default_rng((seed, channels))
    orthogonal, _ = np.linalg.qr(random.standard_normal((channels, channels), np.float32))
    weight: NDArray[np.float16] = orthogonal.astype(np.float16)
    weight.flags.writeable = False
    return weight
