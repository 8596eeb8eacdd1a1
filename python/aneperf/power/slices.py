"""Samples of a provider, in slices of about a second, and the power above idle that follows from them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..measure import CONFIDENCE, Estimate, student_quantile
from .method import Method, PowerError

MAXIMUM_SLICES = 1_000  # kept of a load: neighbors of more are joined
_LONGEST_GAP_S, _LONGEST_GAPS = 5.0, 5.0  # a gap between samples is too long beyond both: s, and medians
_ALIKE = 2.0  # the largest ratio of the powers before and after a counter went back

Sample = tuple[float, float]  # when, in s, and the joules so far or the watts then


@dataclass(frozen=True)
class Slices:
    """The mean power of stretches of time."""

    seconds: tuple[float, ...] = ()
    watts: tuple[float, ...] = ()

    def __add__(self, other: Slices) -> Slices:
        return Slices(self.seconds + other.seconds, self.watts + other.watts).joined()

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def mean(self) -> float:
        """Return the energy over the time."""
        energy = math.fsum(s * w for s, w in zip(self.seconds, self.watts, strict=True))
        return energy / math.fsum(self.seconds)

    @property
    def half_width(self) -> float:
        """Return half the 95 % interval of the mean, by Student's t; infinite for fewer than two slices."""
        n, mean, total = len(self), self.mean, math.fsum(self.seconds)
        if n < 2:
            return math.inf
        squares = math.fsum((s * (w - mean)) ** 2 for s, w in zip(self.seconds, self.watts, strict=True))
        return student_quantile(CONFIDENCE, n - 1) * math.sqrt(squares * n / (n - 1)) / total

    def joined(self) -> Slices:
        """Return the same power in fewer and longer slices, if there are too many to keep."""
        slices = self
        while len(slices) > MAXIMUM_SLICES:
            pairs = [slice(at, at + 2) for at in range(0, len(slices), 2)]
            seconds = [math.fsum(slices.seconds[pair]) for pair in pairs]
            watts = [Slices(slices.seconds[pair], slices.watts[pair]).mean for pair in pairs]
            slices = Slices(tuple(seconds), tuple(watts))
        return slices


def above(load: Slices, idle: Slices, doubt_w: float) -> Estimate:
    """Return the power of a load above that of an idle machine, with an interval that has the doubt added.

    The interval ends at 0 W, below which no load lies.
    """
    value = load.mean - idle.mean
    half = math.hypot(load.half_width, idle.half_width) + doubt_w
    if not math.isfinite(half):
        return Estimate(value, None, None)
    return Estimate(value, max(0.0, value - half), value + half)


def sliced(samples: Sequence[Sample], method: Method, *, settle_s: float = 0.0) -> Slices:
    """Return the slices of a series of samples, without its first `settle_s` seconds.

    A slice lasts `method.slice_s` or somewhat longer; the last one may be shorter. A counter that went back
    once, since it overflowed or began anew, tells nothing of that time.
    Raises PowerError for samples that no power follows from.
    """
    _check_times([when for when, _ in samples])
    kept = [sample for sample in samples if sample[0] - samples[0][0] >= settle_s]
    series = [_slices_of(kept, first, last, method) for first, last in _unbroken(kept, method)]
    if method.kind == "counter":
        _check_falls(samples, series)
    slices = sum(series, Slices())
    values = slices.watts if method.kind == "counter" else [watts for _, watts in samples]
    if (largest := max(map(abs, values), default=0.0)) > method.most_w:
        raise PowerError(f"it reads {largest:.3g} W, which is more than anything of its kind takes")
    return slices


def stood_still(slices: Slices) -> bool:
    """Tell whether a counter did not move during two neighboring slices."""
    return any(not any(pair) for pair in pairwise(slices.watts))


def _check_times(times: Sequence[float]) -> None:
    """Refuse a load in which the machine slept. Raises PowerError."""
    gaps = [late - early for early, late in pairwise(times)]
    if gaps and max(gaps) > max(_LONGEST_GAP_S, _LONGEST_GAPS * statistics.median(gaps)):
        raise PowerError(f"nothing ran for {max(gaps):.3g} s meanwhile: did the machine sleep?")


def _check_falls(samples: Sequence[Sample], series: Sequence[Slices]) -> None:
    """Refuse a counter that went back, unless once, with the same power before and after. Raises PowerError.

    With another power it may count in another unit since then. One that goes back often overflows so soon
    that a slice may hold more than one overflow.
    """
    falls = sum(late < early for (_, early), (_, late) in pairwise(samples))
    means = [slices.mean for slices in series if len(slices)]
    if falls > 1:
        raise PowerError(f"its counter went back {falls} times")
    if falls == 1 and (len(means) < 2 or max(means) > _ALIKE * min(means)):
        raise PowerError("its counter went back, and did not go on as before")


def _slices_of(samples: Sequence[Sample], first: int, last: int, method: Method) -> Slices:
    ends = pairwise(_ends(samples, first, last, method.slice_s))
    parts = [samples[start : end + 1] for start, end in ends]
    seconds = tuple(part[-1][0] - part[0][0] for part in parts)
    return Slices(seconds, tuple(_power(part, method) for part in parts))


def _unbroken(samples: Sequence[Sample], method: Method) -> Iterator[tuple[int, int]]:
    """Yield the first and the last place of each series in which a counter does not go back."""
    first = 0
    for place in range(1, len(samples) + 1):
        ends = place == len(samples)
        if ends or (method.kind == "counter" and samples[place][1] < samples[place - 1][1]):
            if samples[place - 1][0] > samples[first][0]:
                yield first, place - 1
            first = place


def _ends(samples: Sequence[Sample], first: int, last: int, slice_s: float) -> list[int]:
    """Return the places at which slices end, the first one included."""
    ends = [first]
    for place in range(first + 1, last):
        if samples[place][0] - samples[ends[-1]][0] >= slice_s:
            ends.append(place)
    if len(ends) > 1 and samples[last][0] - samples[ends[-1]][0] < slice_s / 2:
        ends.pop()  # a short rest belongs to the slice before
    return [*ends, last]


def _power(samples: Sequence[Sample], method: Method) -> float:
    (start, first), (end, last) = samples[0], samples[-1]
    if method.kind == "counter":
        return (last - first) / (end - start)
    return math.fsum(watts for _, watts in samples[1:]) / (len(samples) - 1)
