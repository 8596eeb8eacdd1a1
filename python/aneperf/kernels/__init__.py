"""Programs that are measured, one file for each family."""

from .conv_stack import PUBLISHED, ConvStack

__all__ = ["PUBLISHED", "ConvStack"]
