"""Choose what power is read by: the first method that a known load shows to work."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar

from ..measure import BATCH_S
from .energy_model import EnergyModel
from .meter import Meter, ProviderMeter, Unavailable
from .method import PowerError, Provider
from .recorder import Clock, Recorder
from .smc_power import RailMinusCpu, WholeMac
from .trial import Trial

Poll = Callable[[], None]
Load = Callable[[float, Poll], None]  # keeps the engine busy for some seconds and polls; raises PowerError

_given: ContextVar[tuple[Provider, ...] | None] = ContextVar("_given", default=None)


@contextlib.contextmanager
def reading(*providers: Provider) -> Iterator[None]:
    """Read from these providers, in this context, instead of what the machine has.

    `aneperf validate` refuses a file with figures of a device that is no engine, whatever provided them.
    """
    token = _given.set(providers)
    try:
        yield
    finally:
        _given.reset(token)


def own_providers(device: str) -> Sequence[Provider]:
    """Return what this machine offers for a device of that kind, in the order of preference.

    Raises PowerError.
    """
    if (given := _given.get()) is not None:
        return given
    if device != "ane":
        raise PowerError("the emulator computes on the CPU: there is no engine whose power could be read")
    if sys.platform != "darwin":
        raise PowerError("power is read on macOS alone")
    return (EnergyModel(), RailMinusCpu(), WholeMac())


def choose_meter(
    device: str,
    load: Load,
    *,
    clock: Clock = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Meter:
    """Return a meter for a device of the kind "ane" or "emulator", or one that says why there is none.

    First nothing runs for some seconds, then `load(seconds, poll)`, a load that is known to take power. The
    first method is taken whose reading follows that load, and does not exceed what the whole machine takes.
    """
    try:
        providers = own_providers(device)
    except PowerError as error:
        return Unavailable(str(error))
    failures: dict[str, str] = {}
    readable = []
    for provider in providers:
        try:
            provider.read()
            readable.append(provider)
        except PowerError as error:
            failures[provider.method.name] = str(error)
    if readable:
        seconds = max(provider.method.span_s for provider in readable)
        idle = Recorder(readable, clock)
        try:
            _record(idle, lambda: rest(seconds, idle.poll, clock=clock, sleep=sleep))
            loaded = idle.next(readable)
            _record(loaded, lambda: load(seconds, loaded.poll))
        except PowerError as error:
            return Unavailable(f"the known load does not run: {error}")
        found = Trial(readable, idle, loaded)
        for provider in readable:
            try:
                idle_power, known, caveat = found.judge(provider)
                return ProviderMeter(provider, idle_power, known, loaded.next([provider]), caveat)
            except PowerError as error:
                failures[provider.method.name] = str(error)
    return Unavailable("; ".join(f"{name}: {why}" for name, why in failures.items()))


def rest(
    seconds: float,
    poll: Poll,
    *,
    clock: Clock = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Do what the loop of a load does, with sleep in the place of calls."""
    start = clock()
    while True:
        sleep(min(BATCH_S, seconds / 4))
        poll()
        if clock() - start >= seconds:
            return


def _record(recorder: Recorder, run: Callable[[], None]) -> None:
    recorder.begin()
    run()
    recorder.end()
