"""Programs that are measured, one file for each family."""

from .conv_stack import PUBLISHED, ConvStack
from .quantized_stack import QuantizedStack

__all__ = ["PUBLISHED", "ConvStack", "QuantizedStack"]
