"""Predict the time of a call from its work: the model, whose parameters `fit.py` finds for each chip.

A call costs its route's part, the bytes of its ports, and the time of one operation after the other. An
operation takes as long as the slowest of three things that go on at once: its arithmetic, its weights on
their way from memory, and its activations. Why the terms have this form:

- A 3-wide kernel needs 2/3 of the products on engines with Winograd's transform.
- An engine holds activations below 2 MiB. A product reads a larger one from memory once for each group of
  output channels that its cores compute at once.
- A depthwise convolution uses a small part of the array of multipliers.
- A convolution writes its results at a rate of its own, which is what limits those with few channels.
- Weights that an earlier operation has read come from the chip itself. They take no bandwidth of memory, but
  on-chip transfers, which keep pace with the clock.
- An element-wise operation on 2 MiB or more reads and writes memory in each of its passes.
- Two engines of a chip share operations whose activations are large enough, and they share its memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from .catalog import Chip
from .published import Route

Bound = Literal["dispatch", "compute", "weights", "activations", "host"]
Parameter = Literal[
    "call", "ports", "layer", "compute", "int8", "grouped", "weights", "stall", "operand", "memory",
    "outputs", "pointwise", "call-coreml", "ports-coreml", "call-e5rt", "ports-e5rt",
]  # fmt: skip
PARAMETERS: tuple[Parameter, ...] = get_args(Parameter)
UNITS: Mapping[Parameter, str] = {
    "call": "ms", "ports": "GB/s", "layer": "us", "compute": "TFLOPS", "int8": "times", "grouped": "times",
    "weights": "GB/s", "stall": "times", "operand": "GB/s", "memory": "GB/s",
    "outputs": "10^9/s", "pointwise": "10^9/s", "call-coreml": "ms",
    "ports-coreml": "GB/s", "call-e5rt": "ms", "ports-e5rt": "GB/s",
}  # fmt: skip

BLOCK = 2 << 20  # bytes: an engine holds an activation that is smaller
# An M6 engine reads 42 GB/s of 32 MB while it writes as much, and 51 while it writes half of that (751K,
# notes/memory.md, C3b), and 57 in the large products of matrices, which write little.
_WRITTEN = 1 / 3
_CORES = 16
_WEIGHT_BUFFER = 64 << 10  # bytes of weights that a core holds
_WINOGRAD = {"h17", "h18", "h18g", "h19"}
_WINOGRAD_SHARE = 2 / 3  # of the direct products
# 1x1 convolutions whose layers share 0.5 MiB of weights take 1.14 us each on an M6 of 21.1 TFLOPS an engine.
_ON_CHIP = 22.0  # GB/s of weights for each TFLOPS of an engine
_SHARED_FROM = 256 << 10  # bytes of an activation from which two engines work on it, on M6
# On M6, the rest of a call through Core ML takes 160 us after tasks of 230 us, and 355 us after those of 400
# us and more, as the CPU wakes up from deeper sleep: 751K, notes/compute_array.md, B6b.
_WAKE_MS, _WAKE_FROM_MS, _WAKE_TO_MS = 0.195, 0.23, 0.4


@dataclass(frozen=True)
class Layer:
    """The work of an operation on the engine; `count` equal ones follow each other."""

    kind: Literal["product", "pointwise", "movement", "free"]
    flops: float = 0.0  # a multiply-add counts as two
    is_int8: bool = False  # both operands
    is_winograd: bool = False  # a kernel 3 wide of stride 1
    outputs: float = 0.0  # elements that a convolution writes
    weight_bytes: float = 0.0  # constants that no operation before has read
    reused_bytes: float = 0.0  # constants that one has
    is_stalled: bool = False  # weights whose transfer stalls
    operand_bytes: float = 0.0  # the second operand of a product of two inputs
    group_channels: int = 0  # input channels of each group of a convolution in groups
    read_bytes: float = 0.0  # activations from memory, where the engine cannot hold them
    reads: int = 1  # how often a product reads them
    written_bytes: float = 0.0  # activations to memory, where the engine cannot hold them
    largest_bytes: float = 0.0  # the largest activation
    elements: float = 0.0
    passes: int = 1
    count: int = 1


@dataclass(frozen=True)
class Call:
    """The operations of a call, and the bytes of its ports, by a route of the system.

    `part` is what is timed: all of the call, or only the engine's work. `engines` is None where the chip's
    own rule holds.
    """

    layers: tuple[Layer, ...] = ()
    port_bytes: float = 0.0
    route: Route = "private"
    part: Literal["call", "task"] = "call"
    engines: int | None = None
    tool_ms: float = 0.0  # that the measuring tool itself adds to a call


@dataclass(frozen=True)
class Traits:
    """Facts of an engine that change the model: its generation, and how many engines share a program."""

    profile: str  # such as "h16"
    engines: int


@dataclass(frozen=True)
class Term:
    """A part of a time, and how it follows from parameters: its power of each."""

    bound: Bound
    ms: float
    powers: Mapping[Parameter, int] = field(default_factory=dict)


Values = Mapping[Parameter, float]


def traits_of(chip: Chip) -> Traits:
    """Return the traits of a chip. A program stays on one die of an Ultra."""
    return Traits(chip.profile, 2 if chip.engines == 2 and chip.profile in ("h18g", "h19") else 1)


def time_call(call: Call, values: Values, traits: Traits) -> list[Term]:
    """Return the terms whose sum is the time of a call."""
    terms = [term for layer in call.layers for term in time_layer(layer, values, traits, call.engines)]
    if call.part == "task":
        return terms
    return [*time_dispatch(call, values, sum(term.ms for term in terms)), *terms]


def time_dispatch(call: Call, values: Values, task_ms: float) -> list[Term]:
    """Return the terms of a call besides its task on the engine, which takes `task_ms`."""
    names: dict[str, tuple[Parameter, Parameter]] = {
        "private": ("call", "ports"),
        "coreml": ("call-coreml", "ports-coreml"),
        "e5rt": ("call-e5rt", "ports-e5rt"),
    }
    floor, ports = names[call.route]
    terms = [Term("dispatch", values[floor], {floor: 1})]
    if call.tool_ms:
        terms.append(Term("host", call.tool_ms))
    if call.port_bytes:
        terms.append(Term("host", _ms(call.port_bytes, values[ports]), {ports: -1}))
    if call.route == "coreml":
        share = (task_ms - _WAKE_FROM_MS) / (_WAKE_TO_MS - _WAKE_FROM_MS)
        terms.append(Term("host", _WAKE_MS * min(1.0, max(0.0, share))))
    return terms


def time_layer(layer: Layer, values: Values, traits: Traits, engines: int | None = None) -> list[Term]:
    """Return the terms of an operation's time, times its count: what bounds it, and a fixed cost."""
    if layer.kind == "free":
        return []
    if engines is None:
        engines = traits.engines if layer.largest_bytes >= _SHARED_FROM else 1
    works = {
        "product": _product_terms,
        "pointwise": _pointwise_terms,
        "movement": _movement_terms,
    }[layer.kind](layer, values, traits, engines)
    slowest = max(works, key=lambda term: term.ms)
    fixed = Term("dispatch", values["layer"] / 1e3, {"layer": 1})
    return [Term(term.bound, term.ms * layer.count, term.powers) for term in (slowest, fixed)]


