"""Record what providers read, between the calls of a load."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

from .method import PowerError, Provider
from .slices import Sample, Slices, sliced

Clock = Callable[[], float]
_NEAR_THOUSANDS = 0.05  # the largest distance from a whole power of 1,000: a factor of 1.4


class Recorder:
    """Slices of what some providers read, over one stretch of time or several.

    A load asks it to `poll` between batches of calls. So no thread reads while calls are timed, and the
    engine waits only for the time that `reading_s` adds up.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        clock: Clock = time.perf_counter,
        last: Mapping[Provider, float] | None = None,
    ) -> None:
        self.reading_s = 0.0
        self.failed: dict[Provider, str] = {}
        self._clock = clock
        self._slices = {provider: Slices() for provider in providers}
        self._seconds = dict.fromkeys(self._slices, 0.0)
        self._samples: dict[Provider, list[Sample]] | None = None  # of the stretch that has begun
        self._settles = True
        self._latest = -math.inf  # the clock's latest time
        self._last = dict(last or {})  # what counters stood at
        self._readings, self._empty = (dict.fromkeys(self._slices, 0) for _ in range(2))

    def next(self, providers: Sequence[Provider]) -> Recorder:
        """Return a recorder of another load, before which no counter may have changed its unit."""
        return Recorder(providers, self._clock, self._last)

    def begin(self, *, settles: bool = True) -> None:
        """Begin a stretch, in place of one that did not end.

        Its start is left out, in which clocks and sensors follow the load, unless `settles` is False.
        """
        self._settles = settles
        self._samples = {provider: [] for provider in self._slices}
        self._read(due_only=False)

    def poll(self) -> None:
        """Read what is due, if a stretch has begun."""
        self._read(due_only=True)

    def end(self) -> None:
        """Read once more, and add the stretch that has begun."""
        self._read(due_only=False)
        for provider, samples in (self._samples or {}).items():
            if provider not in self.failed and samples:
                self._add(provider, samples)
        self._samples = None

    def _add(self, provider: Provider, samples: Sequence[Sample]) -> None:
        settle_s = provider.method.settle_s if self._settles else 0.0
        try:
            self._slices[provider] += sliced(samples, provider.method, settle_s=settle_s)
        except PowerError as error:
            self.failed[provider] = str(error)
            return
        self._seconds[provider] += samples[-1][0] - samples[0][0]
        self._last[provider] = samples[-1][1]

    def drop(self) -> None:
        """Forget the stretch that has begun."""
        self._samples = None

    def slices(self, provider: Provider) -> Slices:
        """Return the slices of all stretches that ended. Raises PowerError if a reading failed."""
        if provider in self.failed:
            raise PowerError(self.failed[provider])
        return self._slices[provider]

    def silence(self, provider: Provider) -> str:
        """Say that most readings gave no value, if so."""
        empty, readings = self._empty[provider], self._readings[provider]
        return f"{empty} of {readings} readings gave no value" if 2 * empty > readings else ""

    def seconds(self, provider: Provider) -> float:
        """Return the time from the first to the last reading of each stretch that ended."""
        return self._seconds[provider]

    def _read(self, *, due_only: bool) -> None:
        if self._samples is None:
            return
        start = self._clock()
        if start < self._latest:
            why = f"the clock went back by {self._latest - start:.3g} s meanwhile"
            self.failed |= {provider: why for provider in self._slices if provider not in self.failed}
        self._latest = max(start, self._latest)
        for provider, samples in self._samples.items():
            is_due = not samples or start - samples[-1][0] >= provider.method.period_s
            if provider not in self.failed and (is_due or not due_only):
                try:
                    value = self._value(provider, is_first=not samples)
                except PowerError as error:
                    self.failed[provider] = str(error)
                    continue
                if value is not None:
                    samples.append((self._clock(), value))
        self.reading_s += self._clock() - start

    def _value(self, provider: Provider, *, is_first: bool) -> float | None:
        """Read a provider. Raises PowerError, for what is no number too."""
        value = provider.read()
        self._readings[provider] += 1
        if value is None:
            self._empty[provider] += 1
            return None
        if not math.isfinite(value):
            raise PowerError(f"it reads {value}")
        if is_first and provider.method.kind == "counter":
            _check_unit(self._last.get(provider, 0.0), value)
        return value


def _check_unit(before: float, now: float) -> None:
    """Refuse a counter that stands at a thousand times as much as after the load before, or less of it.

    Raises PowerError. One that began anew is no reason to refuse a load: what it counts is as before.
    """
    if before > 0 and now > 0:
        thousands = abs(math.log10(now / before)) / 3
        if thousands > 0.5 and abs(thousands - round(thousands)) < _NEAR_THOUSANDS:
            raise PowerError(
                f"its counter went from {before:.4g} to {now:.4g} J between two loads: its unit may have "
                "changed"
            )
