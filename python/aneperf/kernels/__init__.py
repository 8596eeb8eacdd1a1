"""Kernel families: the programs that benchmarks measure and training runs."""

from .config import TransformerConfig
from .conv_stack import PUBLISHED, ConvStack
from .quantized_stack import QuantizedStack
from .schedule import ScheduledKernel, schedule
from .transformer import Kernel

__all__ = [
    "PUBLISHED",
    "ConvStack",
    "Kernel",
    "QuantizedStack",
    "ScheduledKernel",
    "TransformerConfig",
    "schedule",
]
