"""Record what providers read, between the calls of a load."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .method import PowerError, Provider
from .slices import Sample, Slices, sliced

Clock = Callable[[], float]


class Recorder:
    """Slices of what some providers read, over one stretch of time or several.

    A load asks it to `poll` between batches of calls. So no thread reads while calls are timed, and the
    engine waits only for the time that `reading_s` adds up.
    """

    def __init__(self, providers: Sequence[Provider], clock: Clock = time.perf_counter) -> None:
        self.reading_s = 0.0
        self.failed: dict[Provider, str] = {}
        self._clock = clock
        self._slices = {provider: Slices() for provider in providers}
        self._seconds = dict.fromkeys(self._slices, 0.0)
        self._samples: dict[Provider, list[Sample]] | None = None  # of the stretch that has begun
        self._settles = True

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
            settle_s = provider.method.settle_s if self._settles else 0.0
            self._slices[provider] += sliced(samples, provider.method, settle_s=settle_s)
            self._seconds[provider] += samples[-1][0] - samples[0][0] if samples else 0.0
        self._samples = None

    def drop(self) -> None:
        """Forget the stretch that has begun."""
        self._samples = None

    def slices(self, provider: Provider) -> Slices:
        """Return the slices of all stretches that ended. Raises PowerError if a reading failed."""
        if provider in self.failed:
            raise PowerError(self.failed[provider])
        return self._slices[provider]

    def seconds(self, provider: Provider) -> float:
        """Return the time from the first to the last reading of each stretch that ended."""
        return self._seconds[provider]

    def _read(self, *, due_only: bool) -> None:
        if self._samples is None:
            return
        start = self._clock()
        for provider, samples in self._samples.items():
            is_due = not samples or start - samples[-1][0] >= provider.method.period_s
            if provider not in self.failed and (is_due or not due_only):
                try:
                    value = provider.read()
                except PowerError as error:
                    self.failed[provider] = str(error)
                    continue
                if value is not None:
                    samples.append((self._clock(), value))
        self.reading_s += self._clock() - start
