"""Findings of a scan over weight sizes: dispatch floor, bandwidth, sizes slow by themselves, and a cliff.

A size can be slow for two reasons. A stalled transfer slows one size and spares its neighbors; a capacity
slows every larger size too. So the single slow sizes are found first, by their neighbors, and left out of the
search for a capacity.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..measure import Estimate, ratio
from ..measure.line import Change, find_change, fit_line
from ..results import Result, Row
from ..stalls import describe_stall, stalls

STRIDE = 64  # channels to a neighbor: its row is 128 bytes longer or shorter
_SLOW, _FAR_SLOW = 1.1, 1.5  # times the neighbors' line; less is not worth a name
_LEAST = 6  # sizes: three on either side of a change
_GB_MS_PER_MIB = 2**20 / 1e6


@dataclass(frozen=True)
class SlowSize:
    """A slow width between its nearest neighbors: `factor` is its time over the line between theirs."""

    channels: int
    below: int
    above: int
    factor: Estimate
    is_certain: bool  # the neighbors are one stride away

    def __str__(self) -> str:
        doubt = "" if self.is_certain else ", perhaps: closer neighbors would tell"
        weight = (self.channels, self.channels)
        cause = f": {describe_stall(weight)}" if stalls(weight) else ""
        neighbors = f"{self.below} and {self.above}"
        return f"{self.channels} ch takes {self.factor.as_factor()} the time of {neighbors}{doubt}{cause}"


@dataclass(frozen=True)
class SramAnalysis:
    """Findings about rows at 64 positions. `cliff` is None if none was found up to `largest_mib` of weights.

    `bandwidth_gb_s` is the rate at which weights are used; arithmetic may bound it before memory does.
    `area_factor`, if known, is the time of the largest width at 64 positions over that at 32.
    """

    floor_ms: Estimate
    bandwidth_gb_s: Estimate
    tested: tuple[int, ...]  # powers of two with both neighbors
    slow: tuple[SlowSize, ...]
    cliff: Change | None
    sizes: int  # in the search for a cliff
    largest_mib: float
    noisy: int  # rows with an uncertain median
    area_factor: Estimate | None = None

    def lines(self) -> list[str]:
        """Return the findings in words."""
        said = [
            f"Dispatch floor: {_interval(self.floor_ms, 'ms')}. Use of weights: "
            f"{_interval(self.bandwidth_gb_s, 'GB/s')}{self._bound()}"
        ]
        if self.slow:
            said.append(f"Slow sizes: {'; '.join(map(str, self.slow))}.")
        elif self.tested:
            said.append(f"No slow size at {', '.join(map(str, self.tested))} channels.")
        else:
            said.append("Slow sizes: unknown without the neighbors of powers of two.")
        if self.cliff:
            place = f"between {self.cliff.low:.1f} and {self.cliff.high:.1f} MiB of weights"
            what = "all weights" if self.cliff.jumps else "further weights"
            said.append(
                f"Cliff: {place}, {what} cost {self.cliff.factor:.1f}x as much per byte "
                f"(chance of that without one: {max(self.cliff.chance, 0.001):.1%} or less)."
            )
        elif self.sizes < _LEAST:
            said.append(f"Capacity: {self.sizes} sizes are too few to tell.")
        else:
            said.append(
                f"No cliff found: one line explains {self.sizes} sizes up to {self.largest_mib:.1f} MiB."
            )
        if self.noisy:
            said.append(
                f"{self.noisy} times are uncertain, and the findings with them: repeat on a quiet machine."
            )
        return said

    @property
    def is_bound_by_arithmetic(self) -> bool:
        """Tell whether twice the positions take so much longer that weights could be used faster."""
        return self.area_factor is not None and self.area_factor.value > 1.5

    def _bound(self) -> str:
        if self.area_factor is None:
            return "."
        bound = "arithmetic" if self.is_bound_by_arithmetic else "weights"
        return f"; twice the positions take {self.area_factor.as_factor()} the time, so {bound} bound it."


def analyze_sram(rows: Result | Iterable[Row]) -> SramAnalysis | None:
    """Analyze the ok rows of `sram`, also of a saved result; None for fewer than 3 sizes."""
    ok = [row for row in rows if row.status == "ok" and row.median]
    scan = sorted((row for row in ok if row.params["width"] == 64), key=_channels)
    if len(scan) < 3:
        return None
    powers = [place for place in range(1, len(scan) - 1) if _is_power_of_two(_channels(scan[place]))]
    tested = [place for place in powers if _are_close(scan[place - 1], scan[place + 1])]
    # Far neighbors raise no more than a suspicion, and only if no power of two has close ones.
    slow = [found for place in tested or powers if (found := _slow_size(*scan[place - 1 : place + 2]))]
    spared = {found.channels for found in slow}
    calm = [row for row in scan if _channels(row) not in spared]
    if len(calm) < 3:
        return None
    sizes, times = [_size(row) for row in calm], [_time(row) for row in calm]
    cliff = find_change(sizes, times)
    below = [place for place, size in enumerate(sizes) if cliff is None or size <= cliff.low]
    line = fit_line([sizes[place] for place in below], [times[place] for place in below])
    return SramAnalysis(
        floor_ms=line.intercept,
        bandwidth_gb_s=_rate(line.slope),
        tested=tuple(_channels(scan[place]) for place in tested),
        slow=tuple(slow),
        cliff=cliff,
        sizes=len(sizes),
        largest_mib=max(sizes),
        noisy=sum("noisy" in row.flags or row.ci_low is None for row in ok),
        area_factor=_area_factor(ok),
    )


class _Between(NamedTuple):
    """The time that a line between two neighbors gives a size, with the interval between theirs."""

    median: float | None
    ci_low: float | None
    ci_high: float | None


def _slow_size(below: Row, row: Row, above: Row) -> SlowSize | None:
    share = (_size(row) - _size(below)) / (_size(above) - _size(below))

    def between(low: float | None, high: float | None) -> float | None:
        return None if low is None or high is None else low + share * (high - low)

    line = _Between(
        between(below.median, above.median),
        between(below.ci_low, above.ci_low),
        between(below.ci_high, above.ci_high),
    )
    factor = ratio(row, line)
    is_close = _are_close(below, above)
    low, high = row.ci_low or _time(row), max(other.ci_high or _time(other) for other in (below, above))
    if factor.value < (_SLOW if is_close else _FAR_SLOW) or low <= high:
        return None
    return SlowSize(_channels(row), _channels(below), _channels(above), factor, is_close)


def _are_close(below: Row, above: Row) -> bool:
    return _channels(above) - _channels(below) <= 2 * STRIDE


def _area_factor(rows: Sequence[Row]) -> Estimate | None:
    """Return the factor for the widest kernel that was also measured at half the positions."""
    halves = {_channels(row): row for row in rows if row.params["width"] == 32}
    pairs = [
        (row, halves[_channels(row)])
        for row in rows
        if row.params["width"] == 64 and _channels(row) in halves
    ]
    if not pairs:
        return None
    full, half = max(pairs, key=lambda pair: _channels(pair[0]))
    return ratio(full, half)


def _rate(slope: Estimate) -> Estimate:
    """Convert ms/MiB to GB/s. An interval that reaches 0 ms/MiB has no upper end, and is left out."""
    if slope.value <= 0:
        return Estimate(float("inf"), None, None)
    if slope.ci_low is None or slope.ci_high is None or slope.ci_low <= 0:
        return Estimate(_GB_MS_PER_MIB / slope.value, None, None)
    return Estimate(
        _GB_MS_PER_MIB / slope.value, _GB_MS_PER_MIB / slope.ci_high, _GB_MS_PER_MIB / slope.ci_low
    )


def _interval(estimate: Estimate, unit: str) -> str:
    if not 0 < estimate.value < float("inf"):
        return "unknown, below the scatter"
    if estimate.ci_low is None or estimate.ci_high is None:
        return f"{estimate.value:.4g} {unit}"
    return f"{estimate.value:.4g} {unit} [{max(0.0, estimate.ci_low):.4g}, {estimate.ci_high:.4g}]"


def _channels(row: Row) -> int:
    return int(row.params["channels"])


def _size(row: Row) -> float:
    return row.metrics["weights_mib"]


def _time(row: Row) -> float:
    assert row.median is not None
    return row.median


def _is_power_of_two(channels: int) -> bool:
    return channels & (channels - 1) == 0
