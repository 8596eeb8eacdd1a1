"""Judge what providers read of the idle machine and of a known load: which of them follow the engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from ..measure import Estimate
from .method import PowerError, Provider
from .recorder import Recorder
from .slices import Slices, above, stood_still

# A compute-bound 1x1 convolution of random values takes 1 W at least on every chip that was measured
# (docs/power.md). A channel that tells less than half of that does not follow the engine.
LEAST_W = 0.5
_LEAST_KNOWN_W = 1.0
# Under the known load, the rest of the Mac takes at most 2 W more than on the idle machine: a choice. Two
# methods for the engine alone differ by a tenth (an M4: 8.7 W of the rail are 9.6 W of Apple's model).
_MOST_REST_W = 2.0
_MOST_RATIO = 1.15

_UNCOMPARED = "not compared with the whole Mac, whose power cannot be read: it may count twice"


class Trial:
    """Readings of all providers: of the idle machine, and of the known load."""

    def __init__(self, providers: Sequence[Provider], idle: Recorder, loaded: Recorder) -> None:
        self._providers, self._idle, self._loaded = providers, idle, loaded
        self._whole = self._whole_power()

    def judge(self, provider: Provider) -> tuple[Slices, Estimate, str]:
        """Return the idle power, that of the known load above it, and what was not checked.

        Raises PowerError for a power that the known load cannot have.
        """
        idle, power = self._power(provider)
        if provider.method.is_whole:
            return idle, power, ""
        self._compare_with_whole(power)
        if getattr(provider, "counts_once", False):
            return idle, power, ""
        rivals = list(self._rivals(provider))
        for rival, other in rivals:
            _compare(power, rival, other)
        if self._whole is None:
            return idle, power, _UNCOMPARED
        may_be_half = power.value >= 2 * _LEAST_KNOWN_W and provider.method.kind == "counter"
        if may_be_half and not rivals and self._whole.value - power.value / 2 <= _MOST_REST_W:
            raise PowerError(f"{self._beside_whole(power)}, so its channel may count the engine twice")
        return idle, power, ""

    def _power(self, provider: Provider) -> tuple[Slices, Estimate]:
        """Return the idle power, and that of the known load above it, if the provider follows the load."""
        method = provider.method
        idle, loaded = self._slices(provider)
        power = above(loaded, idle, method.doubt_w)
        if power.value < LEAST_W:
            raise PowerError(
                f"it reads {power.value:.3g} W of a load that takes 1 W at least on every chip measured, so "
                "its channel is dead on this system"
            )
        if method.kind == "counter" and stood_still(loaded):
            raise PowerError("its channel stood still for a part of a known load")
        if not power.ci_low:
            raise PowerError(
                f"it reads {power.value:.3g} W of a load that takes 1 W at least on every chip measured, and "
                "its interval does not exclude 0"
            )
        return idle, power

    def _slices(self, provider: Provider) -> tuple[Slices, Slices]:
        """Return the readings of the idle machine and of the known load. Raises PowerError for too few."""
        idle, loaded = self._idle.slices(provider), self._loaded.slices(provider)
        if min(len(idle), len(loaded)) < provider.method.slices:
            silence = self._idle.silence(provider) or self._loaded.silence(provider)
            raise PowerError(silence or "it was read too seldom under a known load")
        return idle, loaded

    def _whole_power(self) -> Estimate | None:
        """Return what the whole Mac takes of the known load, with the interval of its readings alone."""
        for provider in self._providers:
            if provider.method.is_whole:
                with contextlib.suppress(PowerError):
                    idle, loaded = self._slices(provider)
                    power = above(loaded, idle, 0.0)
                    if power.value >= LEAST_W and power.ci_low:
                        return power
        return None

    def _compare_with_whole(self, power: Estimate) -> None:
        """Refuse a part that takes more than the whole. Raises PowerError."""
        whole = self._whole
        if whole and whole.ci_high is not None and power.ci_low and power.ci_low > whole.ci_high:
            raise PowerError(f"{self._beside_whole(power)}, so its channel counts something twice")

    def _beside_whole(self, power: Estimate) -> str:
        assert self._whole is not None
        return (
            f"it reads {power.value:.3g} W of a load for which the whole Mac takes {self._whole.value:.3g} W "
            "more"
        )

    def _rivals(self, provider: Provider) -> Iterator[tuple[Provider, Estimate]]:
        """Yield the others that read the engine alone, and are not refused for another reason."""
        for rival in self._providers:
            if rival is not provider and not rival.method.is_whole:
                with contextlib.suppress(PowerError):
                    power = self._power(rival)[1]
                    self._compare_with_whole(power)
                    yield rival, power


def _compare(power: Estimate, rival: Provider, other: Estimate) -> None:
    """Refuse a power for the engine alone that contradicts another. Raises PowerError."""
    ends = (power.ci_low, power.ci_high, other.ci_low, other.ci_high)
    low, high, other_low, other_high = (end or 0.0 for end in ends)
    if low > _MOST_RATIO * other_high or other_low > _MOST_RATIO * high:
        raise PowerError(
            f"it reads {power.value:.3g} W of the known load, but {rival.method.name} {other.value:.3g} W: "
            "one of them counts something twice, or leaves something out"
        )
