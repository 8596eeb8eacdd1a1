"""Weights: can a compiled program's weights be changed without another compile?

Three ways have been proposed: other weight files and a reload, a weights buffer in the request, and another
procedure index. Each is tried with weights whose output is known; the output alone decides.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import mil
from .._ane_native import Device, Layout, Program, Surface
from ..checks import positive
from ..device import info, opened
from ..errors import REFUSALS, CompileError, DeviceUnavailable, EvaluateError, SurfaceError
from ..reference import evaluate
from ..reference.precision import ROUNDING, compare
from ..results import Result, Row
from ..runner.measured import Measured, refused
from ..runner.progress import Progress, ProgressCallback, reporter
from .registry import default_budget

BAKED_IN = "baked in: the output did not change"
CHANGED = "changed: the output is that of the other weights"
_SHAPE = (1, 64, 1, 64)
_PROCEDURES = (1, 15, 128)  # 15 is the highest index that others report; 128 is the framework's limit


class _Layer:
    """One convolution: its outputs with the weights it is compiled with, and with other weights."""

    def __init__(self) -> None:
        self.x = np.random.default_rng(0).standard_normal(_SHAPE).astype(np.float16)
        built, other = (self._build(seed) for seed in (1, 2))
        self.text, self.weights, self.other_weights = built.text, built.weights, other.weights
        self.expected, self.other_expected = (evaluate(program, x=self.x)["y"] for program in (built, other))

    def _build(self, seed: int) -> mil.Program:
        weight = np.random.default_rng(seed).standard_normal((64, 64, 1, 1)) / 8
        b = mil.Builder()
        b.output("y", mil.conv(b.input("x", _SHAPE), weight))
        return b.build()

    def judge(self, before: NDArray[Any], after: NDArray[Any]) -> Measured:
        """Judge by the output after a trial; in error if neither weights explain it."""
        if np.array_equal(before.view(np.uint16), after.view(np.uint16)):
            return _verdict(BAKED_IN)
        errors = compare(after, self.other_expected)
        if errors is not None and errors.relative <= 4 * ROUNDING:
            return _verdict(CHANGED)
        return Measured("error", "the output changed, to that of neither weights")


class _Trial:
    """A program on the device, and its output before anything is tried."""

    def __init__(self, device: Device, layer: _Layer) -> None:
        self.device, self.layer = device, layer
        self.program: Program = device.compile(layer.text, layer.weights)
        self.source: Surface = device.make_surface(self.program.inputs[0])
        self.source.write(layer.x)
        self.before = self.output()

    def output(self, **options: Any) -> NDArray[Any]:
        """Return the output of one evaluation, on a new surface."""
        result = self.device.make_surface(self.program.outputs[0])
        self.program.bind({"x": self.source}, {"y": result}, **options).evaluate()
        return result.read()


def _reload(trial: _Trial, weights: Mapping[str, bytes]) -> NDArray[Any]:
    trial.program.reload(weights)
    return trial.output()


def _buffer(trial: _Trial, start: int) -> NDArray[Any]:
    """Give the other weight file, from byte `start`, as the request's weights buffer."""
    (data,) = trial.layer.other_weights.values()
    content = np.frombuffer(data[start:], np.uint16).view(np.float16)
    surface = trial.device.make_surface(content.nbytes)
    surface.write(content, Layout("fp16", content.shape))
    return trial.output(weights_buffer=surface)


_TRIALS: dict[str, Callable[[_Trial], NDArray[Any]]] = {
    "reload, same files": lambda trial: _reload(trial, {}),
    "reload, other files": lambda trial: _reload(trial, trial.layer.other_weights),
    "weights buffer, a file": lambda trial: _buffer(trial, 0),
    "weights buffer, the numbers": lambda trial: _buffer(trial, 128),
    **{f"procedure {number}": partial(_Trial.output, procedure=number) for number in _PROCEDURES},
}


def weights(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("weights"),
    progress: ProgressCallback | None = None,
) -> Result:
    """Try to change a compiled program's weights without a compile; exact outputs tell whether it worked.

    Params hold the verdict: "baked in: the output did not change", "changed: ...", or "refused: ..." with the
    device's reason. A trial that the device offers no way to make is unsupported. Each trial has a program of
    its own: 7 compiles. `budget`, in seconds, covers all of them; they take less. Keys:
    "weights/reload, other files".
    Raises ArgumentError, DeviceUnavailable.
    """
    positive("budget", budget)
    device = opened(device)
    environment, layer = info(device), _Layer()
    report = reporter(progress)
    rows: list[Row] = []
    for name, trial in _TRIALS.items():
        report(Progress(len(rows), len(_TRIALS), name))
        rows.append(_try(device, layer, trial).row(f"weights/{name}", {"trial": name}))
        report(Progress(len(rows), len(_TRIALS), name, rows[-1]))
    return Result(probe="weights", environment=environment, rows=tuple(rows))


def reload_other_files(device: Device) -> Measured:
    """Try the first of the three ways alone, with one compile."""
    return _try(device, _Layer(), _TRIALS["reload, other files"])


def _try(device: Device, layer: _Layer, act: Callable[[_Trial], NDArray[Any]]) -> Measured:
    try:
        trial = _Trial(device, layer)
    except REFUSALS as refusal:
        return refused(refusal)
    try:
        errors = compare(trial.before, layer.expected)
        if errors is None or errors.relative > 4 * ROUNDING:
            return Measured("error", "the output is wrong before anything was tried")
        return layer.judge(trial.before, act(trial))
    except DeviceUnavailable as missing:
        return Measured("unsupported", f"unavailable on this device: {missing}")
    except (CompileError, EvaluateError, SurfaceError) as refusal:
        return _verdict(f"refused: {refusal}")
    finally:
        trial.program.unload()


def _verdict(text: str) -> Measured:
    return Measured("ok", params={"verdict": text})
