"""Kernel families: programs that people measure and train with."""

from .conv_stack import PUBLISHED, ConvStack
from .schedule import ScheduledKernel, schedule
from .transformer import Kernel, TransformerConfig

__all__ = ["PUBLISHED", "ConvStack", "Kernel", "ScheduledKernel", "TransformerConfig", "schedule"]
