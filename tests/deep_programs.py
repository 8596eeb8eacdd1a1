"""A hypothesis strategy for deep programs over all families of operations, each value with its enclosure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

import intervals as iv
import oracle
from aneperf import mil
from intervals import Interval
from programs import normal_halves

MOST_ELEMENTS = 700
LARGEST = 64.0  # operands beyond are scaled down first, or a deep program would soon compute infinities

Draw = Callable[[st.SearchStrategy[Any]], Any]


class Value(NamedTuple):
    tensor: mil.Tensor
    bounds: Interval

    @property
    def shape(self) -> tuple[int, ...]:
        return self.bounds.shape


class DeepProgram(NamedTuple):
    program: mil.Program
    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, Interval]
    operations: list[str]


RISING_UNARY = ("ceil", "floor", "relu", "relu6", "sign")
RISING_ELEMENTARY = ("atan", "erf", "exp", "exp2", "sigmoid", "softsign", "tanh")
SMOOTH: dict[str, tuple[Callable[[mil.Tensor], mil.Tensor], Callable[..., Any], float]] = {
    "silu": (mil.silu, lambda x: oracle.elementary("silu", x), 1.1),
    "gelu": (mil.gelu, lambda x: oracle.elementary("gelu_exact", x), 1.2),
    "gelu_tanh": (
        lambda x: mil.gelu(x, "TANH_APPROXIMATION"),
        lambda x: oracle.elementary("gelu_tanh", x),
        1.2,
    ),
    "sin": (mil.sin, lambda x: oracle.sine("sin", x), 1.0),
    "cos": (mil.cos, lambda x: oracle.sine("cos", x), 1.0),
    "scaled_tanh": (
        lambda x: mil.scaled_tanh(x, 1.5, 0.5),
        lambda x: oracle.scaled_tanh(x, 1.5, 0.5),
        0.75,
    ),
}
WITH_SCALARS: dict[str, tuple[float, ...]] = {
    "leaky_relu": (0.25,),
    "clamped_relu": (0.5, 3.0),
    "clip": (-1.5, 2.0),
    "threshold": (0.25,),
}


class Maker:
    """The program so far. Each family adds values, or none where the drawn operands do not fit it."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.builder = mil.Builder()
        self.values: list[Value] = []
        self.operations: list[str] = []
        self.inputs: dict[str, NDArray[Any]] = {}

    def integer(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def choice(self, options: Any) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def input(self, name: str, shape: tuple[int, ...], dtype: str) -> None:
        x = np.random.default_rng(self.integer(0, 2**32 - 1)).standard_normal(shape)
        self.inputs[name] = x.astype({"fp16": np.float16, "fp32": np.float32}[dtype])
        tensor = self.builder.input(name, shape, dtype)
        halves = oracle.rounded(self.inputs[name]).astype(np.float64)
        self.values.append(Value(mil.cast(tensor, "fp16") if dtype == "fp32" else tensor, iv.point(halves)))

    def add(self, tensor: mil.Tensor, bounds: Interval) -> None:
        assert tensor.shape == bounds.shape
        self.values.append(Value(tensor, bounds))

    def operand(self) -> Value:
        """Late values more often, or chains would stay short; none of which little is known."""
        known = [value for value in self.values if np.mean(value.bounds.sharp) >= 0.9]
        value = known[max(0, len(known) - 1 - self.integer(0, 7))]
        largest = float(value.bounds.size.max())
        if not LARGEST < largest < np.inf:
            return value
        factor = 2.0 ** -math.ceil(math.log2(largest / 4))
        self.operations.append("mul")
        scaled = mil.mul(value.tensor, factor), iv.rising(lambda x: x * factor, value.bounds)
        return Value(*scaled)

    def fitting(self, fits: Callable[[tuple[int, ...]], bool]) -> list[Value]:
        return [v for v in self.values if fits(v.shape) and np.mean(v.bounds.sharp) >= 0.9]

    def image(self) -> Value | None:
        """An operand of four axes."""
        x = self.operand()
        if len(x.shape) == 4:
            return x
        if len(x.shape) > 4:
            return None
        shape = (1,) * (4 - len(x.shape)) + x.shape
        return Value(mil.reshape(x.tensor, shape), iv.moved(lambda a: a.reshape(shape), x.bounds))

    def unary(self) -> None:
        x = self.operand()
        kind = self.choice(
            ("exact", "elementary", "smooth", "scalars", "square", "abs", "sqrt", "log", "inverse")
        )
        if kind == "exact":
            name = self.choice(RISING_UNARY)
            self.add(getattr(mil, name)(x.tensor), iv.rising(lambda a: oracle.exact(name, a), x.bounds))
        elif kind == "elementary":
            name = self.choice(RISING_ELEMENTARY)
            self.add(getattr(mil, name)(x.tensor), iv.rising(lambda a: oracle.elementary(name, a), x.bounds))
        elif kind == "smooth":
            name = self.choice(SMOOTH)
            apply, point, slope = SMOOTH[name]
            self.add(apply(x.tensor), iv.smooth(point, x.bounds, slope))
        elif kind == "scalars":
            name = self.choice(WITH_SCALARS)
            scalars = WITH_SCALARS[name]
            halves = [np.float16(scalar) for scalar in scalars]
            bounds = iv.rising(lambda a: oracle.exact(name, a, *halves), x.bounds)
            self.add(getattr(mil, name)(x.tensor, *scalars), bounds)
        elif kind == "square":
            self.add(mil.square(x.tensor), iv.rising(np.square, iv.magnitude(x.bounds)))
        else:
            positive, known = mil.abs(x.tensor), iv.magnitude(x.bounds)
            if kind == "abs":
                self.add(positive, known)
            elif kind == "sqrt":
                self.add(mil.sqrt(positive), iv.rising(np.sqrt, known))
            elif kind == "log":
                epsilon = np.float16(0.5)
                self.add(mil.log(positive, 0.5), iv.rising(lambda a: oracle.log(a, epsilon), known))
            else:
                function = self.choice(("inverse", "rsqrt"))
                point = {"inverse": oracle.inverse, "rsqrt": oracle.rsqrt}[function]
                bounds = iv.falling(lambda a: point(a, 0.25), known)
                self.add(getattr(mil, function)(positive, 0.25), bounds)

    def pair(self) -> tuple[Value, Value] | None:
        """Operands whose shapes broadcast."""
        x = self.operand()

        def fits(shape: tuple[int, ...]) -> bool:
            try:
                return math.prod(np.broadcast_shapes(shape, x.shape)) <= MOST_ELEMENTS
            except ValueError:
                return False

        partners = self.fitting(fits)
        return (x, self.choice(partners[-6:])) if partners else None

    def binary(self) -> None:
        if (operands := self.pair()) is None:
            return
        x, y = operands if self.draw(st.booleans()) else operands[::-1]
        name = self.choice(("add", "sub", "mul", "real_div", "maximum", "minimum"))
        bounds = {
            "add": lambda: iv.rising(np.add, x.bounds, y.bounds),
            "sub": lambda: iv.subtract(x.bounds, y.bounds),
            "mul": lambda: iv.extremes(np.multiply, x.bounds, y.bounds),
            "real_div": lambda: iv.divide(x.bounds, y.bounds),
            "maximum": lambda: iv.rising(np.maximum, x.bounds, y.bounds),
            "minimum": lambda: iv.rising(np.minimum, x.bounds, y.bounds),
        }[name]()
        self.add(getattr(mil, name)(x.tensor, y.tensor), bounds)

    def constant(self) -> None:
        x = self.operand()
        c = normal_halves(self.integer(0, 1000), x.shape[-1:])
        self.add(mil.add(x.tensor, c), iv.rising(np.add, x.bounds, iv.point(c)))

    def choose(self) -> None:
        if (operands := self.pair()) is None:
            return
        x, y = operands
        condition, known = mil.less(x.tensor, y.tensor), iv.less(x.bounds, y.bounds)
        self.operations.append("less")
        if self.draw(st.booleans()):
            self.add(mil.cast(condition, "fp16"), known)
        else:
            self.add(mil.select(condition, x.tensor, y.tensor), iv.select(known, x.bounds, y.bounds))

    def reduction(self) -> None:
        x = self.operand()
        axes = sorted(self.draw(st.sets(st.integers(0, len(x.shape) - 1), min_size=1)))
        keep = bool(self.draw(st.booleans())) or len(axes) == len(x.shape)
        name = self.choice(("sum", "mean", "max", "min", "l1_norm", "l2_norm", "sum_square", "log_sum_exp"))
        tensor = getattr(mil, f"reduce_{name}")(x.tensor, axes, keep)
        point = getattr(oracle, f"reduce_{name}")
        if name in ("max", "min", "log_sum_exp"):
            bounds = iv.rising(lambda a: point(a, axes, keep), x.bounds)
        else:
            terms = iv.magnitude(x.bounds) if name in ("l1_norm", "l2_norm", "sum_square") else x.bounds
            bounds = iv.sums(lambda a: point(a, axes, keep), terms)
        self.add(tensor, bounds)

    def normalization(self) -> None:
        x = self.operand()
        axis = self.integer(0, len(x.shape) - 1)
        if self.draw(st.booleans()):
            self.add(mil.softmax(x.tensor, axis), iv.softmax(x.bounds, axis))
            return
        seed = self.integer(0, 1000)
        gamma, beta = (normal_halves(seed + i, (x.shape[axis],)) for i in range(2))
        shape = [x.shape[axis] if i == axis else 1 for i in range(len(x.shape))]
        scale, offset = (a.astype(np.float64).reshape(shape) for a in (gamma, beta))
        bounds = iv.layer_norm(x.bounds, (axis,), scale, offset, float(np.float16(1e-2)))
        self.add(mil.layer_norm(x.tensor, [axis], gamma, beta, 1e-2), bounds)

    def products(self) -> None:
        x = self.operand()
        if len(x.shape) < 2:
            return
        turn = bool(self.draw(st.booleans()))
        partners = self.fitting(
            lambda s: (
                len(s) == len(x.shape) and s[:-2] == x.shape[:-2] and s[-1 if turn else -2] == x.shape[-1]
            )
        )
        if partners and self.draw(st.booleans()):
            y = self.choice(partners)
            tensor, bounds = mil.matmul(x.tensor, y.tensor, transpose_y=turn), y.bounds
        else:
            weight = normal_halves(self.integer(0, 1000), (self.integer(1, 6), x.shape[-1]), 0.5)
            tensor, bounds, turn = mil.linear(x.tensor, weight), iv.point(weight), True
        if math.prod(tensor.shape) <= MOST_ELEMENTS:
            self.add(tensor, iv.product(lambda a, b: oracle.matmul(a, b, transpose_y=turn), x.bounds, bounds))

    def attention(self) -> None:
        x = self.operand()
        if len(x.shape) >= 3:
            tensor = mil.scaled_dot_product_attention(x.tensor, x.tensor, x.tensor)
            self.add(tensor, iv.attention(x.bounds, x.bounds, x.bounds))

    def convolution(self) -> None:
        if (x := self.image()) is None:
            return
        channels, height, width = x.shape[1:]
        groups = self.choice([g for g in (1, 2, 3) if channels % g == 0])
        kernel = (self.integer(1, min(3, height)), self.integer(1, min(3, width)))
        strides, pad = (self.integer(1, 2), 1), (0, 1, 1, 0)
        outs = groups * self.integer(1, 3)
        weight = normal_halves(self.integer(0, 1000), (outs, channels // groups, *kernel), 0.5)
        tensor = mil.conv(x.tensor, weight, strides=strides, pad_type="custom", pad=pad, groups=groups)

        def point(a: NDArray, w: NDArray) -> oracle.Expected:
            return oracle.conv(a, w, strides=strides, pad=pad, groups=groups)

        if math.prod(tensor.shape) <= MOST_ELEMENTS:
            self.add(tensor, iv.product(point, x.bounds, iv.point(weight)))

    def compressed(self) -> None:
        """A convolution whose weight is stored in 8 bits."""
        if (x := self.image()) is None:
            return
        random = np.random.default_rng(self.integer(0, 1000))
        data = random.integers(-100, 100, (4, x.shape[1], 1, 1), np.int8)
        scale, zero = np.full(4, 0.01, np.float16), np.int8(3)
        weight = oracle.rounded(oracle.dequantize(data, scale, zero, 0))
        stored = mil.constexpr_affine_dequantize(data, scale, zero, 0)
        tensor = mil.conv(x.tensor, stored)
        if math.prod(tensor.shape) <= MOST_ELEMENTS:
            self.add(tensor, iv.product(oracle.conv, x.bounds, iv.point(weight)))

    def pooling(self) -> None:
        if (x := self.image()) is None:
            return
        kernel = tuple(self.integer(1, min(3, extent)) for extent in x.shape[2:])
        name = self.choice(("max_pool", "avg_pool"))
        tensor = getattr(mil, name)(x.tensor, kernel, (1, 2))

        def point(a: NDArray) -> oracle.Expected:
            return oracle.pool(name, a, kernel, (1, 2), (0, 0, 0, 0))

        bounds = iv.rising(point, x.bounds) if name == "max_pool" else iv.sums(point, x.bounds)
        self.add(tensor, bounds)

    def resizing(self) -> None:
        if (x := self.image()) is None:
            return
        height, width = self.integer(1, 5), self.integer(1, 5)
        if math.prod(x.shape[:2]) * height * width > MOST_ELEMENTS:
            return
        points = [oracle.grid(x.shape[2], height, "DEFAULT"), oracle.grid(x.shape[3], width, "DEFAULT")]
        bounds = iv.sums(lambda a: oracle.bilinear(a, points), x.bounds)
        self.add(mil.resize_bilinear(x.tensor, height, width), bounds)

    def view(self) -> None:
        x = self.operand()
        shape, rank = x.shape, len(x.shape)
        kind = self.choice(("transpose", "flatten", "reverse", "slice", "expand"))
        if kind == "transpose":
            perm = self.draw(st.permutations(range(rank)))
            self.add(mil.transpose(x.tensor, perm), iv.moved(lambda a: a.transpose(perm), x.bounds))
        elif kind == "flatten":
            axis = self.integer(0, rank - 1)
            to = (math.prod(shape[:axis]), math.prod(shape[axis:]))
            self.add(mil.flatten2d(x.tensor, axis), iv.moved(lambda a: a.reshape(to), x.bounds))
        elif kind == "reverse":
            axis = self.integer(0, rank - 1)
            self.add(mil.reverse(x.tensor, [axis]), iv.moved(lambda a: np.flip(a, axis), x.bounds))
        elif kind == "slice":
            begin = [self.integer(0, extent - 1) for extent in shape]
            end = [self.integer(first + 1, extent) for first, extent in zip(begin, shape, strict=True)]
            stride = [self.integer(1, 2) for _ in shape]
            index = tuple(map(slice, begin, end, stride))
            bounds = iv.moved(lambda a: a[index], x.bounds)
            self.add(mil.slice_by_index(x.tensor, begin, end, stride), bounds)
        elif rank < 5:
            axis = self.integer(0, rank)
            self.add(mil.expand_dims(x.tensor, [axis]), iv.moved(lambda a: np.expand_dims(a, axis), x.bounds))

    def join(self) -> None:
        x = self.operand()
        axis = self.integer(0, len(x.shape) - 1)
        partners = self.fitting(
            lambda s: (
                len(s) == len(x.shape)
                and all(a == b for i, (a, b) in enumerate(zip(s, x.shape, strict=True)) if i != axis)
            )
        )
        if not partners:
            return
        y = self.choice(partners)
        interleave = y.shape == x.shape and bool(self.draw(st.booleans()))
        if math.prod(x.shape) + math.prod(y.shape) <= MOST_ELEMENTS:
            bounds = iv.moved(lambda a, b: oracle.concat([a, b], axis, interleave), x.bounds, y.bounds)
            self.add(mil.concat([x.tensor, y.tensor], axis, interleave), bounds)

    def parts(self) -> None:
        x = self.operand()
        axis = self.integer(0, len(x.shape) - 1)
        counts = [n for n in (2, 3) if x.shape[axis] % n == 0]
        if not counts:
            return
        count = self.choice(counts)
        for i, tensor in enumerate(mil.split(x.tensor, count, axis)):
            self.add(tensor, iv.moved(lambda a, i=i: np.split(a, count, axis)[i], x.bounds))

    def padding(self) -> None:
        x = self.operand()
        before, after = self.integer(0, 2), self.integer(1, 2)
        widths = [(0, 0)] * (len(x.shape) - 1) + [(before, after)]
        if math.prod(x.shape[:-1]) * (x.shape[-1] + before + after) <= MOST_ELEMENTS:
            bounds = iv.moved(lambda a: np.pad(a, widths), x.bounds)
            self.add(mil.pad(x.tensor, (before, after)), bounds)

    def sorting(self) -> None:
        x = self.operand()
        axis = self.integer(0, len(x.shape) - 1)
        count = self.integer(1, x.shape[axis])
        largest = mil.topk(x.tensor, count, axis)[0]
        index = tuple(slice(count) if i == axis else slice(None) for i in range(len(x.shape)))
        self.add(largest, iv.moved(lambda a: np.flip(np.sort(a, axis), axis)[index], x.bounds))

    def quantization(self) -> None:
        x = self.operand()
        zero = np.int8(self.integer(-5, 5))
        stored = mil.quantize(x.tensor, 0.03125, zero)
        self.operations.append("quantize")

        def there_and_back(a: NDArray) -> NDArray:
            return oracle.dequantize(oracle.quantize(a, 0.03125, zero, "int8", None), 0.03125, zero, None)

        self.add(mil.dequantize(stored, 0.03125, zero), iv.rising(there_and_back, x.bounds))

    def integers(self) -> None:
        x = self.operand()
        bounds = iv.moved(lambda a: oracle.to_integers(a, "int8"), x.bounds)
        self.add(mil.cast(mil.cast(x.tensor, "int8"), "fp16"), bounds)


FAMILIES = [
    *(Maker.unary, Maker.binary, Maker.unary, Maker.binary, Maker.constant, Maker.choose, Maker.reduction),
    *(Maker.normalization, Maker.products, Maker.attention, Maker.convolution, Maker.compressed),
    *(Maker.pooling, Maker.resizing, Maker.view, Maker.join, Maker.parts, Maker.padding, Maker.sorting),
    *(Maker.quantization, Maker.integers),
]
SHAPES = [(1, 6, 4, 5), (1, 6, 1, 5), (4, 5), (2, 4, 1, 8), (3, 1, 5), (12,)]


@st.composite
def deep_programs(draw: Draw, least: int = 20, most: int = 60) -> DeepProgram:
    """Programs of `least` to `most` operations, beside those that prepare operands."""
    maker = Maker(draw)
    for i in range(maker.integer(1, 3)):
        maker.input(f"x{i}", maker.choice(SHAPES), maker.choice(("fp16", "fp16", "fp32")))
    inputs = len(maker.values)
    length = maker.integer(least, most)
    while len(maker.operations) < length:
        before = len(maker.values)
        family = maker.choice(FAMILIES)
        family(maker)
        maker.operations += [family.__name__] * (len(maker.values) > before)
    computed = maker.values[inputs:]
    chosen = {len(computed) - 1, *(maker.integer(0, len(computed) - 1) for _ in range(maker.integer(0, 4)))}
    outputs = {}
    for i in sorted(chosen):
        tensor = computed[i].tensor
        wide = bool(draw(st.booleans()))
        maker.builder.output(f"y{i}", mil.cast(tensor, "fp32") if wide else tensor)
        outputs[f"y{i}"] = computed[i].bounds
    return DeepProgram(maker.builder.build(), maker.inputs, outputs, maker.operations)
