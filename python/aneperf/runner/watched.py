"""A device in a child process, whose compiles the parent watches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from .._ane_native import Device, Program
from .child_process import Parent

_PORT = re.compile(r"tensor<(\w+), (\[[\d, ]*\])>\s+(\w+)")


class _Watched:
    """Has what the watched object has."""

    _watched: Device | Program

    def __getattr__(self, name: str) -> Any:
        if name == "_watched":  # copy.copy asks before it is there
            raise AttributeError(name)
        return getattr(self._watched, name)


class _WatchedProgram(_Watched):
    _watched: Program

    def __init__(self, program: Program, description: str, parent: Parent) -> None:
        self._watched = program
        self._description = description
        self._parent = parent

    def __enter__(self) -> _WatchedProgram:
        return self

    def __exit__(self, *exception: object) -> None:
        self._watched.unload()

    def reload(self, weights: Mapping[str, Any] | None = None) -> None:
        with self._parent.compiling(self._description):
            self._watched.reload(weights)


class _WatchedDevice(_Watched):
    """Equals the device, so that what is kept by device is found."""

    _watched: Device

    def __init__(self, device: Device, parent: Parent) -> None:
        self._watched = device
        self._parent = parent

    def __eq__(self, other: object) -> bool:
        return self._watched == other

    def __hash__(self) -> int:
        return hash(self._watched)

    def compile(self, text: str, weights: Mapping[str, Any] | None = None, **options: Any) -> _WatchedProgram:
        description = describe(text, weights or {})
        with self._parent.compiling(description):
            program = self._watched.compile(text, weights, **options)
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
