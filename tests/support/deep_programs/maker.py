"""The program that grows: its values, each with its enclosure, and how operands are drawn from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from aneperf import mil
from support import intervals as iv
from support import oracle
from support.intervals import Interval
from support.programs import normal_halves

MOST_ELEMENTS = 700
LARGEST = 64.0  # operands beyond are scaled down first, or a deep program would soon compute infinities

Draw = Callable[[st.SearchStrategy[Any]], Any]


class Value(NamedTuple):
    tensor: mil.Tensor
    bounds: Interval

    @property
    def shape(self) -> tuple[int, ...]:
        return self.bounds.shape

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def is_known(self) -> bool:
        return bool(np.mean(self.bounds.sharp) >= 0.9)

    def moved(self, apply: Callable[[mil.Tensor], mil.Tensor], f: Callable[[NDArray], NDArray]) -> Value:
        return Value(apply(self.tensor), iv.moved(f, self.bounds))

    def reshaped(self, shape: tuple[int, ...]) -> Value:
        return self.moved(lambda t: mil.reshape(t, shape), lambda a: a.reshape(shape))


class Maker:
    """The program so far."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.builder = mil.Builder()
        self.values: list[Value] = []
        self.inputs: dict[str, NDArray[Any]] = {}

    def integer(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def boolean(self) -> bool:
        return bool(self.draw(st.booleans()))

    def choice(self, options: Any) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def halves(self, shape: tuple[int, ...], scale: float = 1.0) -> NDArray[np.float16]:
        return normal_halves(self.integer(0, 1000), shape, scale)

    def input(self, name: str, shape: tuple[int, ...], dtype: str) -> None:
        x = np.random.default_rng(self.integer(0, 2**32 - 1)).standard_normal(shape)
        self.inputs[name] = x.astype({"fp16": np.float16, "fp32": np.float32}[dtype])
        tensor = self.builder.input(name, shape, dtype)
        halves = oracle.rounded(self.inputs[name]).astype(np.float64)
        self.values.append(Value(mil.cast(tensor, "fp16") if dtype == "fp32" else tensor, iv.point(halves)))

    def add(self, tensor: mil.Tensor, bounds: Interval) -> None:
        """Keep a value, unless it is large."""
        assert tensor.shape == bounds.shape
        value = Value(tensor, bounds)
        if value.size <= MOST_ELEMENTS:
            self.values.append(value)

    def operand(self) -> Value:
        """Choose late values more often, or chains would stay short; never one of which little is known."""
        known = [value for value in self.values if value.is_known]
        value = known[max(0, len(known) - 1 - self.integer(0, 7))]
        largest = float(value.bounds.size.max())
        if not LARGEST < largest < np.inf:
            return value
        factor = 2.0 ** -math.ceil(math.log2(largest / 4))
        return Value(mil.mul(value.tensor, factor), iv.rising(lambda x: x * factor, value.bounds))

    def positive(self) -> Value:
        x = self.operand()
        return Value(mil.abs(x.tensor), iv.magnitude(x.bounds))

    def fitting(self, fits: Callable[[tuple[int, ...]], bool]) -> list[Value]:
        return [value for value in self.values if fits(value.shape) and value.is_known]

    def image(self) -> Value:
        """Draw an operand of four axes."""
        x = self.operand()
        if x.rank > 4:
            return x.reshaped((x.shape[0] * x.shape[1], *x.shape[2:]))
        return x if x.rank == 4 else x.reshaped((1,) * (4 - x.rank) + x.shape)

    def channels(self, most_axes: int) -> Value:
        """Draw an operand [batch, channels, ...] of three axes to `most_axes`."""
        x = self.operand()
        return x if 3 <= x.rank <= most_axes else x.reshaped((1, x.shape[0], x.size // x.shape[0]))

    def pair(self) -> tuple[Value, Value]:
        """Draw operands whose shapes broadcast."""
        x = self.operand()

        def fits(shape: tuple[int, ...]) -> bool:
            try:
                return math.prod(np.broadcast_shapes(shape, x.shape)) <= MOST_ELEMENTS
            except ValueError:
                return False

        y = self.choice([x, *self.fitting(fits)[-6:]])
        return (x, y) if self.boolean() else (y, x)


Family = Callable[[Maker, str], None]  # adds values of the operation, or none where operands do not fit it
