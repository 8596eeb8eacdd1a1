"""The energy of a row: slices of power, as a result file keeps them, and the metrics that follow."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from ..errors import ArgumentError
from .slices import MAXIMUM_SLICES, Slices, above

Per = Literal["evaluation", "token"]
_SHORT: dict[Per, str] = {"evaluation": "eval", "token": "token"}


class Energy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The power while a row's load ran and while the machine was idle, or the reason why it is not known.

    Power is in W, of slices of about a second, whose durations are in s. `count` evaluations or tokens took
    `seconds`, and each has `gflop` operations, where these are known. Raises ArgumentError.
    """

    method: str | None = None  # how the power was read: see `aneperf.power.METHODS`
    reason: str | None = None  # why nothing was read
    per: Per = "evaluation"
    count: int = 0  # evaluations or tokens of the load
    seconds: float = 0.0  # of the load, from the reading before it to the one after it
    gflop: float = 0.0  # of one of them, a multiply-add counted as two; 0 where it is not known
    load_s: tuple[float, ...] = ()
    load_w: tuple[float, ...] = ()
    idle_s: tuple[float, ...] = ()
    idle_w: tuple[float, ...] = ()
    doubt_w: float = 0.0  # added to each half of the interval
    reading_s: float = 0.0  # of `seconds`, spent on reading the power
    caveat: str = ""  # what was not checked, and why
    zero_share: float | None = None  # of the elements of the inputs, where they are the user's

    def __post_init__(self) -> None:
        if (self.method is None) != bool(self.reason):
            raise ArgumentError("energy has a method, or else a reason why there is none")
        slices = (self.load_s, self.load_w, self.idle_s, self.idle_w)
        if any(len(part) > MAXIMUM_SLICES for part in slices):
            raise ArgumentError(f"energy has more than {MAXIMUM_SLICES} slices")
        parts = (*self.load_s, *self.idle_s, self.seconds, self.gflop, self.doubt_w, self.reading_s)
        if not all(math.isfinite(number) and 0 <= number < 1e12 for number in parts):
            raise ArgumentError("energy: seconds, gflop and doubt_w are finite and not negative")
        if not all(math.isfinite(watts) and abs(watts) < 1e6 for watts in (*self.load_w, *self.idle_w)):
            raise ArgumentError("energy: watts are finite numbers")
        if self.zero_share is not None and not 0 <= self.zero_share <= 1:
            raise ArgumentError("energy: zero_share is a number from 0 to 1")
        if self.method is None:
            if any(slices) or self.count or self.seconds:
                raise ArgumentError("energy without a method has no numbers")
            return
        if len(self.load_s) != len(self.load_w) or len(self.idle_s) != len(self.idle_w):
            raise ArgumentError("energy: every slice has a duration and a power")
        if min(len(self.load_s), len(self.idle_s)) < 2 or not all((*self.load_s, *self.idle_s)):
            raise ArgumentError("energy needs two slices or more of the load, and of the idle machine")
        if not (0 < self.count < 2**63 and self.seconds):
            raise ArgumentError("energy needs the number of evaluations or tokens, and their seconds")

    @property
    def label(self) -> str:
        """Return the method, or "unavailable" with the reason."""
        return self.method or f"unavailable: {self.reason}"

    def metrics(self) -> dict[str, float]:
        """Return the metrics of a row: W above idle, mJ of each evaluation or token, pJ of an operation."""
        if self.method is None:
            return {}
        power = above(Slices(self.load_s, self.load_w), Slices(self.idle_s, self.idle_w), self.doubt_w)
        each_ms = 1e3 * self.seconds / self.count
        factors = {"power_w": 1.0, f"mj_per_{_SHORT[self.per]}": each_ms}
        if self.gflop:
            factors["pj_per_op"] = each_ms / self.gflop
        ends = {"": power.value, "_low": power.ci_low, "_high": power.ci_high}
        figures = {
            f"{name}{end}": watts * factor
            for name, factor in factors.items()
            for end, watts in ends.items()
            if watts is not None
        }
        return figures | {"idle_w": Slices(self.idle_s, self.idle_w).mean}


ENERGY_METRICS = frozenset(
    [
        "idle_w",
        *(
            f"{name}{end}"
            for name in ("power_w", "mj_per_eval", "mj_per_token", "pj_per_op")
            for end in ("", "_low", "_high")
        ),
    ]
)
