"""Shared by the kernels of a transformer: packed ports, baked weights, and pieces of graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import mil
from ..errors import ArgumentError
from ..mil.weights import WEIGHT_FILE, BlobWriter
from .config import TransformerConfig

_MASKED = -65504.0  # the lowest fp16, added to the scores of masked positions


@dataclass(frozen=True)
class Kernel:
    """A program with one input "x" and one output "y", fp16 [1, channels, 1, seq].

    `inputs` and `outputs` say how the channels are divided, in order. `flops` counts matrix products, a
    multiply-add as two. `constants` are what the weight file holds, in order; those that are not in `tables`
    are weights, which `bake` replaces.
    """

    name: str
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    flops: int
    program: mil.Program
    constants: Mapping[str, mil.TensorType]
    tables: Mapping[str, NDArray[np.float16]] = field(repr=False, compare=False)

    @property
    def weights(self) -> tuple[str, ...]:
        """Return the names of the baked parameters."""
        return tuple(name for name in self.constants if name not in self.tables)

    @property
    def seq(self) -> int:
        """Return the positions of the output."""
        return self.program.outputs["y"].shape[-1]

    def without_weights(self) -> Kernel:
        """Return the kernel without the memory of its weight file: a template to bake."""
        return replace(self, program=replace(self.program, weights={}))

    def bake(self, **weights: NDArray[np.float16]) -> mil.Program:
        """Return the program with other weights: all of them, fp16, each with the size it was built with."""
        if weights.keys() != set(self.weights):
            has, given = (", ".join(names) or "none" for names in (self.weights, weights))
            raise ArgumentError(f"{self.name} has the weights {has}; given: {given}")
        writer = BlobWriter()
        for name, type in self.constants.items():
            array = self.tables[name] if name in self.tables else weights[name]
            if array.size != type.elements:
                raise ArgumentError(f"{self.name}: weight {name!r} {list(array.shape)} has another size")
            writer.add(array, type.dtype, copy=False)
        return replace(self.program, weights={WEIGHT_FILE: writer.bytes()} if self.constants else {})


class KernelBuilder:
    """Builds a kernel: packed ports, and the pieces that several kernels share.

    As published, positions are not rotated, heads are transposed to rows, and a norm sums squares.
    """

    def __init__(self, config: TransformerConfig, as_published: bool = False, **inputs: int) -> None:
        self.config = config
        self.as_published = as_published
        self.blocks = config.attention_blocks(as_published)
        self.inputs = inputs
        self._flops = 0
        self._builder = mil.Builder()
        self._x = self._builder.input("x", self._input_shape())
        self._tables: dict[str, mil.Tensor] = {}

    def _input_shape(self) -> tuple[int, ...]:
        return 1, sum(self.inputs.values()), 1, self.config.seq

    def part(self, name: str) -> mil.Tensor:
        """Return a part of the input's channels."""
        channels = self.inputs[name]
        if len(self.inputs) == 1:
            return self._x
        before = list(self.inputs)[: list(self.inputs).index(name)]
        begin = (0, sum(self.inputs[part] for part in before), 0, 0)
        return mil.slice_by_size(self._x, begin, (1, channels, 1, self.config.seq))

    def kernel(self, name: str, **outputs: mil.Tensor) -> Kernel:
        """Return the kernel; its output packs `outputs` [1, C, 1, seq] in order."""
        parts = list(outputs.values())
        self._builder.output("y", parts[0] if len(parts) == 1 else mil.concat(parts, axis=1))
        channels = {part: tensor.shape[1] for part, tensor in outputs.items()}
        program = self._builder.build()
        constants = {tensor.name: tensor.type for tensor in self._builder.stored()}
        tables = {table: np.asarray(tensor.constant) for table, tensor in self._tables.items()}
        return Kernel(name, self.inputs, channels, self._flops, program, constants, tables)

    def project(self, x: mil.Tensor, weight: NDArray[Any], name: str) -> mil.Tensor:
        """Multiply weight [O, I] with x [1, I, 1, S] -> [1, O, 1, S]; the weight is stored as `name`."""
        self._flops += 2 * weight.size * self.config.seq
        return mil.conv(x, self._weight(weight.reshape(*weight.shape, 1, 1), name))

    def inverse_rms(self, x: mil.Tensor, axis: int = 1) -> mil.Tensor:
        """Compute 1 / sqrt(mean of squares along an axis + eps), by default over channels.

        Values are scaled by the largest first: squares above 256 overflow fp16, and trained models have some.
        """
        if self.as_published:
            mean_square = mil.reduce_sum(x * x, axes=[axis]) * round(1 / x.shape[axis], 6)
            return mil.pow(mean_square + self.config.norm_eps, -0.5)
        scale = mil.inverse(mil.reduce_max(mil.abs(x), axes=[axis]))
        scaled, least = x * scale, scale * self.config.norm_eps**0.5
        return mil.pow(mil.reduce_mean(scaled * scaled, axes=[axis]) + least * least, -0.5) * scale

    def rms_norm(self, x: mil.Tensor, weight: NDArray[Any], name: str) -> mil.Tensor:
        """Apply the root-mean-square norm over channels, times `weight` [C]."""
        return self.scale(x * self.inverse_rms(x), weight, name)

    def rms_backward(self, scaled: mil.Tensor, x: mil.Tensor, axis: int = 1) -> tuple[mil.Tensor, mil.Tensor]:
        """Compute the backward of the norm along an axis: the gradient of x, and the normed x.

        `scaled` is the norm's gradient w dy, and the result r (w dy - x r^2 mean(w dy x)) with r = 1 / rms.
        """
        inverse_rms = self.inverse_rms(x, axis)
        unit = x * inverse_rms  # of size 1, so that nothing below overflows
        along = mil.reduce_mean(scaled * unit, axes=[axis])
        return (scaled - unit * along) * inverse_rms, unit

    def norm_heads(self, x: mil.Tensor, weight: mil.Tensor) -> mil.Tensor:
        """Apply the norm to each head of x [1, C, 1, S], times the heads' `weight` [1, 1, head_dim, 1]."""
        by_head = self._apart(x)
        return mil.reshape(by_head * self.inverse_rms(by_head, axis=2) * weight, x.shape)

    def norm_heads_backward(
        self, dy: mil.Tensor, x: mil.Tensor, weight: mil.Tensor
    ) -> tuple[mil.Tensor, mil.Tensor]:
        """Compute the backward of `norm_heads`: the gradients of x, and of `weight` at each position.

        The second is [1, head_dim, 1, S]; its sum over positions is the gradient of `weight`.
        """
        by_head = self._apart(dy)
        dx, unit = self.rms_backward(by_head * weight, self._apart(x), axis=2)
        dweight = mil.reduce_sum(by_head * unit, axes=[1])
        return mil.reshape(dx, x.shape), mil.reshape(dweight, (1, self.config.head_dim, 1, self.config.seq))

    def head_weight(self, weight: NDArray[Any], name: str) -> mil.Tensor:
        """Store the weight [head_dim] of a norm of heads as `name`."""
        return self._weight(weight.reshape(1, 1, -1, 1), name)

    def scale(self, x: mil.Tensor, weight: NDArray[Any], name: str) -> mil.Tensor:
        """Multiply each channel of x [1, C, 1, S] by its element of `weight` [C]."""
        return x * self._weight(weight.reshape(1, -1, 1, 1), name)

    def heads(self, x: mil.Tensor) -> mil.Tensor:
        """Split channels by query head: [1, C, 1, S] -> [1, heads, head_dim, S], or [1, heads, S, head_dim].

        Keys and values are repeated for all query heads that share them.
        """
        config = self.config
        kv_heads = x.channels // config.head_dim
        if kv_heads < config.heads:
            apart = mil.reshape(x, (kv_heads, 1, config.head_dim, config.seq))
            x = mil.concat([apart] * (config.heads // kv_heads), axis=1)
        by_head = mil.reshape(x, (1, config.heads, config.head_dim, config.seq))
        return mil.transpose(by_head, (0, 1, 3, 2)) if self.as_published else by_head

    def channels(self, by_head: mil.Tensor, heads: int | None = None) -> mil.Tensor:
        """Undo `heads`: back to [1, C, 1, S]. Fewer `heads` sum those that share keys and values."""
        config = self.config
        if self.as_published:
            by_head = mil.transpose(by_head, (0, 1, 3, 2))
        if heads is not None and heads < config.heads:
            apart = mil.reshape(by_head, (heads, config.heads // heads, config.head_dim, config.seq))
            by_head = mil.reduce_sum(apart, axes=[1])
        return mil.reshape(by_head, (1, (heads or config.heads) * config.head_dim, 1, config.seq))

    def dot_products(self, a: mil.Tensor, b: mil.Tensor) -> mil.Tensor:
        """Compute the dot products of every position of a with every position of b."""
        rows = self.as_published
        return self._matmul(a, b, transpose_x=not rows, transpose_y=rows)

    def gather(self, matrix: mil.Tensor, x: mil.Tensor) -> mil.Tensor:
        """Sum x for each position, weighted by its row of `matrix` [1, heads, positions, S]."""
        return self._matmul(matrix, x) if self.as_published else self._matmul(x, matrix, transpose_y=True)

    def scatter(self, matrix: mil.Tensor, x: mil.Tensor) -> mil.Tensor:
        """Sum x for each position, weighted by its column of `matrix` [1, heads, S, positions]."""
        return self._matmul(matrix, x, transpose_x=True) if self.as_published else self._matmul(x, matrix)

    def rotate(self, x: mil.Tensor, backward: bool = False) -> mil.Tensor:
        """Rotate each pair of channels by its angle at each position, or back: [1, C, 1, S].

        The pair has an axis of its own, because slices of the last axis are inexact on M1 and M2.
        """
        return x if self.as_published else self._rotated(x, backward)

    def _rotated(self, x: mil.Tensor, backward: bool) -> mil.Tensor:
        channels, seq = x.channels, self.config.seq
        half = (1, channels // 2, 1, seq)
        pairs = mil.reshape(x, (1, channels // 2, 2, seq))
        even = mil.slice_by_size(pairs, (0, 0, 0, 0), half)
        odd = mil.slice_by_size(pairs, (0, 0, 1, 0), half)
        cos, sin = self._rotation(channels // self.config.head_dim)
        if backward:
            even, odd = even * cos + odd * sin, odd * cos - even * sin
        else:
            even, odd = even * cos - odd * sin, even * sin + odd * cos
        return mil.reshape(mil.concat((even, odd), axis=2), x.shape)

    def positions(self, by_head: mil.Tensor, positions: range) -> mil.Tensor:
        """Take whole blocks of positions of what `heads` returned.

        Blocks have an axis of their own, for the same reason as pairs in `rotate`.
        """
        if len(positions) == self.config.seq:
            return by_head
        _, heads, head_dim, seq = by_head.shape
        size = seq // len(self.blocks)
        by_block = mil.reshape(by_head, (1, heads * head_dim, len(self.blocks), size))
        begin = 0, 0, positions.start // size, 0
        taken = mil.slice_by_size(by_block, begin, (1, heads * head_dim, len(positions) // size, size))
        return mil.reshape(taken, (1, heads, head_dim, len(positions)))

    def mask(self, block: range) -> mil.Tensor:
        """Return the causal mask to add to a block's scores [1, 1, positions, keys]: 0 or the lowest fp16."""
        shape = len(block), block.stop
        hidden = np.triu(np.full(shape, _MASKED, np.float16), k=block.start + 1)
        name = "mask" if block.start == 0 else f"mask_from_{block.start}"
        return self._table(name, hidden.reshape(1, 1, *shape))

    def _apart(self, x: mil.Tensor) -> mil.Tensor:
        """Give heads an axis of their own: [1, C, 1, S] -> [1, C / head_dim, head_dim, S]."""
        head_dim = self.config.head_dim
        return mil.reshape(x, (1, x.channels // head_dim, head_dim, self.config.seq))

    def _matmul(
        self, x: mil.Tensor, y: mil.Tensor, *, transpose_x: bool = False, transpose_y: bool = False
    ) -> mil.Tensor:
        product = mil.matmul(x, y, transpose_x=transpose_x, transpose_y=transpose_y)
        self._flops += 2 * product.type.elements * x.shape[-2 if transpose_x else -1]
        return product

    def _weight(self, values: NDArray[Any], name: str) -> mil.Tensor:
        weight = mil.const(values, "fp16", name=name)
        weight.in_file = True  # where `bake` replaces it
        return weight

    def _rotation(self, heads: int) -> tuple[mil.Tensor, mil.Tensor]:
        """Return cosines and sines [1, heads * head_dim / 2, 1, S]."""
        head_dim, seq = self.config.head_dim, self.config.seq
        frequencies = self.config.rope_theta ** (-np.arange(0, head_dim, 2) / head_dim)
        angles = np.tile(np.outer(frequencies, np.arange(seq)), (heads, 1))
        shape = (1, heads * head_dim // 2, 1, seq)
        suffix = "" if heads == self.config.heads else "_kv"
        return (
            self._table(f"rope_cos{suffix}", np.cos(angles).reshape(shape)),
            self._table(f"rope_sin{suffix}", np.sin(angles).reshape(shape)),
        )

    def _table(self, name: str, values: NDArray[Any]) -> mil.Tensor:
        if name not in self._tables:
            self._tables[name] = mil.const(values.astype(np.float16), "fp16", name=name)
        return self._tables[name]
