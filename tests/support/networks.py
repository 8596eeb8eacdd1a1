"""Programs of the networks whose architecture `aneperf.chips.networks` has."""

import numpy as np

from aneperf import mil
from aneperf.chips.networks import CLASSES, IMAGE, Step


def network(steps: list[Step]) -> mil.Program:
    """Return a network with weights of zeros."""
    b = mil.Builder()
    tensors: list[mil.Tensor] = []
    last = b.input("image", (1, *IMAGE))
    for step in steps:
        last = _result(step, last, tensors)
        tensors.append(last)
    b.output("scores", mil.reshape(last, (1, CLASSES)))
    return b.build()


def _result(step: Step, last: mil.Tensor, tensors: list[mil.Tensor]) -> mil.Tensor:
    other = last if step.source is None else tensors[step.source]
    match step.op:
        case "conv":
            return _conv(step, other)
        case "add":
            return mil.add(last, other)
        case "pool":
            return mil.max_pool(last, (3, 3), strides=(2, 2), pad_type="custom", pad=(1, 0, 1, 0))
        case "mean":
            return mil.reduce_mean(last, axes=(2, 3), keep_dims=True)
        case _:
            return mil.relu(last)


def _conv(step: Step, x: mil.Tensor) -> mil.Tensor:
    before = step.kernel // 2
    after = (step.side - 1) * step.stride + step.kernel - x.shape[-1] - before
    return mil.conv(
        x,
        np.zeros(step.weight, np.float16),
        np.zeros(step.channels, np.float16),
        strides=(step.stride, step.stride),
        pad_type="custom",
        pad=(before, max(0, after)) * 2,
        groups=step.groups,
    )
