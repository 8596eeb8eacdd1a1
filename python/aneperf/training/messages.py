"""What parent and worker say to each other, a line of JSON each."""

from __future__ import annotations

import msgspec

from ..kernels import TransformerConfig
from ..kernels.schedule import Pipeline
from .clock import Span


class Setup(msgspec.Struct, frozen=True):
    """What a worker is told first."""

    model: TransformerConfig
    separate_classifier: bool
    device: str | None
    pipeline: Pipeline
    as_published: bool
    state_descriptor: int


class Load(msgspec.Struct, frozen=True, tag="load"):
    """Compile the kernels with the parameters as they are now."""


class Step(msgspec.Struct, frozen=True, tag="step"):
    """Run one sequence; leave base + gradient in one set of gradients."""

    tokens: list[int]
    targets: list[int]
    gradients: int
    base: int | None
    loss_scale: float


Command = Load | Step


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """First when the device is open and what has no weights is compiled, then in answer to Load.

    Times in ns of time.monotonic_ns, which all processes share.
    """

    device: str
    compiled: int
    begin: int
    end: int
    compiles_used: int
    compiles_left: int

    @property
    def compile_ms(self) -> float:
        """How long it took."""
        return (self.end - self.begin) * 1e-6


class Stepped(msgspec.Struct, frozen=True, tag="stepped"):
    """A step is done: times as in Ready."""

    loss: float | None  # None stands for what is not a number
    begin: int
    end: int
    spans: list[Span]
    products: list[Span]
    peak_bytes: int


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The worker cannot do what it was told."""

    error: str
    message: str


Answer = Ready | Stepped | Failed
