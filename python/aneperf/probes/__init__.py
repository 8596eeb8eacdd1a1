"""What is measured, one file for each probe."""

from .compat import compat
from .counters import counters
from .dispatch import dispatch
from .int8 import int8
from .latency import latency
from .limits import limits
from .parity import parity
from .peak import peak
from .ports import ports
from .qos import qos
from .sram import sram
from .suite import suite
from .sustained import sustained
from .sweep import sweep
from .weights import weights

__all__ = [
    "compat",
    "counters",
    "dispatch",
    "int8",
    "latency",
    "limits",
    "parity",
    "peak",
    "ports",
    "qos",
    "sram",
    "suite",
    "sustained",
    "sweep",
    "weights",
]
