"""The ways to read power, and what a provider of readings is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from ..errors import AneError


class PowerError(AneError):
    """Power cannot be read in one way. The message says why."""


@dataclass(frozen=True)
class Method:
    """A way to read power. The figures of different methods are of different things: `covers` says which.

    `doubt_w` is what the method itself leaves open, and the least half width of an interval; where the CPU
    works too, `busy_doubt_w` is. docs/power.md has the sources.
    """

    name: str
    covers: str
    kind: Literal["counter", "gauge"]  # joules so far, or watts now
    settle_s: float  # at the start of a load, which is left out
    slices: int  # the least number that makes a figure
    doubt_w: float
    busy_doubt_w: float
    most_w: float = 100.0  # more than anything of the kind takes: a reading above it is none
    slice_s: float = 1.0
    is_whole: bool = False  # covers more than the engine

    @property
    def span_s(self) -> float:
        """Return the seconds that a load must last: slices end with batches of calls, and so last longer."""
        return self.settle_s + (1.5 * self.slices + 1) * self.slice_s

    @property
    def period_s(self) -> float:
        """Return the seconds between samples: a counter holds all that was between, a gauge does not."""
        return self.slice_s if self.kind == "counter" else self.slice_s / 4


# An engine's clock is up after 0.1 s of load, and that of its plane engine after 0.8 s. Sensors are read anew
# about once a second, and take until the fourth second to follow a load; eight of their values make a mean.
# The rail's figure is 0.5 W more or less with a blocked caller: it has bins of 1 W, and an idle offset that
# moved by 0.3 W; with busy performance cores it moved by 0.9 W. Source of all these: the M6 study of 751K.
# The zeus library counts whole mJ, so that a slice of a second is 1 mW off at most at either end. The doubt
# of the whole Mac is a choice: nothing was published about how steady the rest of it is. The most that was
# published of an engine is 13 W, and no Mac with Apple silicon has a power supply of 1 kW.
ENERGY_MODEL = Method(
    name="energy-model",
    covers="the engine alone, by Apple's model of its energy",
    kind="counter",
    settle_s=1.0,
    slices=4,
    doubt_w=0.002,
    busy_doubt_w=0.002,
)
SMC_MINUS_CPU = Method(
    name="smc-minus-cpu",
    covers="the engine alone: the rail that it shares with CPU cores, less these",
    kind="gauge",
    settle_s=4.0,
    slices=8,
    doubt_w=0.5,
    busy_doubt_w=1.0,
)
WHOLE_MAC = Method(
    name="whole-mac",
    covers="the whole Mac: the engine, memory, and what the CPU does for the calls",
    kind="gauge",
    settle_s=4.0,
    slices=8,
    doubt_w=1.0,
    busy_doubt_w=1.0,
    most_w=1000.0,
    is_whole=True,
)
METHODS = {method.name: method for method in (ENERGY_MODEL, SMC_MINUS_CPU, WHOLE_MAC)}


class Provider(Protocol):
    """Reads power by a method."""

    @property
    def method(self) -> Method:
        """Return the method."""

    def read(self) -> float | None:
        """Return the joules so far of a counter, or the watts now of a gauge; None if it has no value yet.

        Raises PowerError.
        """
