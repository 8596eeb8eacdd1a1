"""Kernel families: programs that people measure and train with."""

from .conv_stack import PUBLISHED, ConvStack
from .quantized_stack import QuantizedStack
from .schedule import ScheduledKernel, schedule
from .transformer import Kernel, TransformerConfig

__all__ = [
    "PUBLISHED",
    "ConvStack",
    "Kernel",
    "QuantizedStack",
    "ScheduledKernel",
    "TransformerConfig",
    "schedule",
]
