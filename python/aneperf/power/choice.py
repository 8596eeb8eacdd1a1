"""Choose what power is read by: the first method that a known load shows to work."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar

from ..measure import BATCH_S, Estimate
from .energy_model import EnergyModel
from .meter import Meter, ProviderMeter, Unavailable
from .method import PowerError, Provider
from .recorder import Clock, Recorder
from .slices import Slices, above
from .smc_power import RailMinusCpu, WholeMac

Poll = Callable[[], None]
Load = Callable[[float, Poll], None]  # keeps the engine busy for some seconds and polls; raises PowerError

# A compute-bound 1x1 convolution of random values takes 1 W at least on every chip that was measured
# (docs/power.md). A channel that tells less than half of that does not follow the engine.
LEAST_W = 0.5

_UNCOMPARED = "not compared with the whole Mac, whose power cannot be read: it may count twice"

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
        idle, loaded = Recorder(readable, clock), Recorder(readable, clock)
        try:
            _record(idle, lambda: rest(seconds, idle.poll, clock=clock, sleep=sleep))
            _record(loaded, lambda: load(seconds, loaded.poll))
        except PowerError as error:
            return Unavailable(f"the known load does not run: {error}")
        found = _Trial(readable, idle, loaded)
        for provider in readable:
            try:
                return ProviderMeter(provider, *found.judge(provider), clock=clock)
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


class _Trial:
    """Readings of all providers: of the idle machine, and of the known load."""

    def __init__(self, providers: Sequence[Provider], idle: Recorder, loaded: Recorder) -> None:
        self._idle, self._loaded = idle, loaded
        self._whole: Estimate | None = None
        for provider in providers:
            if provider.method.is_whole:
                with contextlib.suppress(PowerError):
                    self._whole = self._power(provider)[1]

    def judge(self, provider: Provider) -> tuple[Slices, Estimate, str]:
        """Return the idle power, that of the known load above it, and what was not checked.

        Raises PowerError for a power that the known load cannot have.
        """
        idle, power = self._power(provider)
        if power.value < LEAST_W:
            raise PowerError(
                f"it reads {power.value:.3g} W of a load that takes 1 W at least on every chip measured, so "
                "its channel is dead on this system"
            )
        whole = self._whole
        if provider.method.is_whole:
            return idle, power, ""
        if whole is None or whole.ci_high is None or power.ci_low is None:
            return idle, power, _UNCOMPARED
        if power.ci_low > whole.ci_high:
            raise PowerError(
                f"it reads {power.value:.3g} W of a load for which the whole Mac takes {whole.value:.3g} W "
                "more, so its channel counts something twice"
            )
        return idle, power, ""

    def _power(self, provider: Provider) -> tuple[Slices, Estimate]:
        method = provider.method
        idle, loaded = self._idle.slices(provider), self._loaded.slices(provider)
        if min(len(idle), len(loaded)) < method.slices:
            raise PowerError("it was read too seldom under a known load")
        return idle, above(loaded, idle, method.doubt_w)
