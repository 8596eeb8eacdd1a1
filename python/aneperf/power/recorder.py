"""Record what providers read, between the calls of a load."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .method import PowerError, Provider
from .slices import Sample, Slices, sliced

Clock = Callable[[], float]


class Recorder:
    """Samples of some providers, in stretches without a break.

    A load asks it to `poll` between batches of calls. So no thread reads while calls are timed, and the
    engine waits only for the time that `reading_s` adds up.
    """

    def __init__(self, providers: Sequence[Provider], clock: Clock = time.perf_counter) -> None:
        self.reading_s = 0.0
        self.failed: dict[Provider, str] = {}
        self._clock = clock
        self._providers = list(providers)
        self._stretches: dict[Provider, list[list[Sample]]] = {provider: [] for provider in providers}
        self._is_open = False

    def begin(self) -> None:
        """Begin a stretch, in place of one that did not end."""
        if self._is_open:
            self.drop()
        for stretches in self._stretches.values():
            stretches.append([])
        self._is_open = True
        self._read(due_only=False)

    def poll(self) -> None:
        """Read what is due, if a stretch has begun."""
        if self._is_open:
            self._read(due_only=True)

    def end(self) -> None:
        """Read once more, and end the stretch, if one has begun."""
        if self._is_open:
            self._read(due_only=False)
            self._is_open = False

    def drop(self) -> None:
        """Forget the stretch that has begun."""
        if self._is_open:
            for stretches in self._stretches.values():
                stretches.pop()
            self._is_open = False

    def slices(self, provider: Provider, settle_s: float = 0.0) -> Slices:
        """Return the slices of all stretches, without the first `settle_s` seconds of each.

        Raises PowerError if a reading failed.
        """
        if provider in self.failed:
            raise PowerError(self.failed[provider])
        found = Slices()
        for samples in self._stretches[provider]:
            found += sliced(samples, provider.method, settle_s=settle_s)
        return found

    def _read(self, *, due_only: bool) -> None:
        start = self._clock()
        for provider in self._providers:
            samples = self._stretches[provider][-1]
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
