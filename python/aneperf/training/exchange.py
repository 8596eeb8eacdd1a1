"""The sum of a batch's gradients over the ranks, in buckets, while the last step computes the others."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .. import _ane_native as native
from ..cluster.communicator import BUCKET_BYTES, Communicator, Request, wait
from .accounting import Span
from .events import Communication
from .kernels import Flags, Floats
from .lora import matrix_of
from .state import SharedState


@dataclass(frozen=True)
class Bucket:
    """Gradients that are next to each other in memory, and the flags that say when they are finished."""

    name: str
    parameters: Sequence[str]
    values: slice
    flags: slice


def buckets(shapes: Mapping[str, tuple[int, ...]], least_bytes: int) -> list[Bucket]:
    """Divide gradients of these shapes, in the order in which they are finished: from the last in memory.

    Each has at least `least_bytes`, except for the last one and the pieces of what is larger than two such
    buckets. The gradients of an adapter stay together.
    """
    matrices: dict[str, list[str]] = {}
    for name in shapes:
        matrices.setdefault(matrix_of(name), []).append(name)
    made: list[Bucket] = []
    begin = end = sum(map(math.prod, shapes.values()))
    last, names, parameters = len(matrices), list(matrices), list[str]()
    for index in reversed(range(len(names))):
        parameters = [*matrices[names[index]], *parameters]
        begin -= sum(math.prod(shapes[name]) for name in matrices[names[index]])
        if 4 * (end - begin) >= least_bytes or index == 0:
            name = names[index] if index == last - 1 else f"{names[index]} to {names[last - 1]}"
            made += _pieces(Bucket(name, parameters, slice(begin, end), slice(index, last)), least_bytes)
            end, last, parameters = begin, index, []
    return made


def _pieces(bucket: Bucket, least_bytes: int) -> list[Bucket]:
    """Divide a bucket of a large matrix, so that its sum needs little memory besides."""
    begin, end = bucket.values.start, bucket.values.stop
    count = max(1, 4 * (end - begin) // least_bytes)
    ends = [begin + (end - begin) * index // count for index in range(count + 1)]
    return [
        replace(bucket, name=f"{bucket.name} ({index + 1}/{count})", values=slice(*ends[index : index + 2]))
        if count > 1
        else bucket
        for index in range(count)
    ]


class Exchange:
    """The sums of one batch after the other over the ranks. With one rank there is nothing to sum.

    The order of the sums is the same on all ranks, whatever happens to their workers.
    """

    def __init__(self, communicator: Communicator, shared: SharedState) -> None:
        self._communicator, self._shared = communicator, shared
        shapes = {name: value.shape for name, value in shared.parts["gradients_0"].items()}
        self._buckets = buckets(shapes, BUCKET_BYTES) if communicator.size > 1 else []
        self.begin(0)

    @property
    def exchanged(self) -> list[str]:
        """List the parameters whose gradients may not be computed again: their sum has begun."""
        started = self._buckets[: self._started]
        return list(dict.fromkeys(name for bucket in started for name in bucket.parameters))

    def begin(self, gradients: int) -> None:
        """Begin a batch, at whose end the set number `gradients` is summed."""
        self.gradients = gradients
        self._values: Floats = self._shared.flat[f"gradients_{gradients}"]
        self._started = 0
        self._batch_begin = self._steps_end = time.monotonic_ns()
        self._running: list[tuple[str, int, Request]] = []
        self._spans: list[Span] = []

    def begin_step(self) -> None:
        """Lower the flags, before a worker computes the last step or repeats it."""
        self._shared.all_flags[:] = 0

    def advance(self) -> None:
        """Start the sums whose gradients are finished, and note those that have ended."""
        while self._started < len(self._buckets) and native.flags_raised(self._flags(self._started)):
            self._start()
        self.is_done()

    def finish(self) -> None:
        """Sum what is left when this rank's steps have ended, and wait for the other ranks."""
        self._steps_end = time.monotonic_ns()
        while self._started < len(self._buckets):
            self._start()
        wait(self, self._communicator.check)

    @property
    def work_ns(self) -> int:
        """Return the time of this rank's steps, with what they waited for on this rank."""
        return self._steps_end - self._batch_begin

    def communication(
        self, losses: Sequence[float], work_ns: Sequence[int], end: int
    ) -> Communication | None:
        """Describe the exchange, which ended with that of losses and times of work; None with one rank."""
        if self._communicator.size == 1:
            return None
        later = max(work_ns) - self.work_ns
        return Communication(
            ranks=self._communicator.size,
            bytes=sum(4 * (bucket.values.stop - bucket.values.start) for bucket in self._buckets),
            losses=losses,
            spans=self._spans,
            begin=self._steps_end,
            end=end,
            waited_ms=min(later, end - self._steps_end) * 1e-6,
        )

    def is_done(self) -> bool:
        """Note the sums that have ended, and tell if all that were started have."""
        still = []
        for name, begin, request in self._running:
            if request.is_done():
                self._spans.append((name, begin, time.monotonic_ns()))
            else:
                still.append((name, begin, request))
        self._running = still
        return not still

    def _flags(self, index: int) -> Flags:
        return self._shared.all_flags[self._buckets[index].flags]

    def _start(self) -> None:
        bucket = self._buckets[self._started]
        self._started += 1
        begin = time.monotonic_ns()
        self._running.append((bucket.name, begin, self._communicator.sum(self._values[bucket.values])))
