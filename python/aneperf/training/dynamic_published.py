"""The dynamic pipeline with the graphs of maderix/ANE, to compare its timing.

Its gradients are not those of the model: with shared keys, forward and backward pair heads differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .. import _ane_native as native
from ..kernels import TransformerConfig
from ..kernels.dynamic import residual_scale
from .dynamic import DynamicPipeline
from .kernels import Floats, Operand
from .shared_kernels import Input, LayerKernel, Output


class PublishedDynamicPipeline(DynamicPipeline):
    """Leaves the backward of SiLU, rotary positions and repeated heads to the CPU; has no norms of heads."""

    as_published = True

    def __init__(
        self, device: native.Device, config: TransformerConfig, parameters: Mapping[str, Floats]
    ) -> None:
        config = replace(config, qk_norm=False)
        super().__init__(device, config, parameters)
        self._scale = np.float32(residual_scale(config))
        self._branch = self._activations(config.dim)
        self._h1, self._h3, self._dh1, self._dh3 = (self._activations(config.hidden) for _ in range(4))
        self._repeated = self._activations(config.query_dim)
        angles = np.outer(
            config.rope_theta ** (-np.arange(0, config.head_dim, 2) / config.head_dim), np.arange(config.seq)
        )
        self._cos, self._sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def _add_attention(self, out: Output, x: Floats, y: Floats) -> None:
        with self.clock("io"):
            out.read(self._branch)
        with self.clock("elem"):
            np.multiply(self._branch, self._scale, out=self._branch)
            np.add(x, self._branch, out=y)

    def _feed_forward(self, kernel: LayerKernel, x: Floats, y: Floats) -> None:
        with self.clock("io"):
            kernel.input("x").write(x)
        self._evaluate(kernel)
        with self.clock("io"):
            kernel.output("out").read(y)

    def _write_gradient(self, to: Input) -> None:
        with self.clock("elem"):
            np.multiply(self._dx, self._scale, out=self._branch)
        with self.clock("io"):
            to.write(self._branch)

    def _gate_backward(
        self, forward: LayerKernel, gated: LayerKernel, backward: LayerKernel
    ) -> tuple[Operand, Operand]:
        with self.clock("io"):
            forward.output("h1").read(self._h1)
            forward.output("h3").read(self._h3)
            gated.output("dgated").read(self._dh3)
        with self.clock("silu"):
            native.swiglu_backward(self._dh3, self._h1, self._h3, self._dh1, self._dh3)
        dh1, dh3 = backward.input("dh1"), backward.input("dh3")
        with self.clock("io"):
            dh1.write(self._dh1)
            dh3.write(self._dh3)
        self._evaluate(backward)
        return dh1.operand, dh3.operand

    def _copy_heads(self, output: Output, to: Input) -> None:
        """Repeat each key head for the query heads that are next to one another."""
        config = self.config
        values = self._activations(config.kv_dim)
        with self.clock("io"):
            output.read(values)
        with self.clock("elem"):
            by_head = values.reshape(config.kv_heads, 1, config.head_dim, config.seq)
            self._repeated.reshape(config.kv_heads, -1, config.head_dim, config.seq)[:] = by_head
        with self.clock("io"):
            to.write(self._repeated)

    def _projected_gradients(self, *parts: tuple[Output, Input]) -> None:
        """Sum up repeated heads and rotate back, then write."""
        config = self.config
        for rotated, (output, to) in zip((True, True, False), parts, strict=True):
            heads = to.operand.channels // config.head_dim
            with self.clock("io"):
                output.read(self._repeated)
            with self.clock("elem"):
                values = self._repeated.reshape(heads, -1, config.head_dim, config.seq).sum(axis=1)
                if rotated:
                    values = self._rotated_back(values)
            with self.clock("io"):
                to.write(values.reshape(-1, config.seq))

    def _rotated_back(self, x: Floats) -> Floats:
        """Rotate pairs of channels [heads, head_dim, S] back by their positions."""
        even, odd, back = x[:, 0::2], x[:, 1::2], np.empty_like(x)
        back[:, 0::2] = even * self._cos + odd * self._sin
        back[:, 1::2] = odd * self._cos - even * self._sin
        return back
