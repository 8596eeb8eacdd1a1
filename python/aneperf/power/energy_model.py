"""The engine's channel of Apple's Energy Model, by the library zeus-apple-silicon.

It reads the group of that name of IOReport, without root. That is not a sensor: Apple's firmware computes
energy from what the engine does. The library adds up every channel whose name contains ANE, as a machine
of two dies has two of them, so a channel that is listed twice would count twice: `choice.py` looks for that.
"""

from __future__ import annotations

from typing import Any

from .method import ENERGY_MODEL, PowerError

_J_PER_MJ = 1e-3


class EnergyModel:
    """Reads the joules that the engine has taken so far."""

    method = ENERGY_MODEL

    def __init__(self) -> None:
        self._monitor: Any = None

    def read(self) -> float:
        """Return the joules so far. Raises PowerError."""
        try:
            if self._monitor is None:
                from zeus_apple_silicon import AppleEnergyMonitor

                self._monitor = AppleEnergyMonitor()
            millijoules = self._monitor.get_cumulative_energy().ane_mj
        except ImportError as error:
            raise PowerError(f"it needs zeus-apple-silicon: pip install '.[energy]' ({error})") from error
        except (RuntimeError, ValueError) as error:  # what the library raises
            raise PowerError(f"zeus-apple-silicon cannot read it: {str(error).rstrip('.')}") from error
        if millijoules is None:
            raise PowerError("this system's Energy Model has no channel of the engine")
        return float(millijoules) * _J_PER_MJ
