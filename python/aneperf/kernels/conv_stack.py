"""A deep stack of 1x1 convolutions: the published benchmark of the engine's peak fp16 throughput."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import mil
from ..checks import count, shown
from ..errors import ArgumentError

_LARGEST_AXIS = 65536  # of any engine
_ROWS = 512
_KEPT_BYTES = 2**28  # of weights: twice the largest stack in a published table


@dataclass(frozen=True)
class ConvStack:
    """A chain of `depth` 1x1 convolutions from C to C channels: x [1, C, H, W] -> y [1, C, H, W].

    Every layer has its own weights, normal and scaled by 1 / sqrt(C): values keep their size at any depth.
    Ports are fp32 with a cast in and out, as published, or fp16.
    """

    channels: int
    depth: int  # convolutions
    height: int = 1  # positions are height x width
    width: int = 64
    port_dtype: Literal["fp32", "fp16"] = "fp32"
    seed: int = 0  # of the weights

    def __post_init__(self) -> None:
        for name in ("channels", "depth", "height", "width"):
            count(f"conv stack: {name}", getattr(self, name), 1, _LARGEST_AXIS)
        if self.port_dtype not in ("fp32", "fp16"):
            raise ArgumentError(
                f"conv stack: port_dtype {shown(self.port_dtype)} is neither 'fp32' nor 'fp16'"
            )
        count("conv stack: seed", self.seed, 0)

    @property
    def name(self) -> str:
        """Return the published name: "128x conv 512ch sp64" for one row, "128x conv 512ch 64x64" for more."""
        area = f"sp{self.width}" if self.height == 1 else f"{self.height}x{self.width}"
        return f"{self.depth}x conv {self.channels}ch {area}"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Return the shape of both ports."""
        return 1, self.channels, self.height, self.width

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of all fp16 weights."""
        return 2 * self.depth * self.channels**2

    @property
    def flops(self) -> int:
        """Return the operations of one evaluation; a multiply-add counts as two."""
        return 2 * self.depth * self.channels**2 * self.height * self.width

    @property
    def tolerance(self) -> float:
        """Return the largest relative error, in the norm of a column, that fp16 rounding explains.

        A layer rounds its output to fp16, with a relative error of at most u = 2**-11 per value and about
        0.4 u in the norm. Weights of variance 1/channels keep the norm of a signal and of an earlier error
        alike, so independent errors add up to 0.4 u sqrt(depth). Ten times that leaves room for engines that
        also round partial sums, and for the spread of random matrices' gain. One wrong layer gives an error
        near 1.
        """
        return 4 * 2.0**-11 * math.sqrt(self.depth)

    def build(self, dialect: Literal["ios18", "ios16"] = "ios18") -> mil.Program:
        """Return the program, with ports "x" and "y"."""
        builder = mil.Builder(dialect)
        y = x = builder.input("x", self.shape, self.port_dtype)
        if self.port_dtype == "fp32":
            y = mil.cast(x, "fp16")
        for layer in range(self.depth):
            y = mil.conv(y, self._weight(layer)[:, :, None, None])
        if self.port_dtype == "fp32":
            y = mil.cast(y, "fp32")
        builder.output("y", y)
        return builder.build()

    def input(self) -> NDArray[Any]:
        """Return an array for port "x": standard normal, of the port's data type."""
        values = np.random.default_rng((self.seed, self.depth)).standard_normal(self.shape, np.float32)
        return values.astype(np.float32 if self.port_dtype == "fp32" else np.float16)

    def reference(self, columns: Sequence[int]) -> NDArray[np.float64]:
        """Compute the output at some positions of the flattened H x W in float64: [C, len(columns)].

        Input and weights are rounded to fp16, as the engine has them; nothing else is.
        """
        y = self._columns(self.input().astype(np.float16), columns)
        for layer in range(self.depth):
            # In blocks of rows: a whole weight in float64 can be half a gigabyte.
            blocks = np.array_split(self._weight(layer), -(-self.channels // _ROWS))
            y = np.concatenate([block.astype(np.float64) @ y for block in blocks])
        return y

    def check(self, output: NDArray[Any], columns: Sequence[int] | None = None) -> float:
        """Return the largest relative error |output - reference| / |reference| (2-norms) over some columns.

        Columns are positions of the flattened H x W, by default the first, middle and last. The error of an
        output that is not finite is infinite. Raises ArgumentError for another shape or columns outside it.
        """
        if columns is None:
            positions = self.height * self.width
            columns = sorted({0, positions // 2, positions - 1})
        found = self._columns(output, columns)
        expected = self.reference(columns)
        if not np.isfinite(found).all():
            return float("inf")
        errors = np.linalg.norm(found - expected, axis=0) / np.linalg.norm(expected, axis=0)
        return float(errors.max())

    def _weight(self, layer: int) -> NDArray[np.float16]:
        """Return a layer's weight [C, C], rounded to fp16."""
        if self.weight_bytes > _KEPT_BYTES:
            return _weight(self.channels, self.depth, layer, self.seed)
        return _weights(self.channels, self.depth, self.seed)[layer]

    def _columns(self, array: NDArray[Any], columns: Sequence[int]) -> NDArray[np.float64]:
        if np.shape(array) != self.shape:
            raise ArgumentError(f"{self.name}: the array is {list(np.shape(array))}, not {list(self.shape)}")
        positions = self.height * self.width
        if not columns or not all(0 <= column < positions for column in columns):
            raise ArgumentError(f"{self.name}: columns {list(columns)} are not all in 0..{positions - 1}")
        return array.reshape(self.channels, positions)[:, list(columns)].astype(np.float64)


def _weight(channels: int, depth: int, layer: int, seed: int) -> NDArray[np.float16]:
    random = np.random.default_rng((seed, depth, layer))
    values = random.standard_normal((channels, channels), np.float32)
    values /= np.float32(channels**0.5)
    weight = values.astype(np.float16)
    weight.flags.writeable = False
    return weight


@lru_cache(maxsize=1)
def _weights(channels: int, depth: int, seed: int) -> tuple[NDArray[np.float16], ...]:
    """Return all layers' weights. The last stack's are kept: its check needs them, and so do other ports."""
    return tuple(_weight(channels, depth, layer, seed) for layer in range(depth))


PUBLISHED = (
    *(ConvStack(channels=512, depth=depth) for depth in (32, 48, 64, 96, 128)),
    *(ConvStack(channels=256, depth=depth) for depth in (64, 128, 256)),
    *(ConvStack(channels=384, depth=depth) for depth in (64, 128)),
)
