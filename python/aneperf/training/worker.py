"""The process that owns the device: `python -m aneperf.training.worker DESCRIPTOR`, a socket of the parent's.

It holds no state of its own that would be missed. When the parent is gone the socket ends, and so does it.
"""

from __future__ import annotations

import math
import resource
import signal
import socket
import sys
import time

import msgspec
import numpy as np

from .. import device as devices
from .._ane_native import Device
from .messages import Answer, Command, Failed, Load, Ready, Setup, Step, Stepped
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


def main(descriptor: int) -> None:
    """Serve the parent until its end of the socket closes."""
    # Ctrl-C in a terminal reaches the whole group; it is the parent's to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rwb") as lines:

        def answer(message: Answer) -> None:
            lines.write(msgspec.json.encode(message) + b"\n")
            lines.flush()

        try:
            worker = Worker(msgspec.json.decode(lines.readline(), type=Setup))
            answer(worker.prepare())
            for line in lines:
                command = msgspec.json.decode(line, type=Command)
                answer(worker.load() if isinstance(command, Load) else worker.step(command))
        except (BrokenPipeError, ConnectionResetError):
            return
        except Exception as error:
            answer(Failed(type(error).__name__, str(error)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
