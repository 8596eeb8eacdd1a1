"""Windows over height and width: pooling, resizing, affine maps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aneperf import mil
from support import intervals as iv
from support import oracle

from .maker import Family, Maker

_MODES = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS")


def _pool(m: Maker, name: str) -> None:
    x = m.image()
    kernel = tuple(m.integer(1, min(3, extent)) for extent in x.shape[2:])
    strides, pad = (1, 2), [m.integer(0, size - 1) for size in kernel for _ in range(2)]

    def point(a: NDArray) -> oracle.Expected:
        return oracle.pool(name, a, kernel, strides, pad)

    if name == "max_pool":
        bounds = iv.rising(point, x.bounds)
    else:
        bounds = iv.sums(point, iv.magnitude(x.bounds) if name == "l2_pool" else x.bounds)
    m.add(getattr(mil, name)(x.tensor, kernel, strides, "custom", pad), bounds)


def _nearest(m: Maker, name: str) -> None:
    x = m.image()
    sizes = x.shape[2:]
    if name == "upsample_nearest_neighbor":
        factors = m.integer(1, 2), m.integer(1, 2)
        tensor = mil.upsample_nearest_neighbor(x.tensor, *factors)
        extents = [size * factor for size, factor in zip(sizes, factors, strict=True)]
    else:
        extents = [m.integer(1, 6), m.integer(1, 6)]
        tensor = mil.resize_nearest_neighbor(x.tensor, *extents)
    rows, columns = (np.arange(n) * size // n for n, size in zip(extents, sizes, strict=True))
    m.add(tensor, iv.moved(lambda a: a[..., rows, :][..., columns], x.bounds))


def _bilinear(m: Maker, name: str) -> None:
    x = m.image()
    sizes = x.shape[2:]
    if name == "upsample_bilinear":
        factors, align = (m.choice((1, 1.5, 2)), m.choice((1, 2.25))), m.boolean()
        tensor = mil.upsample_bilinear(x.tensor, *factors, align)
        extents = [int(size * factor) for size, factor in zip(sizes, factors, strict=True)]
        mode = "STRICT_ALIGN_CORNERS" if align else "UNALIGN_CORNERS"
    else:
        extents, mode = [m.integer(1, 5), m.integer(1, 5)], m.choice(_MODES)
        tensor = mil.resize_bilinear(x.tensor, *extents, mode)
    points = [oracle.grid(size, n, mode) for size, n in zip(sizes, extents, strict=True)]
    m.add(tensor, iv.sums(lambda a: oracle.bilinear(a, points), x.bounds))


def _affine(m: Maker, name: str) -> None:
    x = m.image()
    height, width = m.integer(2, 5), m.integer(2, 5)
    matrices = m.halves((m.choice((1, x.shape[0])), 6), 0.5)
    bounds = iv.sums(lambda a: oracle.affine(a, matrices, height, width), x.bounds)
    m.add(mil.affine(x.tensor, matrices, height, width), bounds)


OPERATIONS: dict[str, Family] = {
    **dict.fromkeys(("max_pool", "avg_pool", "l2_pool"), _pool),
    **dict.fromkeys(("upsample_nearest_neighbor", "resize_nearest_neighbor"), _nearest),
    **dict.fromkeys(("upsample_bilinear", "resize_bilinear"), _bilinear),
    "affine": _affine,
}
