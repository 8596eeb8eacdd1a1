"""A meter: what a load is metered with, once it is known that something can be read, and what."""

from __future__ import annotations

from ..measure import Estimate
from .method import Method, PowerError, Provider
from .record import Energy, Per
from .recorder import Recorder
from .slices import Slices, above, stood_still

_MOST_KNOWN = 4.0  # the largest ratio of a load's power to the known load's: two engines may take 2


class Unavailable:
    """A meter where nothing can be read. Its figures say why."""

    span_s = 0.0
    is_whole = False

    def __init__(self, reason: str) -> None:
        self.reason = reason

    @property
    def label(self) -> str:
        """Return the reason."""
        return f"unavailable: {self.reason}"

    def begin(self, *, settles: bool = True) -> None:
        """Do nothing."""

    poll = end = drop = begin

    def energy(self, count: int, **ignored: object) -> Energy:
        """Return the reason."""
        return Energy(reason=self.reason)


class ProviderMeter:
    """A meter by one provider, with the power of the idle machine and of a known load.

    It meters loads, one after the other.
    """

    def __init__(
        self,
        provider: Provider,
        idle: Slices,
        known: Estimate,
        recorder: Recorder,
        caveat: str = "",
    ) -> None:
        self.known = known  # W of the known load, above idle
        self._caveat = caveat
        self._provider, self._idle, self._recorder = provider, idle, recorder

    @property
    def method(self) -> Method:
        """Return the method."""
        return self._provider.method

    @property
    def label(self) -> str:
        """Say what is read, and what the known load took."""
        said = f"{self.method.name}: {self.method.covers}; {self.known.value:.3g} W of a known load"
        return "; ".join(filter(None, (said, self._caveat)))

    @property
    def span_s(self) -> float:
        """Return the seconds that a load must last."""
        return self.method.span_s

    @property
    def is_whole(self) -> bool:
        """Tell whether the power is that of more than the engine."""
        return self.method.is_whole

    def begin(self, *, settles: bool = True) -> None:
        """Begin to meter a load. Its start is left out, unless `settles` is False: then it is of interest."""
        self._recorder.begin(settles=settles)

    def poll(self) -> None:
        """Read what is due; call this between batches of a load's calls."""
        self._recorder.poll()

    def end(self) -> None:
        """End the load, or a part of it: another `begin` adds to it."""
        self._recorder.end()

    def drop(self) -> None:
        """Forget the part of a load that has begun."""
        self._recorder.drop()

    def energy(
        self,
        count: int,
        *,
        gflop: float = 0.0,
        per: Per = "evaluation",
        busy: bool = False,
        zero_share: float | None = None,
    ) -> Energy:
        """Return the energy of a load of `count` evaluations or tokens, and forget the load.

        `busy`: the CPU worked too.
        """
        recorder, self._recorder = self._recorder, self._recorder.next([self._provider])
        method = self.method
        doubt_w = method.busy_doubt_w if busy else method.doubt_w
        seconds = recorder.seconds(self._provider)
        try:
            load = recorder.slices(self._provider)
            if len(load) < method.slices or not count:
                if silence := recorder.silence(self._provider):
                    raise PowerError(silence)
                return Energy(
                    reason=f"{method.name} needs {method.span_s:g} s of load, in calls of up to 1.5 s, and "
                    f"has {seconds:.3g} s: give more"
                )
            self._check(load, doubt_w)
        except PowerError as error:
            return Energy(reason=f"{method.name}: {error}")
        return Energy(
            method=method.name,
            per=per,
            count=count,
            seconds=seconds,
            gflop=gflop,
            load_s=load.seconds,
            load_w=load.watts,
            idle_s=self._idle.seconds,
            idle_w=self._idle.watts,
            doubt_w=doubt_w,
            reading_s=recorder.reading_s,
            caveat=self._caveat,
            zero_share=zero_share,
        )

    def _check(self, load: Slices, doubt_w: float) -> None:
        """Refuse a power that a load cannot have. Raises PowerError."""
        power = above(load, self._idle, doubt_w)
        is_counter = self.method.kind == "counter"
        if is_counter and stood_still(load):
            raise PowerError(
                "its channel stood still under the load, or the load takes less than can be told"
            )
        if power.value <= (doubt_w if is_counter else 0):
            raise PowerError(
                f"it reads {load.mean:.3g} W under the load and {self._idle.mean:.3g} W of the idle machine: "
                "the load takes less than can be told"
            )
        if not self.is_whole and power.value > _MOST_KNOWN * self.known.value:
            raise PowerError(
                f"it reads {power.value:.3g} W, and {self.known.value:.3g} W of a load that takes the most "
                "of an engine: its unit may have changed"
            )


Meter = ProviderMeter | Unavailable
