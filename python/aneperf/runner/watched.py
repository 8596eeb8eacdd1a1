"""A device in a child process, whose compiles the parent watches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from .._ane_native import Device, Program
from .child_process import Parent

_PORT = re.compile(r"tensor<(\w+), (\[[\d, ]*\])>\s+(\w+)")


class _WatchedProgram:
    def __init__(self, program: Program, description: str, parent: Parent) -> None:
        self._program = program
        self._description = description
        self._parent = parent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._program, name)

    def __enter__(self) -> _WatchedProgram:
        return self

    def __exit__(self, *exception: object) -> None:
        self._program.unload()

    def reload(self, weights: Mapping[str, Any] | None = None) -> None:
        with self._parent.compiling(self._description):
            self._program.reload(weights)


class _WatchedDevice:
    """Equals the device, so that what is kept by device is found."""

    def __init__(self, device: Device, parent: Parent) -> None:
        self._device = device
        self._parent = parent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def __eq__(self, other: object) -> bool:
        return self._device == other

    def __hash__(self) -> int:
        return hash(self._device)

    def compile(self, text: str, weights: Mapping[str, Any] | None = None, **options: Any) -> _WatchedProgram:
        description = describe(text, weights or {})
        with self._parent.compiling(description):
            program = self._device.compile(text, weights, **options)
        return _WatchedProgram(program, description, self._parent)


def watched(device: Device, parent: Parent) -> Device:
    """Return the device, with every compile and load announced to the parent."""
    return cast("Device", _WatchedDevice(device, parent))


def describe(text: str, weights: Mapping[str, bytes]) -> str:
    """Describe a program in MIL by its inputs and the size of its weights."""
    _, _, function = text.partition("func ")
    header, _, _ = function.partition("{")
    inputs = ", ".join(f"{name} {dtype}{shape}" for dtype, shape, name in _PORT.findall(header[:10_000]))
    size = sum(memoryview(content).nbytes for content in weights.values())
    return f"a program of {inputs or 'no inputs'} and {size / 1e6:.3g} MB of weights"
