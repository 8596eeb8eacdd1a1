"""What is measured, one file for each probe."""

from .dispatch import dispatch
from .int8 import int8
from .latency import latency
from .peak import peak
from .ports import ports
from .qos import qos
from .sram import sram
from .sustained import sustained
from .sweep import sweep

__all__ = [
    "dispatch",
    "int8",
    "latency",
    "peak",
    "ports",
    "qos",
    "sram",
    "sustained",
    "sweep",
]
