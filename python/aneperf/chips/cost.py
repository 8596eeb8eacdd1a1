"""Predict the time of a call from its work: the model, whose parameters `fit.py` finds for each chip.

A call costs its route's part, the bytes of its ports, and the time of one operation after the other. An
operation takes as long as the slowest of three things that go on at once: its arithmetic, its weights on
their way from memory, and its activations. Why the terms have this form:

- A 3-wide kernel needs 2/3 of the products on engines with Winograd's transform.
- An engine splits an activation into one more block than 2 MiB go into it. The second operand of a product
  of two inputs is read again for each block.
- Weights that an earlier operation has read come from the chip itself. They take no bandwidth of memory, but
  on-chip transfers, which keep pace with the clock.
- An element-wise operation on more than 2 MiB reads and writes memory in each of its passes.
- Two engines of a chip share operations whose activations are large enough, and they share its memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from .catalog import Chip
from .published import Route

Bound = Literal["dispatch", "compute", "weights", "activations", "host"]
Parameter = Literal[
    "call", "ports", "layer", "compute", "int8", "matmul", "weights", "stall", "operand", "pointwise",
    "call-coreml", "ports-coreml", "call-e5rt", "ports-e5rt",
]  # fmt: skip
PARAMETERS: tuple[Parameter, ...] = get_args(Parameter)
UNITS: Mapping[Parameter, str] = {
    "call": "ms", "ports": "GB/s", "layer": "us", "compute": "TFLOPS", "int8": "times", "matmul": "times",
    "weights": "GB/s", "stall": "times", "operand": "GB/s", "pointwise": "10^9/s", "call-coreml": "ms",
    "ports-coreml": "GB/s", "call-e5rt": "ms", "ports-e5rt": "GB/s",
}  # fmt: skip

_BLOCK = 2 << 20  # bytes of an activation that an engine holds
_WINOGRAD = {"h17", "h18", "h18g", "h19"}
_WINOGRAD_SHARE = 2 / 3  # of the direct products
# 1x1 convolutions whose layers share 0.5 MiB of weights take 1.14 us each on an M6 of 21.1 TFLOPS an engine.
_ON_CHIP = 22.0  # GB/s of weights for each TFLOPS of an engine
_SHARED_FROM = 256 << 10  # bytes of an activation from which two engines work on it, on M6
# Core ML's thread is woken up later after tasks of more than 0.3 ms; from 0.6 ms on it costs all of this.
_WAKE_MS, _WAKE_FROM_MS, _WAKE_TO_MS = 0.195, 0.3, 0.6


@dataclass(frozen=True)
class Layer:
    """The work of an operation on the engine; `count` equal ones follow each other."""

    kind: Literal["product", "pointwise", "movement", "free"]
    flops: float = 0.0  # a multiply-add counts as two
    is_int8: bool = False  # both operands
    is_runtime: bool = False  # neither operand is constant
    is_winograd: bool = False  # a kernel 3 wide of stride 1
    weight_bytes: float = 0.0  # constants that no operation before has read
    reused_bytes: float = 0.0  # constants that one has
    is_stalled: bool = False  # weights whose transfer stalls
    operand_bytes: float = 0.0  # the second operand of a product of two inputs
    largest_bytes: float = 0.0  # the largest activation
    moved_bytes: float = 0.0  # all activations
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
    if layer.is_runtime:
        rate *= values["matmul"]
        powers["matmul"] = -1
    has_winograd = layer.is_winograd and traits.profile in _WINOGRAD
    flops = layer.flops * (_WINOGRAD_SHARE if has_winograd else 1.0)
    terms = [Term("compute", flops / rate / 1e9, powers)]
    if layer.weight_bytes:
        bandwidth = values["weights"] * (values["stall"] if layer.is_stalled else 1.0)
        stalled: dict[Parameter, int] = {"stall": -1} if layer.is_stalled else {}
        terms.append(Term("weights", _ms(layer.weight_bytes, bandwidth), {"weights": -1, **stalled}))
    if layer.reused_bytes:
        ms = _ms(layer.reused_bytes, _ON_CHIP * values["compute"])
        terms.append(Term("weights", ms, {"compute": -1}))
    if layer.operand_bytes:
        blocks = layer.largest_bytes // (_BLOCK * engines) + 1
        ms = _ms(layer.operand_bytes * blocks, values["operand"] * engines)
        terms.append(Term("activations", ms, {"operand": -1}))
    return terms


def _pointwise_terms(layer: Layer, values: Values, traits: Traits, engines: int) -> list[Term]:
    ms = layer.passes * layer.elements / (values["pointwise"] * engines) / 1e6
    terms = [Term("compute", ms, {"pointwise": -1})]
    if layer.largest_bytes > _BLOCK * engines:
        ms = _ms(layer.passes * layer.moved_bytes, values["weights"])
        terms.append(Term("activations", ms, {"weights": -1}))
    return terms


def _movement_terms(layer: Layer, values: Values, traits: Traits, engines: int) -> list[Term]:
    return [Term("activations", _ms(layer.moved_bytes, values["operand"] * engines), {"operand": -1})]


def _ms(size: float, bandwidth: float) -> float:
    """Return the time of bytes at GB/s."""
    return size / bandwidth / 1e6
