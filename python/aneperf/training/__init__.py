"""Training transformers on the Neural Engine with weights baked into kernels."""

from .result import TrainingResult
from .run import train

__all__ = ["TrainingResult", "train"]