def _product_terms(layer: Layer, values: Values, traits: Traits, engines: int) -> list[Term]:
    rate = values["compute"] * engines
    powers: dict[Parameter, int] = {"compute": -1}
    if layer.is_int8:
        rate *= values["int8"]
        powers["int8"] = -1
    if layer.group_channels and layer.group_channels * values["grouped"] < 1:
        rate *= layer.group_channels * values["grouped"]
        powers["grouped"] = -1
    has_winograd = layer.is_winograd and traits.profile in _WINOGRAD
    flops = layer.flops * (_WINOGRAD_SHARE if has_winograd else 1.0)
    terms = [
        Term("compute", flops / rate / 1e9, powers),
        Term("compute", layer.outputs / (values["outputs"] * engines) / 1e6, {"outputs": -1}),
    ]
    if layer.weight_bytes:
        bandwidth = values["weights"] * (values["stall"] if layer.is_stalled else 1.0)
        stalled: dict[Parameter, int] = {"stall": -1} if layer.is_stalled else {}
        terms.append(Term("weights", _ms(layer.weight_bytes, bandwidth), {"weights": -1, **stalled}))
    if layer.reused_bytes:
        ms = _ms(layer.reused_bytes, _ON_CHIP * values["compute"])
        terms.append(Term("weights", ms, {"compute": -1}))
    # Winograd's transform takes few channels at once, and leaves room for the weights of more.
    reads = -(-layer.reads // 2) if has_winograd else layer.reads
    terms += _memory_terms(layer, reads, values, engines)
    if layer.operand_bytes:
        ms = _ms(layer.operand_bytes, values["operand"] * engines)
        terms.append(Term("activations", ms, {"operand": -1}))
    return terms


def _pointwise_terms(layer: Layer, values: Values, traits: Traits, engines: int) -> list[Term]:
    ms = layer.passes * layer.elements / (values["pointwise"] * engines) / 1e6
    return [
        Term("compute", ms, {"pointwise": -1}),
        *(replace(term, ms=layer.passes * term.ms) for term in _memory_terms(layer, 1, values, engines)),
    ]


def _memory_terms(layer: Layer, reads: int, values: Values, engines: int) -> list[Term]:
    """Return the time of activations that the engine cannot hold."""
    size = reads * layer.read_bytes + _WRITTEN * layer.written_bytes
    if not size or layer.largest_bytes < BLOCK * engines:
        return []
    return [Term("activations", _ms(size, values["memory"] * engines), {"memory": -1})]


def _movement_terms(layer: Layer, values: Values, traits: Traits, engines: int) -> list[Term]:
    return [
        Term(
            "activations",
            _ms(layer.read_bytes + layer.written_bytes, values["operand"] * engines),
            {"operand": -1},
        )
    ]


def reads_of(outputs: int, weight_bytes: float, *, is_window: bool = False) -> int:
    """Return how often a product reads its activation: once for each group of output channels.

    A core computes at most 16 of them at once: a power of two whose weights, `weight_bytes` each, fit into
    its buffer. Kernels wider than 1 seem to have half of the buffer.
    """
    fitting = max(1, int(_WEIGHT_BUFFER / (2 if is_window else 1) / weight_bytes))
    group = min(16, 1 << (fitting.bit_length() - 1))
    return -(-outputs // (_CORES * group))


def _ms(size: float, bandwidth: float) -> float:
    """Return the time of bytes at GB/s."""
    return size / bandwidth / 1e6
