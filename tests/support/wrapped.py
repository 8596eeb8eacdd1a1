"""A device on which a test replaces methods of programs."""

from typing import Any

import aneperf
from aneperf.results import Result


def rows(result: Result) -> dict[str, Any]:
    return {row.key.partition("/")[2]: row for row in result}


class Wrapped:
    """A device with some of its programs' methods replaced."""

    def __init__(self, **methods: Any) -> None:
        self._device = aneperf.open("emulator")
        self._methods = methods
        self.info = self._device.info
        self.make_surface = self._device.make_surface
        self.compile_budget = self._device.compile_budget
        self.programs: list[Any] = []

    def compile(self, text: str, weights: Any, **options: Any) -> Any:
        if "compile" in self._methods:
            self._methods["compile"](text)
        self.programs.append(WrappedProgram(self, self._device.compile(text, weights, **options)))
        return self.programs[-1]


class WrappedProgram:
    def __init__(self, device: Wrapped, program: aneperf.Program) -> None:
        self._device, self._program = device, program

    def __getattr__(self, name: str) -> Any:
        method = self._device._methods.get(name)
        if method is None:
            return getattr(self._program, name)
        return lambda *args, **kwargs: method(self, *args, **kwargs)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exception: object) -> None:
        self._program.unload()
