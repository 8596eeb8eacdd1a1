"""Predict the time of a call from its work: the model, whose parameters `fit.py` finds for each chip.

A call costs its route's part, a fixed time of each further port, and the time of one operation after the
other. An operation takes as long as the slowest of three things that go on at once: its arithmetic, its
weights on their way from memory, and its activations. Why the terms have this form:

- A 3-wide kernel needs 2/3 of the products on engines with Winograd's transform.
- An engine holds activations below 2 MiB. A product reads a larger one from memory once for each group of
  output channels that its cores compute at once.
- The array is not full with few positions: it takes as long as for `fill` of them.
- A depthwise convolution uses a small part of the array of multipliers.
- A convolution writes its results at a rate of its own, which is what limits those with few channels.
- Weights that an earlier operation has read are still in the cores' buffers, if they fit there.
- An element-wise operation on 2 MiB or more reads and writes memory in each of its passes.
- The private framework copies no port: the first operation reads it where it lies, and the last writes it.
  Core ML and e5rt take time for each byte.
- Two engines of a chip share operations whose activations are large enough. Each computes a part of the
  positions, and reads all weights. They share the chip's memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from ..stalls import WITHOUT_STALLS
from .catalog import Chip
from .published import Route

Bound = Literal["dispatch", "compute", "weights", "activations", "host"]
Parameter = Literal[
    "call", "wake", "port", "layer", "compute", "int8", "fill", "grouped", "weights", "stall", "operand",
    "memory", "outputs", "pointwise", "passes", "call-coreml", "port-coreml", "ports-coreml", "call-e5rt",
    "ports-e5rt",
]  # fmt: skip
PARAMETERS: tuple[Parameter, ...] = get_args(Parameter)
UNITS: Mapping[Parameter, str] = {
    "call": "ms", "wake": "ms", "port": "us", "layer": "us", "compute": "TFLOPS", "int8": "times",
    "fill": "positions", "grouped": "times", "weights": "GB/s", "stall": "times", "operand": "GB/s",
    "memory": "GB/s", "outputs": "10^9/s", "pointwise": "10^9/s", "passes": "times", "call-coreml": "ms",
    "port-coreml": "us", "ports-coreml": "GB/s", "call-e5rt": "ms", "ports-e5rt": "GB/s",
}  # fmt: skip

BLOCK = 2 << 20  # bytes: an engine holds an activation that is smaller
# An M6 engine reads 42 GB/s of 32 MB while it writes as much, and 51 while it writes half of that (751K,
# notes/memory.md, C3b), and 57 in the large products of matrices, which write little.
_WRITTEN = 1 / 3
_CORES = 16
_WEIGHT_BUFFER = 64 << 10  # bytes of weights that a core holds
_WINOGRAD = {"h17", "h18", "h18g", "h19"}
_WINOGRAD_SHARE = 2 / 3  # of the direct products
_SHARED_FROM = 256 << 10  # bytes of an activation from which two engines work on it, on M6
# On M6, the rest of a call through Core ML takes 160 us after tasks of 230 us by both engines, and 355 us
# after those of 400 us and more, as the CPU wakes up from deeper sleep: 751K, notes/compute_array.md, B6b.
# With one engine, it takes 130 us until 300 us, 255 after 417 and 325 after 633 (notes/scheduling.md, D1c).
_WAKE_COREML_MS = 0.195
_WAKE_COREML_FROM_TO_MS = {1: (0.3, 0.5), 2: (0.23, 0.4)}
# By the private framework it begins earlier, and takes less.
_WAKE_FROM_TO_MS = (0.1, 0.2)
_PORTS = 2  # an input and an output, whose fixed time is the call's


@dataclass(frozen=True)
class Layer:
    """The work of an operation on the engine; `count` equal ones follow each other."""

    kind: Literal["product", "pointwise", "movement", "free"]
    flops: float = 0.0  # a multiply-add counts as two
    is_int8: bool = False  # both operands
    is_winograd: bool = False  # a kernel 3 wide of stride 1
    positions: float = 0.0  # that one set of weights is applied to; 0 where the array is full
    outputs: float = 0.0  # elements that a convolution writes
    weight_bytes: float = 0.0  # constants that no operation before has read
    reused_bytes: float = 0.0  # constants that one has
    is_stalled: bool = False  # weights whose transfer stalls
    operand_bytes: float = 0.0  # the second operand of a product of two inputs
    group_channels: int = 0  # input channels of each group of a convolution in groups
    port_bytes: float = 0.0  # of ports of the private framework, which it reads or writes where they lie
    read_bytes: float = 0.0  # activations from memory, where the engine cannot hold them
    reads: int = 1  # how often a product reads them
    written_bytes: float = 0.0  # activations to memory, where the engine cannot hold them
    largest_bytes: float = 0.0  # the largest activation
    elements: float = 0.0
    is_normalizing: bool = False  # several passes over the elements
    count: int = 1


@dataclass(frozen=True)
class Call:
    """The operations of a call, and its ports, by a route of the system.

    `part` is what is timed: all of the call, or only the engine's work. `engines` is None where the chip's
    own rule holds. `port_bytes` are those that the route moves before and after the operations.
    """

    layers: tuple[Layer, ...] = ()
    port_bytes: float = 0.0
    ports: int = _PORTS
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
    engines = max((_engines(layer, traits, call.engines) for layer in call.layers), default=1)
    return [*time_dispatch(call, values, sum(term.ms for term in terms), engines), *terms]


def time_dispatch(call: Call, values: Values, task_ms: float, engines: int = 1) -> list[Term]:
    """Return the terms of a call besides its task on the engine, which takes `task_ms` on `engines`."""
    names: dict[str, tuple[Parameter, Parameter | None, Parameter | None]] = {
        "private": ("call", "port", None),
        "coreml": ("call-coreml", "port-coreml", "ports-coreml"),
        "e5rt": ("call-e5rt", None, "ports-e5rt"),
    }
    floor, port, ports = names[call.route]
    terms = [Term("dispatch", values[floor], {floor: 1})]
    if call.tool_ms:
        terms.append(Term("host", call.tool_ms))
    if port and call.ports > _PORTS:
        terms.append(Term("host", (call.ports - _PORTS) * values[port] / 1e3, {port: 1}))
    if ports and call.port_bytes:
        terms.append(Term("host", _ms(call.port_bytes, values[ports]), {ports: -1}))
    if call.route == "coreml":
        terms.append(Term("host", _WAKE_COREML_MS * _ramp(task_ms, *_WAKE_COREML_FROM_TO_MS[engines])))
    elif call.route == "private" and (share := _ramp(task_ms, *_WAKE_FROM_TO_MS)):
        terms.append(Term("host", values["wake"] * share, {"wake": 1}))
    return terms


def _ramp(value: float, start: float, end: float) -> float:
    """Return how far a value is on its way from `start` to `end`: 0 before it and 1 after it."""
    return min(1.0, max(0.0, (value - start) / (end - start)))


def time_layer(layer: Layer, values: Values, traits: Traits, engines: int | None = None) -> list[Term]:
    """Return the terms of an operation's time, times its count: what bounds it, and a fixed cost."""
    if layer.kind == "free":
        return []
    engines = _engines(layer, traits, engines)
    works = {
        "product": _product_terms,
        "pointwise": _pointwise_terms,
        "movement": _movement_terms,
    }[layer.kind](layer, values, traits, engines)
    slowest = max(works, key=lambda term: term.ms)
    fixed = Term("dispatch", values["layer"] / 1e3, {"layer": 1})
    return [Term(term.bound, term.ms * layer.count, term.powers) for term in (slowest, fixed)]


