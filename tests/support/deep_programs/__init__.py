"""A hypothesis strategy for deep programs over all operations, each value with its enclosure."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st
from numpy.typing import NDArray

from aneperf import mil
from support.intervals import Interval

from . import elementwise, movement, product, reduction, storage, window
from .maker import Draw, Family, Maker

OPERATIONS: dict[str, Family] = {
    name: family
    for module in (elementwise, reduction, product, window, movement, storage)
    for name, family in module.OPERATIONS.items()
}
SHAPES = [(1, 6, 4, 5), (1, 6, 1, 5), (4, 5), (2, 4, 1, 8), (3, 1, 5), (12,)]


class DeepProgram(NamedTuple):
    program: mil.Program
    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, Interval]
    operations: list[str]


@st.composite
def deep_programs(draw: Draw, least: int = 20, most: int = 60) -> DeepProgram:
    """Draw programs of `least` to `most` operations, plus those that prepare operands and cast back."""
    maker = Maker(draw)
    for i in range(maker.integer(1, 3)):
        maker.input(f"x{i}", maker.choice(SHAPES), maker.choice(("fp16", "fp16", "fp32")))
    inputs = len(maker.values)
    length, operations = maker.integer(least, most), []
    while len(operations) < length:
        before = len(maker.values)
        name = maker.choice(OPERATIONS)
        OPERATIONS[name](maker, name)
        operations += [name] * (len(maker.values) > before)
    computed = maker.values[inputs:]
    chosen = {len(computed) - 1, *(maker.integer(0, len(computed) - 1) for _ in range(maker.integer(0, 4)))}
    outputs = {}
    for i in sorted(chosen):
        tensor = computed[i].tensor
        wide = bool(draw(st.booleans()))
        maker.builder.output(f"y{i}", mil.cast(tensor, "fp32") if wide else tensor)
        outputs[f"y{i}"] = computed[i].bounds
    return DeepProgram(maker.builder.build(), maker.inputs, outputs, operations)
