"""Which kernels the dynamic pipeline has, and how they are divided where an input would be too wide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ArgumentError
from .config import TransformerConfig
from .dynamic import (
    attention_forward,
    context_backward,
    feed_forward_backward,
    feed_forward_forward,
    gated_backward,
    key_value_backward,
    output_forward,
    query_backward,
    scores_backward_of_context,
    softmax_backward,
)
from .transformer import Kernel


@dataclass(frozen=True)
class SharedFamily:
    """A kernel that all layers share. `divides` is the size that chunks divide: "hidden", or None.

    If `keeps_outputs`, the gradients of weights need them until the step ends. Every chunk computes the
    outputs in `whole`, and a term of those in `summed`.
    """

    build: Callable[..., Kernel]
    divides: str | None = None
    keeps_outputs: bool = False
    whole: tuple[str, ...] = ()
    summed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the name of the kernel."""
        return self.build.__name__

    def fitting(
        self, config: TransformerConfig, widest: int, *, as_published: bool = False
    ) -> tuple[Kernel, int]:
        """Return the kernel of a chunk, whose input is at most `widest`, and the number of chunks.

        Raises ArgumentError if no number of chunks makes it fit. Published kernels are not divided.
        """
        size = 1 if self.divides is None or as_published else getattr(config, self.divides)
        for chunks in (n for n in range(1, size + 1) if size % n == 0):
            options = {} if self.divides is None else {"chunks": chunks}
            kernel = self.build(config, **options, as_published=as_published)
            width = kernel.program.inputs["x"].shape[-1]
            if width <= widest:
                return kernel, chunks
        divided = f" with {self.divides} divided by {size}" if size > 1 else ""
        raise ArgumentError(
            f"pipeline dynamic: the input of {self.name} is {width} wide{divided}, of which {config.seq} or "
            f"more are positions, and the engine takes {widest}: choose shorter sequences (--seq), or the "
            "pipeline static"
        )


SHARED_KERNELS: tuple[SharedFamily, ...] = (
    SharedFamily(attention_forward, "kv_heads", keeps_outputs=True),
    SharedFamily(output_forward, "dim"),
    SharedFamily(feed_forward_forward, "hidden", keeps_outputs=True, summed=("out",)),
    SharedFamily(gated_backward, "hidden"),
    SharedFamily(feed_forward_backward, "dim", keeps_outputs=True, whole=("dh1", "dh3")),
    SharedFamily(context_backward, "heads"),
    SharedFamily(scores_backward_of_context),
    SharedFamily(softmax_backward),
    SharedFamily(query_backward, "dim", keeps_outputs=True, whole=("dq_projected", "dq_norm")),
    SharedFamily(key_value_backward, "dim", keeps_outputs=True, whole=("dk_projected", "dk_norm")),
)
