"""Kernels of the dynamic pipeline on the device: compiled once, with surfaces and requests for each layer.

A kernel whose input would be too wide is divided into chunks, which one program computes one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .. import _ane_native as native
from ..kernels import Kernel
from ..kernels.packed import PackedKernel
from ..kernels.shared import SharedFamily
from .kernels import Channels, Floats


@dataclass(frozen=True)
class Input:
    """An input that each chunk reads whole."""

    copies: list[Channels]

    @property
    def operand(self) -> Channels:
        """Return what the gradient of a weight reads."""
        return self.copies[0]

    def write(self, x: Floats) -> None:
        """Round x [channels, S] to fp16 and write it."""
        for copy in self.copies:
            copy.write(x)


@dataclass(frozen=True)
class Output:
    """An output of which the chunks compute consecutive channels, or all channels of a sum."""

    chunks: list[Channels]
    is_sum: bool

    @property
    def operand(self) -> list[Channels]:
        """Return what the gradient of a weight reads."""
        return self.chunks

    def read(self, out: Floats) -> None:
        """Read into out [channels, S]."""
        for chunk, rows in zip(self.chunks, self._rows(out), strict=True):
            chunk.read(rows)

    def add(self, x: Floats, out: Floats) -> None:
        """Add x and the output to out [channels, S], which may be x."""
        if self.is_sum:
            for chunk in self.chunks:
                chunk.add(x, out)
                x = out
            return
        for chunk, terms, rows in zip(self.chunks, self._rows(x), self._rows(out), strict=True):
            chunk.add(terms, rows)

    def copy_to(self, target: Input) -> None:
        """Copy to an input of the same size."""
        for copy in target.copies:
            first = copy.first
            for chunk in self.chunks:
                chunk.copy_to(copy._replace(first=first, channels=chunk.channels))
                first += chunk.channels

    def _rows(self, x: Floats) -> list[Floats]:
        assert not self.is_sum or len(self.chunks) == 1
        ends = np.cumsum([chunk.channels for chunk in self.chunks])
        return [x[end - chunk.channels : end] for chunk, end in zip(self.chunks, ends, strict=True)]


class SharedKernel:
    """A kernel of all layers: compiled once, evaluated on the surfaces of any."""

    def __init__(self, device: native.Device, family: SharedFamily, kernel: Kernel, chunks: int) -> None:
        self.family, self.kernel, self.chunks = family, kernel, chunks
        self._device = device
        self._program: native.Program | None = None
        self._surfaces: dict[str, list[native.Surface]] = {}

    def compile(self) -> None:
        """Compile the program. Layers are bound to it afterwards."""
        self._program = self.kernel.program.compile(self._device)

    def layer(self) -> LayerKernel:
        """Return the kernel with the surfaces of a layer: its own where they hold what is needed later."""
        assert self._program is not None
        inputs = self._made("x", own=isinstance(self.kernel, PackedKernel))
        outputs = self._made("y", own=self.family.keeps_outputs)
        requests = [self._program.bind({"x": x}, {"y": y}) for x, y in zip(inputs, outputs, strict=True)]
        return LayerKernel(self, inputs, outputs, requests)

    def _made(self, port: str, *, own: bool) -> list[native.Surface]:
        if own or port not in self._surfaces:
            ports = self.kernel.program.inputs if port == "x" else self.kernel.program.outputs
            layout = native.Layout("fp16", ports[port].shape)
            self._surfaces[port] = [self._device.make_surface(layout) for _ in range(self.chunks)]
        return self._surfaces[port]


class LayerKernel:
    """A kernel with a layer's surfaces, of which each chunk has its own."""

    def __init__(
        self,
        shared: SharedKernel,
        inputs: list[native.Surface],
        outputs: list[native.Surface],
        requests: list[native.Request],
    ) -> None:
        self._shared = shared
        self._inputs, self._outputs, self._requests = inputs, outputs, requests

    def stage(self, weights: Mapping[str, Floats]) -> None:
        """Round the layer's weights to fp16 and write them into the inputs."""
        kernel = self._shared.kernel
        if not isinstance(kernel, PackedKernel):
            return
        column = len(kernel.inputs) * kernel.seq
        for name, columns in kernel.weights_at.items():
            array = weights[name.removesuffix(".T")]
            for chunk, surface in enumerate(self._inputs):
                part = slice(chunk * columns, (chunk + 1) * columns)
                if array.ndim == 1:
                    native.write_channels(surface, 0, array[np.newaxis], column)
                elif name.endswith(".T"):
                    native.write_channels(surface, 0, array[part], column, transpose=True)
                else:
                    native.write_channels(surface, 0, np.ascontiguousarray(array[:, part]), column)
            column += columns

    def evaluate(self) -> None:
        """Run once, from the inputs' surfaces to the outputs'."""
        for request in self._requests:
            request.evaluate()

    def input(self, name: str) -> Input:
        """Locate a part of the input."""
        kernel = self._shared.kernel
        index, count = list(kernel.inputs).index(name), kernel.inputs[name]
        if isinstance(kernel, PackedKernel):
            return Input([Channels(s, 0, count, kernel.seq, index * kernel.seq) for s in self._inputs])
        first = sum(list(kernel.inputs.values())[:index])
        return Input([Channels(s, first, count, kernel.seq) for s in self._inputs])

    def output(self, name: str) -> Output:
        """Locate a part of the output."""
        kernel, family = self._shared.kernel, self._shared.family
        index, count = list(kernel.outputs).index(name), kernel.outputs[name]
        first = sum(list(kernel.outputs.values())[:index])
        chunks = [Channels(s, first, count, kernel.seq) for s in self._outputs]
        return Output(chunks[:1] if name in family.whole else chunks, is_sum=name in family.summed)
