"""One small program for each operation that the builder knows, with inputs on which engines are well defined.

Inputs keep away from what differs between generations by design (overflow, products past 32,767, arguments
where `softplus` or `round` are known to depart), so that what is left is the precision of the operation.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import mil
from ..errors import ArgumentError

Values = Literal["normal", "positive", "grid", "large"]
_SHAPE = (1, 32, 4, 32)


@dataclass(frozen=True)
class OperationCase:
    """A program whose point is one operation: `define` maps inputs x0, x1, ... to the output or outputs.

    Inputs are fp16: standard normal, positive in [0.25, 4], on a grid of eighths up to 8, or up to 64.
    """

    name: str
    define: Callable[..., mil.Tensor | tuple[mil.Tensor, ...]]
    shapes: tuple[tuple[int, ...], ...] = (_SHAPE,)
    values: Values = "normal"

    def build(self) -> mil.Program:
        """The program, with inputs x0, x1, ... and outputs y0, y1, ..."""
        b = mil.Builder()
        results = self.define(*(b.input(f"x{i}", shape) for i, shape in enumerate(self.shapes)))
        for i, result in enumerate(results if isinstance(results, tuple) else (results,)):
            b.output(f"y{i}", result)
        return b.build()

    def inputs(self, draw: int = 0) -> dict[str, NDArray[Any]]:
        """An array for each input; those of a draw are the same in every process."""
        random = np.random.default_rng((zlib.crc32(self.name.encode()), draw))
        return {f"x{i}": self._draw(random, shape) for i, shape in enumerate(self.shapes)}

    def _draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
        if self.values == "grid":
            return (random.integers(-64, 65, shape) / 8).astype(np.float16)
        if self.values == "positive":
            return random.uniform(0.25, 4, shape).astype(np.float16)
        scale = 16 if self.values == "large" else 1
        return (np.clip(random.standard_normal(shape), -4, 4) * scale).astype(np.float16)


def operation(name: str) -> OperationCase:
    """The case of this name. Raises ArgumentError."""
    if name not in CASES:
        raise ArgumentError(f"no operation is called {name!r}: choose from {', '.join(CASES)}")
    return CASES[name]


def _weight(*shape: int, scale: float = 0.2) -> NDArray[Any]:
    return (np.random.default_rng(len(shape)).standard_normal(shape) * scale).astype(np.float16)


def _as_number(compare: Callable[..., mil.Tensor]) -> Callable[..., mil.Tensor]:
    return lambda x, y: mil.select(compare(x, y), 1.0, 0.0) + 0.0 * x


def _expanded(weight: Callable[[], mil.Tensor]) -> Callable[..., mil.Tensor]:
    """A 1x1 convolution with a weight that the compiler expands."""
    return lambda x: mil.conv(x, weight())


def _indices(high: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(high).integers(0, high, shape, np.uint8)


def _affine() -> mil.Tensor:
    data = (_indices(255, 32, 32, 1, 1).astype(np.int16) - 127).astype(np.int8)
    return mil.constexpr_affine_dequantize(data, np.full(32, 2.0**-9, np.float16), np.full(32, 3, np.int8))


def _lut() -> mil.Tensor:
    indices = mil.const(_indices(16, 32, 32, 1, 1), "uint4")
    return mil.constexpr_lut_to_dense(indices, _weight(1, 1, 1, 1, 16, 1))


def _sparse() -> mil.Tensor:
    mask = _indices(2, 32, 32, 1, 1)
    return mil.constexpr_sparse_to_dense(_weight(int(mask.sum())), mask)


def _blockwise() -> mil.Tensor:
    data = (_indices(255, 32, 32, 1, 1).astype(np.int16) - 127).astype(np.int8)
    return mil.constexpr_blockwise_shift_scale(data, np.ldexp(2.0**-10, _indices(3, 32, 2, 1, 1)))


def _topk(x: mil.Tensor) -> tuple[mil.Tensor, mil.Tensor]:
    values, places = mil.topk(x, 5, 1, output_indices_dtype="uint16")
    return values, mil.cast(places, "fp16")


def _list() -> list[OperationCase]:
    case, two = OperationCase, (_SHAPE, _SHAPE)
    matrices = ((1, 4, 64, 32), (1, 4, 32, 64))
    heads = ((1, 4, 32, 64), (1, 4, 64, 64), (1, 4, 64, 64))
    plain: dict[Values, tuple[Callable[[mil.Tensor], mil.Tensor], ...]] = {
        "normal": (
            mil.abs,
            mil.erf,
            mil.exp,
            mil.exp2,
            mil.relu,
            mil.sigmoid,
            mil.sign,
            mil.silu,
            mil.square,
        ),
        "large": (mil.atan, mil.relu6, mil.softsign, mil.tanh),
        "positive": (mil.inverse, mil.log, mil.rsqrt, mil.sqrt),
        "grid": (mil.ceil, mil.cos, mil.floor, mil.gelu, mil.round, mil.sin, mil.softplus),
    }
    scalars: dict[Callable[..., mil.Tensor], tuple[float, ...]] = {
        mil.clamped_relu: (0.25, 2.0),
        mil.clip: (-0.5, 1.5),
        mil.elu: (0.75,),
        mil.leaky_relu: (0.125,),
        mil.linear_activation: (1.5, 0.25),
        mil.scaled_tanh: (1.75, 0.5),
        mil.sigmoid_hard: (0.25, 0.5),
        mil.threshold: (0.5,),
        mil.thresholded_relu: (0.5,),
    }
    comparisons = (mil.equal, mil.greater, mil.greater_equal, mil.less, mil.less_equal, mil.not_equal)
    reductions = (
        *(mil.reduce_sum, mil.reduce_mean, mil.reduce_max, mil.reduce_min, mil.reduce_l1_norm),
        *(mil.reduce_l2_norm, mil.reduce_log_sum_exp, mil.reduce_sum_square),
    )
    channels = _weight(32)
    return [
        case("conv", lambda x: mil.conv(x, _weight(64, 32, 3, 3, scale=0.06), pad_type="same")),
        case(
            "conv_transpose",
            lambda x: mil.conv_transpose(
                x, _weight(32, 16, 3, 3, scale=0.06), strides=(2, 2), pad_type="same"
            ),
        ),
        case("einsum", lambda x, y: mil.einsum([x, y]), ((1, 4, 8, 32), (1, 32, 8, 64))),
        case("matmul", mil.matmul, matrices),
        case("linear", lambda x: mil.linear(x, _weight(64, 32), _weight(64))),
        case("scaled_dot_product_attention", mil.scaled_dot_product_attention, heads),
        *(case(f.__name__, f, two) for f in (mil.add, mil.sub, mil.mul, mil.maximum, mil.minimum)),
        case("real_div", mil.real_div, two, "positive"),
        case("floor_div", lambda x: mil.floor_div(x, 0.5), values="grid"),
        case("pow", mil.pow, two, "positive"),
        *(case(f.__name__, _as_number(f), two, "grid") for f in comparisons),
        case("logical_not", lambda x: mil.select(mil.logical_not(mil.less(x, 0.5)), x, -1.0)),
        case("select", lambda x, y: mil.select(mil.less(x, y), x, y), two),
        *(case(f.__name__, f, values=values) for values, group in plain.items() for f in group),
        *(case(f.__name__, lambda x, f=f, p=p: f(x, *p)) for f, p in scalars.items()),
        case("prelu", lambda x: mil.prelu(x, channels)),
        case("softmax", mil.softmax),
        *(case(f.__name__, partial(f, axes=[1])) for f in reductions),
        case("reduce_log_sum", partial(mil.reduce_log_sum, axes=[1]), values="positive"),
        case("layer_norm", lambda x: mil.layer_norm(x, [3], _weight(32), _weight(32))),
        case("batch_norm", lambda x: mil.batch_norm(x, channels, np.abs(channels) + 0.5, channels, channels)),
        case("instance_norm", lambda x: mil.instance_norm(x, channels, channels)),
        case("l2_norm", mil.l2_norm),
        case("local_response_norm", lambda x: mil.local_response_norm(x, 5, alpha=0.5)),
        case("max_pool", lambda x: mil.max_pool(x, (3, 3), pad_type="same")),
        case("avg_pool", lambda x: mil.avg_pool(x, (3, 3), pad_type="same")),
        case("l2_pool", lambda x: mil.l2_pool(x, (3, 3), pad_type="same")),
        case("upsample_nearest_neighbor", lambda x: mil.upsample_nearest_neighbor(x, 2, 2)),
        case("resize_nearest_neighbor", lambda x: mil.resize_nearest_neighbor(x, 8, 64)),
        case("upsample_bilinear", lambda x: mil.upsample_bilinear(x, 2, 2)),
        case("resize_bilinear", lambda x: mil.resize_bilinear(x, 8, 64)),
        case("affine", lambda x: mil.affine(x, np.array([[0.75, -0.25, 0.125, 0.25, 0.5, 0.0]]), 4, 32)),
        case("space_to_batch", lambda x: mil.space_to_batch(x, (2, 2), ((1, 1), (0, 0)))),
        case("batch_to_space", lambda x: mil.batch_to_space(x, (2, 2), ((1, 1), (0, 0))), ((4, 8, 4, 32),)),
        case("reshape", lambda x: mil.reshape(x, [1, 64, 2, 32])),
        case("transpose", lambda x: mil.transpose(x, [0, 3, 2, 1])),
        case("expand_dims", lambda x: mil.expand_dims(x, [2])),
        case("squeeze", lambda x: mil.squeeze(x, [0])),
        case("slice_by_size", lambda x: mil.slice_by_size(x, [0, 8, 0, 0], [1, 16, 4, 32])),
        case("slice_by_index", lambda x: mil.slice_by_index(x, [0, 8, 0, 0], [1, 32, 4, 32], [1, 2, 1, 1])),
        case("concat", lambda x, y: mil.concat([x, y], 1), two),
        case("split", lambda x: mil.split(x, 2, 1)),
        case("stack", lambda x, y: mil.stack([x, y], 1), two),
        case("flatten2d", mil.flatten2d),
        case("reverse", lambda x: mil.reverse(x, [1])),
        case("tile", lambda x: mil.tile(x, [1, 2, 1, 1])),
        case("pad", lambda x: mil.pad(x, [1, 1, 16, 16])),
        case("crop", lambda x: mil.crop(x, (1, 1), (0, 0))),
        case("depth_to_space", lambda x: mil.depth_to_space(x, 2)),
        case("space_to_depth", lambda x: mil.space_to_depth(x, 2), ((1, 8, 4, 64),)),
        case("pixel_shuffle", lambda x: mil.pixel_shuffle(x, 2)),
        case("pixel_unshuffle", lambda x: mil.pixel_unshuffle(x, 2), ((1, 8, 4, 64),)),
        case("topk", _topk),
        case("cast", lambda x: mil.cast(mil.cast(x, "fp32"), "fp16") + 0.0, values="grid"),
        case("quantize", lambda x: mil.cast(mil.quantize(x, 0.0625), "fp16"), values="grid"),
        case("dequantize", lambda x: mil.dequantize(mil.quantize(x, 0.0625), 0.0625), values="grid"),
        case("constexpr_affine_dequantize", _expanded(_affine)),
        case("constexpr_lut_to_dense", _expanded(_lut)),
        case("constexpr_sparse_to_dense", _expanded(_sparse)),
        case("constexpr_blockwise_shift_scale", _expanded(_blockwise)),
    ]


CASES = {case.name: case for case in _list()}
