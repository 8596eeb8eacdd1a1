"""RMSNorm as kernels of its own, forward and backward. All parts are [1, C, 1, S].

Source: Zhang & Sennrich 2019, "Root mean square layer normalization".
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from .config import TransformerConfig
from .transformer import Kernel, KernelBuilder


def norm_forward(config: TransformerConfig, *, weight: NDArray[Any], as_published: bool = False) -> Kernel:
    """Build the norm over channels, times `weight` [dim]: x -> normed."""
    g = KernelBuilder(config, as_published, x=config.dim)
    return g.kernel("norm_forward", normed=g.rms_norm(g.part("x"), weight, "weight"))


def norm_backward(config: TransformerConfig, *, weight: NDArray[Any], as_published: bool = False) -> Kernel:
    """Build the backward of the norm: dnormed, x -> dx."""
    g = KernelBuilder(config, as_published, dnormed=config.dim, x=config.dim)
    scaled = g.scale(g.part("dnormed"), weight, "weight")
    dx, _ = g.rms_backward(scaled, g.part("x"))
    return g.kernel("norm_backward", dx=dx)
