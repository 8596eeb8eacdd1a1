"""The power that the Neural Engine takes, where something on the machine tells it.

A figure names its method, since different methods cover different things. Where nothing can be read, a meter
says why, and gives no number. docs/power.md has the methods, their sources and their limits.
"""

from .choice import Load, Poll, choose_meter, own_providers, reading, rest
from .energy_model import EnergyModel
from .meter import Meter, ProviderMeter, Unavailable
from .method import ENERGY_MODEL, METHODS, SMC_MINUS_CPU, WHOLE_MAC, Method, PowerError, Provider
from .record import ENERGY_METRICS, Energy
from .recorder import Recorder
from .slices import MAXIMUM_SLICES, Slices, above, sliced
from .smc_power import RailMinusCpu, WholeMac
from .trial import LEAST_W

__all__ = [
    "ENERGY_METRICS",
    "ENERGY_MODEL",
    "LEAST_W",
    "MAXIMUM_SLICES",
    "METHODS",
    "SMC_MINUS_CPU",
    "WHOLE_MAC",
    "Energy",
    "EnergyModel",
    "Load",
    "Meter",
    "Method",
    "Poll",
    "PowerError",
    "Provider",
    "ProviderMeter",
    "RailMinusCpu",
    "Recorder",
    "Slices",
    "Unavailable",
    "WholeMac",
    "above",
    "choose_meter",
    "own_providers",
    "reading",
    "rest",
    "sliced",
]
