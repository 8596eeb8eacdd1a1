"""The engine's rail less the CPU cores on it, and the power of the whole Mac: two methods by sensors.

No library reads the rail: macmon-lib 0.7, the one with sensors, gives the whole Mac alone. Source of the rail
and of what is on it: the M6 study of 751K, `notes/power.md`, and its check on an M4.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable

from .method import SMC_MINUS_CPU, WHOLE_MAC, PowerError
from .smc import Smc
from .state_channels import StateChannels, Ticks

RAIL, WHOLE = "PP0b", "PSTR"  # of the engine and the performance cores; of the whole Mac
GROUP = "PMP"
# Bins of a cluster's power, and of the power of its memory cells.
_CLUSTER = re.compile(r"Energy PACC\d+( SRAM)?|PACC\d+ SRAM", re.ASCII)
# Sensors change about once a second, and are read four times in it. One that has had many values and then has
# the same one for ten seconds does not follow the load.
_VALUES, _SAME_READINGS = 8, 40

Channels = Callable[[], Iterable[tuple[str, str, Ticks]]]


class CpuPower:
    """The mean power of the performance cores since the last reading, from bins of 1 W.

    A bin counts as its place. What that is off, by less than a bin, is off on the idle machine too, and so
    drops out of a difference.
    """

    def __init__(self, read: Channels) -> None:
        self._read = read
        self._before: dict[str, Ticks] = {}

    def watts(self) -> float | None:
        """Return the mean since the last reading; None for the first one. Raises PowerError."""
        now = self._bins()
        before, self._before = self._before, now
        if not now:
            raise PowerError(f"IOReport has no power of the performance cores in its group {GROUP}")
        if not before:
            return None
        if before.keys() != now.keys():
            raise PowerError("the channels of the performance cores' power are others than before")
        means = [_mean(before[name], now[name]) for name in now]
        known = [mean for mean in means if mean is not None]
        return math.fsum(known) if len(known) == len(means) else None

    def _bins(self) -> dict[str, Ticks]:
        """Return the ticks of each channel by bin; a channel that is listed twice has the larger of them."""
        found: dict[str, Ticks] = {}
        for subgroup, channel, ticks in self._read():
            names = (channel, f"{subgroup} {channel}")
            if ticks and any(map(_CLUSTER.fullmatch, names)):
                found[names[1]] = max(found.get(names[1], ()), ticks, key=sum)
        return found


def _mean(before: Ticks, now: Ticks) -> float | None:
    """Return the mean place of the ticks between two readings.

    None without ticks, with other bins, and after ticks that began anew.
    """
    if len(before) != len(now):
        return None
    ticks = [late - early for early, late in zip(before, now, strict=True)]
    total = sum(ticks)
    if total <= 0 or min(ticks) < 0:
        return None
    return sum(place * count for place, count in enumerate(ticks)) / total


class Sensor:
    """Reads one sensor, and notices if it stands still."""

    def __init__(self, key: str, read: Callable[[str], float] | None) -> None:
        self._key, self._read = key, read
        self._values: list[float] = []  # the first ones, each once
        self._value, self._readings = math.nan, 0  # how often the same value was read

    def watts(self) -> float:
        """Return the watts now. Raises PowerError."""
        self._read = self._read or Smc().watts
        value = self._read(self._key)
        self._readings = self._readings + 1 if value == self._value else 1
        self._value = value
        if len(self._values) < _VALUES and value not in self._values:
            self._values.append(value)
        if self._readings > _SAME_READINGS and len(self._values) == _VALUES:
            raise PowerError(f"the sensor {self._key} stands still at {value:.3g} W")
        return value


class RailMinusCpu:
    """Reads the rail's watts less those of the CPU cores on it."""

    method = SMC_MINUS_CPU

    def __init__(
        self, sensors: Callable[[str], float] | None = None, channels: Channels | None = None
    ) -> None:
        self._rail, self._channels = Sensor(RAIL, sensors), channels
        self._cpu: CpuPower | None = None

    def read(self) -> float | None:
        """Return the watts now; None for the first reading, which has no CPU power yet. Raises PowerError."""
        rail = self._rail.watts()
        if self._cpu is None:
            self._cpu = CpuPower(self._channels or StateChannels(GROUP).read)
        cpu = self._cpu.watts()
        return None if cpu is None else rail - cpu


class WholeMac:
    """Reads the watts of the whole Mac."""

    method = WHOLE_MAC

    def __init__(self, sensors: Callable[[str], float] | None = None) -> None:
        self._whole = Sensor(WHOLE, sensors)

    def read(self) -> float:
        """Return the watts now. Raises PowerError."""
        return self._whole.watts()
