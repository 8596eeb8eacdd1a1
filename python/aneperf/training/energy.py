"""Meter the energy of a run: that of its batches, without compiles, validations and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable

from ..device import opened
from ..power import Energy, Meter, Poll, PowerError, choose_meter
from ..runner.energy import known_load
from ..runner.in_child import run_in_child, time_limit_of
from .accounting import StepFlops
from .events import (
    BatchDone,
    Evaluated,
    Event,
    KernelsCompiled,
    Metering,
    Observer,
    StepDone,
    WorkerReplaced,
)


class RunMeter:
    """Follows the events of a run whose steps have `seq` tokens and `flops` operations."""

    def __init__(self, meter: Meter, seq: int, flops: StepFlops) -> None:
        self._meter, self._seq, self._flops = meter, seq, flops
        self._is_metered = False  # the batch, of which nothing is lost
        self._steps = 0  # of the batch
        self._tokens = 0

    def follow(self, events: Iterable[Event]) -> Generator[Event, None, None]:
        """Yield the events, each after what it means for the energy."""
        for event in events:
            self._observe(event)
            yield event

    def energy(self) -> Energy:
        """Return the energy of the batches that ended."""
        self._meter.drop()
        # The engine's power is of the engine's operations, that of the whole machine of all.
        flops = self._flops.total if self._meter.is_whole else self._flops.device
        return self._meter.energy(
            self._tokens,
            gflop=flops / self._seq / 1e9,
            per="token",
            busy=True,
        )

    def _observe(self, event: Event) -> None:
        if isinstance(event, KernelsCompiled | Evaluated):  # the next event of a batch is its first step
            if self._steps == 0:
                self._meter.begin(settles=False)
                self._is_metered = True
        elif isinstance(event, StepDone):
            self._steps += 1
            self._meter.poll()
        elif isinstance(event, WorkerReplaced):  # a part of the batch is done twice
            self._steps += 1
            self._is_metered = False
            self._meter.drop()
        elif isinstance(event, BatchDone):
            if self._is_metered:
                self._meter.end()
                self._tokens += self._seq * len(event.steps)
            self._is_metered, self._steps = False, 0


def choose_run_meter(device: str, tell: Observer, is_stopped: Callable[[], bool]) -> Meter:
    """Return what meters a run, after some idle seconds and a known load in a process of its own."""
    opened_device = opened(device)
    kind = opened_device.info()["kind"]

    def load(seconds: float, poll: Poll) -> None:
        outcome = run_in_child(
            known_load,
            opened_device,
            time_limit=time_limit_of(seconds, opened_device),
            progress=lambda _: _checked(poll, is_stopped),
            seconds=seconds,
        )
        if outcome.result is None:
            raise PowerError(str(outcome.failure))

    def sleep(seconds: float) -> None:
        _checked(lambda: time.sleep(seconds), is_stopped)

    tell(Metering("where power can be read, first the idle machine, then a known load"))
    meter = choose_meter(kind, load, clock=time.monotonic, sleep=sleep)
    tell(Metering(meter.label))
    return meter


def _checked(act: Callable[[], None], is_stopped: Callable[[], bool]) -> None:
    """Act, unless the run is to stop: then raise PowerError, so that it stops at once."""
    if is_stopped():
        raise PowerError("the run was stopped")
    act()
