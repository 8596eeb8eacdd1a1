"""Kernels on the device: compiled programs, and the channels of their surfaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _ane_native as native
from ..kernels import Kernel, ScheduledKernel, TransformerConfig

Floats = NDArray[np.float32]
Flags = NDArray[np.int32]  # see native.raise_flags


class Channels(NamedTuple):
    """A range of a surface's channels: whole, or the positions from a column on."""

    surface: native.Surface
    first: int
    channels: int
    positions: int
    column: int | None = None

    def write(self, x: Floats) -> None:
        """Round x [channels, S] to fp16 and write it."""
        native.write_channels(self.surface, self.first, x, self.column)

    def read(self, out: Floats) -> None:
        """Read whole channels into out [channels, S]."""
        native.read_channels(self.surface, self.first, out)

    def add(self, x: Floats, out: Floats) -> None:
        """Add x and whole channels to out [channels, S], which may be x."""
        native.add_channels(self.surface, self.first, x, out)

    def copy_to(self, other: Channels) -> None:
        """Copy whole channels to a range of the same size."""
        native.copy_channels(
            self.surface, self.first, other.surface, other.first, self.channels, other.column
        )


# Activations [channels, S] that the gradient of a weight reads; those of a sequence follow one another.
Operand: TypeAlias = Floats | Channels | Sequence[Channels]


class LoadedKernel:
    """A scheduled kernel with its surfaces, which stay the same from one set of weights to the next."""

    def __init__(
        self,
        device: native.Device,
        config: TransformerConfig,
        scheduled: ScheduledKernel,
        as_published: bool,
    ) -> None:
        self.has_weights = bool(scheduled.parameters)
        self._device = device
        self._scheduled = scheduled
        self._kernel: Kernel = scheduled.template(config, as_published)
        self._x, self._y = (
            device.make_surface(native.Layout("fp16", (1, sum(parts.values()), 1, config.seq)))
            for parts in (self._kernel.inputs, self._kernel.outputs)
        )
        self._program: native.Program | None = None
        self._request: native.Request | None = None

    def load(self, parameters: Mapping[str, Floats]) -> None:
        """Compile with these parameters, after unloading the program before."""
        if self._program is not None:
            self._program.unload()
        self._program = self._request = None
        program = self._kernel.bake(**self._scheduled.weights(parameters)).compile(self._device)
        self._program, self._request = program, program.bind({"x": self._x}, {"y": self._y})

    def evaluate(self) -> None:
        """Run once, from the input's surface to the output's."""
        assert self._request is not None
        self._request.evaluate()

    def input(self, *parts: str) -> Channels:
        """Locate neighboring parts of the input."""
        return _channels(self._x, self._kernel.inputs, parts)

    def output(self, *parts: str) -> Channels:
        """Locate neighboring parts of the output."""
        return _channels(self._y, self._kernel.outputs, parts)


def _channels(surface: native.Surface, channels: Mapping[str, int], parts: tuple[str, ...]) -> Channels:
    names = list(channels)
    begin = names.index(parts[0])
    assert tuple(names[begin : begin + len(parts)]) == parts
    first = sum(channels[name] for name in names[:begin])
    assert surface.layout is not None
    return Channels(surface, first, sum(channels[name] for name in parts), surface.layout.shape[-1])