def _engines(layer: Layer, traits: Traits, engines: int | None) -> int:
    """Return how many engines work on an operation: those that are named, or by the chip's own rule."""
    return engines or (traits.engines if layer.largest_bytes >= _SHARED_FROM else 1)


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
    if 0 < layer.positions < values["fill"] * engines:
        flops *= values["fill"] * engines / layer.positions
        powers["fill"] = 1
    terms = [
        Term("compute", flops / rate / 1e9, powers),
        Term("compute", layer.outputs / (values["outputs"] * engines) / 1e6, {"outputs": -1}),
    ]
    streamed = layer.weight_bytes
    if layer.reused_bytes > _CORES * _WEIGHT_BUFFER:
        streamed += layer.reused_bytes
    if streamed:
        copies = engines if layer.largest_bytes >= _SHARED_FROM else 1  # else each engine has some channels
        is_stalled = layer.is_stalled and traits.profile not in WITHOUT_STALLS
        bandwidth = values["weights"] * (values["stall"] if is_stalled else 1.0)
        stalled: dict[Parameter, int] = {"stall": -1} if is_stalled else {}
        terms.append(Term("weights", _ms(copies * streamed, bandwidth), {"weights": -1, **stalled}))
    # Winograd's transform takes few channels at once, and leaves room for the weights of more.
    reads = -(-layer.reads // 2) if has_winograd else layer.reads
    terms += _memory_terms(layer, reads, values, engines)
    if layer.operand_bytes:
        ms = _ms(layer.operand_bytes, values["operand"] * engines)
        terms.append(Term("activations", ms, {"operand": -1}))
    return terms


def _pointwise_terms(layer: Layer, values: Values, traits: Traits, engines: int) -> list[Term]:
    ms = layer.elements / (values["pointwise"] * engines) / 1e6
    terms = [Term("compute", ms, {"pointwise": -1}), *_memory_terms(layer, 1, values, engines)]
    if not layer.is_normalizing:
        return terms
    passes = values["passes"]
    return [Term(term.bound, passes * term.ms, {**term.powers, "passes": 1}) for term in terms]


def _memory_terms(layer: Layer, reads: int, values: Values, engines: int) -> list[Term]:
    """Return the time of activations that the engine cannot hold, or else of ports."""
    size = layer.port_bytes
    if layer.largest_bytes >= BLOCK * engines:
        size = max(size, reads * layer.read_bytes + _WRITTEN * layer.written_bytes)
    return [Term("activations", _ms(size, values["memory"] * engines), {"memory": -1})] if size else []


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
