"""Draw random convolutions and matrix products."""

from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

SEEDS = st.integers(0, 2**32 - 1)


def pairs(largest, count=2):
    return st.tuples(*[st.integers(1, largest)] * count)


@st.composite
def convolutions(draw, batches, pad_types):
    """Draw the shapes of x and of the weight, with up to three axes behind the channels, and conv's
    options."""
    groups = draw(st.integers(1, 4))
    inputs, outputs = groups * draw(st.integers(1, 5)), groups * draw(st.integers(1, 5))
    axes = draw(st.sampled_from([2, 2, 1, 3]))
    most = 5 if axes < 3 else 3
    kernel, strides, dilations = draw(pairs(most, axes)), draw(pairs(3, axes)), draw(pairs(3, axes))
    pad_type = draw(st.sampled_from(pad_types))
    pad = draw(st.tuples(*[st.integers(0, 4)] * (2 * axes))) if pad_type == "custom" else (0,) * (2 * axes)
    extents = []
    for i in range(axes):
        reach = (kernel[i] - 1) * dilations[i] + 1
        least = 1 if pad_type == "same" else max(1, reach - pad[2 * i] - pad[2 * i + 1])
        extents.append(least + draw(st.integers(0, 10 if axes < 3 else 4)))
    arguments = {"strides": strides, "pad_type": pad_type, "pad": pad, "dilations": dilations}
    weight_shape = (outputs, inputs // groups, *kernel)
    return (draw(batches), inputs, *extents), weight_shape, {**arguments, "groups": groups}


@st.composite
def products(draw):
    """Draw the shapes of x and y for matmul, and which are transposed; batch axes broadcast both ways."""
    batches = draw(nps.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=4)).input_shapes
    rows, inner, columns = (draw(st.integers(1, 20)) for _ in range(3))
    transposed = draw(st.tuples(st.booleans(), st.booleans()))
    x = (inner, rows) if transposed[0] else (rows, inner)
    y = (columns, inner) if transposed[1] else (inner, columns)
    return (*batches[0], *x), (*batches[1], *y), transposed
