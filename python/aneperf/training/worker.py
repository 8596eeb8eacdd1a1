"""The child process that owns the device. It holds no state that a replacement could not rebuild."""

from __future__ import annotations

import math
import resource
import sys
import time

import msgspec
import numpy as np

from .. import device as devices
from .._ane_native import Device
from ..runner.child_process import Parent
from .messages import Command, Failed, Load, Ready, Setup, Step, Stepped
from .models import parameter_shapes
from .pipeline import StaticPipeline
from .pipeline_ane import StaticAnePipeline
from .state import SharedState

_PIPELINES: dict[str, type[StaticPipeline]] = {"static": StaticPipeline, "static-ane": StaticAnePipeline}


class Worker:
    """A device with a pipeline on it, and the shared state it works on."""

    def __init__(self, setup: Setup) -> None:
        shapes = parameter_shapes(setup.model, setup.separate_classifier)
        self._state = SharedState(shapes, setup.state_descriptor)
        self._device = devices.open(setup.device)
        self._pipeline = _PIPELINES[setup.pipeline](
            self._device, setup.model, self._state.parts["parameters"], as_published=setup.as_published
        )

    def prepare(self) -> Ready:
        """Compile what has no weights."""
        begin = time.monotonic_ns()
        return self._ready(self._pipeline.load_fixed(), begin)

    def load(self) -> Ready:
        """Compile what has weights."""
        begin = time.monotonic_ns()
        return self._ready(self._pipeline.load(), begin)

    def step(self, command: Step) -> Stepped:
        """Run one sequence."""
        self._pipeline.take_spans()
        begin = time.monotonic_ns()
        loss = self._pipeline.step(
            np.array(command.tokens),
            np.array(command.targets),
            self._state.parts[f"gradients_{command.gradients}"],
            base=None if command.base is None else self._state.parts[f"gradients_{command.base}"],
            loss_scale=command.loss_scale,
        )
        end = time.monotonic_ns()
        spans, products = self._pipeline.take_spans()
        return Stepped(loss if math.isfinite(loss) else None, begin, end, spans, products, _peak_bytes())

    def _ready(self, compiled: int, begin: int) -> Ready:
        end = time.monotonic_ns()
        used = self._device.compiles_used
        left = self._device.compile_budget.soft - used
        return Ready(_kind(self._device), compiled, begin, end, used, left)


def _kind(device: Device) -> str:
    return devices.info(device).device


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def serve(parent: Parent) -> None:
    """Do what the parent asks for until it ends this process."""
    commands: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
    try:
        worker = Worker(parent.receive(msgspec.json.Decoder(Setup)))
        parent.send(worker.prepare())
        while True:
            command = parent.receive(commands)
            parent.send(worker.load() if isinstance(command, Load) else worker.step(command))
    except Exception as error:
        parent.send(Failed(type(error).__name__, str(error)))
