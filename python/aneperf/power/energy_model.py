"""The engine's channel of Apple's Energy Model, by the library zeus-apple-silicon.

It reads the group of that name of IOReport, without root. That is not a sensor: Apple's firmware computes
energy from what the engine does. The library adds up every channel whose name contains ANE, as a machine
of two dies has two of them, so a channel that is listed twice would count twice. The list of names shows
that. Where it cannot be read, `choice.py` compares the power with other methods'.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from .method import ENERGY_MODEL, PowerError
from .state_channels import StateChannels

_GROUP = "Energy Model"
# ANE; ANE0 on a Max; ANE0_0 and ANE0_1, or the same behind DIE_0_ and DIE_1_, on an Ultra.
_FORMS = [re.compile(rf"(DIE_\d+_)?{form}", re.ASCII) for form in ("ANE", r"ANE\d+(_\d+)?")]
_J_PER_MJ = 1e-3


class EnergyModel:
    """Reads the joules that the engine has taken so far."""

    method = ENERGY_MODEL

    def __init__(self, names: Callable[[], Sequence[str]] | None = None) -> None:
        self.counts_once = False  # the list of channels was read, and has each channel once
        self._names = names
        self._monitor: Any = None

    def read(self) -> float:
        """Return the joules so far. Raises PowerError."""
        try:
            if self._monitor is None:
                self._check_names()
                from zeus_apple_silicon import AppleEnergyMonitor

                self._monitor = AppleEnergyMonitor()
            millijoules = self._monitor.get_cumulative_energy().ane_mj
            joules = None if millijoules is None else float(millijoules) * _J_PER_MJ
        except ImportError as error:
            raise PowerError(f"it needs zeus-apple-silicon: pip install '.[energy]' ({error})") from error
        # Errors of the library, and of another version of it that answers in another form.
        except (RuntimeError, ValueError, TypeError, AttributeError, OSError) as error:
            raise PowerError(f"zeus-apple-silicon cannot read it: {str(error).rstrip('.')}") from error
        if joules is None:
            raise PowerError("this system's Energy Model has no channel of the engine")
        return joules

    def _check_names(self) -> None:
        """Look for channels that are listed twice. Raises PowerError."""
        try:
            names = (self._names or StateChannels(_GROUP).names)()
        except PowerError:
            return
        listed = Counter(name for name in names if "ANE" in name)
        if doubled := sorted(name for name, times in listed.items() if times > 1):
            raise PowerError(f"the channel {doubled[0]} is listed twice, and the library adds it up twice")
        self.counts_once = bool(listed) and any(all(map(form.fullmatch, listed)) for form in _FORMS)
