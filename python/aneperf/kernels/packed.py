"""Kernels whose weights are inputs: they follow the activations along the last axis of the one input.

The engine's programs take the same weights for every layer, so that a process compiles each kernel once.
Source of the layout: maderix/ANE, training/training_dynamic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from .. import mil
from .config import TransformerConfig
from .transformer import Kernel, KernelBuilder

_ROW = 32  # columns whose bytes are a multiple of 64: rows lie one after the other without gaps


@dataclass(frozen=True)
class PackedKernel(Kernel):
    """A kernel with the input [1, channels, 1, columns]: activations, each S wide, then weights.

    `weights_at` holds the columns of each weight, by the name of its parameter: "wq" as stored, "wq.T"
    transposed. A vector lies in the first row.
    """

    weights_at: Mapping[str, int]


class PackedBuilder(KernelBuilder):
    """Builds a kernel with its weights in the input."""

    def __init__(
        self,
        config: TransformerConfig,
        as_published: bool,
        channels: int,
        activations: Iterable[str],
        weights: Mapping[str, int],
    ) -> None:
        self._channels, self._weights = channels, weights
        activations = tuple(activations)
        columns = [(name, config.seq) for name in activations] + list(weights.items())
        self._columns: dict[str, tuple[int, int]] = {}
        self._width = 0
        for name, count in columns:
            self._columns[name] = (self._width, count)
            self._width += count
        super().__init__(config, as_published, **dict.fromkeys(activations, channels))

    def _input_shape(self) -> tuple[int, ...]:
        return 1, self._channels, 1, -(-self._width // _ROW) * _ROW

    def part(self, name: str) -> mil.Tensor:
        """Return activations [1, C, 1, S], or a weight [1, C, 1, columns]."""
        return self._slice(name, self._channels)

    def head_vector(self, name: str) -> mil.Tensor:
        """Return the weight of a norm of heads as [1, 1, head_dim, 1]."""
        return mil.reshape(self._slice(name, 1), (1, 1, self.config.head_dim, 1))

    def multiply(self, x: mil.Tensor, name: str) -> mil.Tensor:
        """Multiply the transposed weight [C, O] with x [1, C, 1, S] -> [1, O, 1, S]."""
        return self._product(x, name, transposed=True)

    def multiply_stored(self, x: mil.Tensor, name: str) -> mil.Tensor:
        """Multiply the weight [C, I] with x [1, I, 1, S] -> [1, C, 1, S]."""
        return self._product(x, name, transposed=False)

    def rotate(self, x: mil.Tensor, backward: bool = False) -> mil.Tensor:
        """Rotate each pair of channels, as the published forward kernel does, too."""
        return self._rotated(x, backward)

    def heads(self, x: mil.Tensor) -> mil.Tensor:
        """Split channels by query head. As published, query head h reads key head h mod kv_heads."""
        config = self.config
        kv_heads = x.channels // config.head_dim
        if self.as_published and kv_heads < config.heads:
            apart = mil.reshape(x, (1, kv_heads, config.head_dim, config.seq))
            x = mil.reshape(
                mil.concat([apart] * (config.heads // kv_heads), axis=1), (1, config.query_dim, 1, config.seq)
            )
        return super().heads(x)

    def packed(self, name: str, **outputs: mil.Tensor) -> PackedKernel:
        """Return the kernel; its output packs `outputs` [1, C, 1, seq] in order."""
        kernel = self.kernel(name, **outputs)
        plain = {field.name: getattr(kernel, field.name) for field in fields(kernel)}
        return PackedKernel(**plain, weights_at=self._weights)

    def _slice(self, name: str, rows: int) -> mil.Tensor:
        begin, count = self._columns[name]
        return mil.slice_by_size(self._x, (0, 0, 0, begin), (1, rows, 1, count))

    def _product(self, x: mil.Tensor, name: str, *, transposed: bool) -> mil.Tensor:
        columns, seq = self._columns[name][1], self.config.seq
        rows, inner = (columns, self._channels) if transposed else (self._channels, columns)
        weight = mil.reshape(self.part(name), (1, 1, self._channels, columns))
        x = mil.reshape(x, (1, 1, inner, seq))
        if self.as_published:  # the activations are transposed instead
            by_position = mil.transpose(x, (0, 1, 3, 2))
            y = mil.transpose(self._matmul(by_position, weight, transpose_y=not transposed), (0, 1, 3, 2))
        else:
            y = self._matmul(weight, x, transpose_x=transposed)
        return mil.reshape(y, (1, rows, 1, seq))
