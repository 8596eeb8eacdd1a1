"""Moving elements without computing."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from aneperf import mil
from support import intervals as iv
from support import oracle

from .maker import Family, Maker, Value


def _keep(m: Maker, value: Value) -> None:
    m.add(*value)


def _transpose(m: Maker, name: str) -> None:
    x = m.operand()
    perm = m.draw(st.permutations(range(x.rank)))
    _keep(m, x.moved(lambda t: mil.transpose(t, perm), lambda a: a.transpose(perm)))


def _divisor(m: Maker, number: int) -> int:
    return int(m.choice([d for d in range(1, number + 1) if number % d == 0]))


def _reshape(m: Maker, name: str) -> None:
    x = m.operand()
    first = _divisor(m, x.size)
    second = _divisor(m, x.size // first)
    _keep(m, x.reshaped((second, first, x.size // first // second)))


def _flatten2d(m: Maker, name: str) -> None:
    x = m.operand()
    axis = m.integer(0, x.rank)
    to = (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
    _keep(m, x.moved(lambda t: mil.flatten2d(t, axis), lambda a: a.reshape(to)))


def _expand_dims(m: Maker, name: str) -> None:
    x = m.operand()
    if x.rank < 5:
        axis = m.integer(0, x.rank)
        _keep(m, x.moved(lambda t: mil.expand_dims(t, [axis]), lambda a: np.expand_dims(a, axis)))


def _squeeze(m: Maker, name: str) -> None:
    x = m.image()
    single = [axis for axis, extent in enumerate(x.shape) if extent == 1]
    if single and len(single) < 4:
        axis = m.choice(single)
        _keep(m, x.moved(lambda t: mil.squeeze(t, [axis]), lambda a: np.squeeze(a, axis)))


def _reverse(m: Maker, name: str) -> None:
    x = m.operand()
    axis = m.integer(0, x.rank - 1)
    _keep(m, x.moved(lambda t: mil.reverse(t, [axis]), lambda a: np.flip(a, axis)))


def _slice(m: Maker, name: str) -> None:
    x = m.operand()
    begin = [m.integer(0, extent - 1) for extent in x.shape]
    end = [m.integer(first + 1, extent) for first, extent in zip(begin, x.shape, strict=True)]
    if name == "slice_by_size":
        size = [last - first for first, last in zip(begin, end, strict=True)]
        index = tuple(map(slice, begin, end))
        _keep(m, x.moved(lambda t: mil.slice_by_size(t, begin, size), lambda a: a[index]))
    else:
        stride = [m.integer(1, 2) for _ in x.shape]
        index = tuple(map(slice, begin, end, stride))
        _keep(m, x.moved(lambda t: mil.slice_by_index(t, begin, end, stride), lambda a: a[index]))


def _concat(m: Maker, name: str) -> None:
    x = m.operand()
    axis = m.integer(0, x.rank - 1)
    partners = m.fitting(lambda s: (*s[:axis], *s[axis + 1 :]) == (*x.shape[:axis], *x.shape[axis + 1 :]))
    y = m.choice([x, *(p for p in partners if p.rank == x.rank)])
    interleave = y.shape == x.shape and m.boolean()
    bounds = iv.moved(lambda a, b: oracle.concat([a, b], axis, interleave), x.bounds, y.bounds)
    m.add(mil.concat([x.tensor, y.tensor], axis, interleave), bounds)


def _stack(m: Maker, name: str) -> None:
    x = m.operand()
    if x.rank < 5:
        axis, y = m.integer(0, x.rank), m.choice([x, *m.fitting(lambda s: s == x.shape)])
        m.add(
            mil.stack([x.tensor, y.tensor], axis),
            iv.moved(lambda a, b: np.stack([a, b], axis), x.bounds, y.bounds),
        )


def _split(m: Maker, name: str) -> None:
    x = m.operand()
    axis = m.integer(0, x.rank - 1)
    counts = [n for n in (2, 3) if x.shape[axis] % n == 0]
    if counts:
        count = m.choice(counts)
        for i, tensor in enumerate(mil.split(x.tensor, count, axis)):
            m.add(tensor, iv.moved(lambda a, i=i: np.split(a, count, axis)[i], x.bounds))


def _tile(m: Maker, name: str) -> None:
    x = m.operand()
    reps = [m.integer(1, 2) for _ in x.shape]
    _keep(m, x.moved(lambda t: mil.tile(t, reps), lambda a: np.tile(a, reps)))


def _pad(m: Maker, name: str) -> None:
    x = m.operand()
    mode = m.choice(("constant", "reflect", "replicate"))
    most = min(2, x.shape[-1] - 1 if mode == "reflect" else x.shape[-1])
    ends = [m.integer(0, most), m.integer(0, most)]
    widths = [*[(0, 0)] * (x.rank - 1), tuple(ends)]

    def point(a: NDArray) -> NDArray:
        if mode == "constant":
            return np.pad(a, widths, constant_values=-1.5)
        return np.pad(a, widths, {"replicate": "edge"}.get(mode, mode))

    _keep(m, x.moved(lambda t: mil.pad(t, ends, mode, -1.5), point))


def _crop(m: Maker, name: str) -> None:
    x = m.image()
    before = [m.integer(0, extent - 1) for extent in x.shape[2:]]
    after = [m.integer(0, extent - 1 - first) for extent, first in zip(x.shape[2:], before, strict=True)]
    crops = list(zip(before, after, strict=True))
    rows, columns = (slice(a, extent - b) for (a, b), extent in zip(crops, x.shape[2:], strict=True))
    _keep(m, x.moved(lambda t: mil.crop(t, *crops), lambda a: a[..., rows, columns]))


def _from_blocks(a: NDArray, axes: tuple[int, ...]) -> NDArray:
    """View [N, C, 2 H, 2 W] as [N, C, H, 2, W, 2]; the axes before the last two become channels."""
    n, c, h, w = a.shape
    return a.reshape(n, c, h // 2, 2, w // 2, 2).transpose(axes).reshape(n, 4 * c, h // 2, w // 2)


def _to_blocks(a: NDArray, blocks: tuple[int, ...], axes: tuple[int, ...]) -> NDArray:
    n, c, h, w = a.shape
    return (
        a.reshape(n, *(c // 4 if extent == 0 else extent for extent in blocks), h, w)
        .transpose(axes)
        .reshape(n, c // 4, 2 * h, 2 * w)
    )


_SHUFFLES: dict[str, Callable[[NDArray], NDArray]] = {
    "space_to_depth": lambda a: _from_blocks(a, (0, 3, 5, 1, 2, 4)),
    "pixel_unshuffle": lambda a: _from_blocks(a, (0, 1, 3, 5, 2, 4)),
    "depth_to_space": lambda a: _to_blocks(a, (2, 2, 0), (0, 3, 4, 1, 5, 2)),
    "pixel_shuffle": lambda a: _to_blocks(a, (0, 2, 2), (0, 1, 4, 2, 5, 3)),
}


def _shuffle(m: Maker, name: str) -> None:
    x = m.operand()
    if x.size % 4:
        return
    channels = _divisor(m, x.size // 4)
    height = _divisor(m, x.size // 4 // channels)
    width = x.size // 4 // channels // height
    is_deep = name in ("depth_to_space", "pixel_shuffle")
    x = x.reshaped((1, 4 * channels, height, width) if is_deep else (1, channels, 2 * height, 2 * width))
    _keep(m, x.moved(lambda t: getattr(mil, name)(t, 2), _SHUFFLES[name]))


def _space_to_batch(m: Maker, name: str) -> None:
    x = m.image()
    block, first = (m.integer(1, 2), m.integer(1, 2)), (m.integer(0, 1), m.integer(0, 1))
    paddings = [(a, -(extent + a) % b) for a, b, extent in zip(first, block, x.shape[2:], strict=True)]
    _keep(
        m,
        x.moved(
            lambda t: mil.space_to_batch(t, block, paddings),
            lambda a: oracle.space_to_batch(a, block, paddings),
        ),
    )


def _batch_to_space(m: Maker, name: str) -> None:
    x, block = m.operand(), m.choice(((2, 1), (1, 2), (2, 2), (1, 3)))
    batch = math.prod(block)
    if x.size % batch:
        return
    height = _divisor(m, x.size // batch)
    x = x.reshaped((batch, 1, height, x.size // batch // height))
    crops = [(m.integer(0, int(a * b > 1)), 0) for a, b in zip(x.shape[2:], block, strict=True)]
    _keep(
        m,
        x.moved(
            lambda t: mil.batch_to_space(t, block, crops), lambda a: oracle.batch_to_space(a, block, crops)
        ),
    )


def _topk(m: Maker, name: str) -> None:
    x = m.operand()
    axis = m.integer(0, x.rank - 1)
    count, ascending = m.integer(1, x.shape[axis]), m.boolean()

    def point(a: NDArray) -> NDArray:
        order = np.sort(a, axis) if ascending else np.flip(np.sort(a, axis), axis)
        return order.take(range(count), axis)

    _keep(m, x.moved(lambda t: mil.topk(t, count, axis, ascending)[0], point))


def _gather(m: Maker, name: str) -> None:
    x = m.operand()
    axis = m.integer(0, x.rank - 1)
    random = np.random.default_rng(m.integer(0, 1000))
    if name == "gather":
        taken = random.integers(0, x.shape[axis], m.integer(1, 5))
        _keep(m, x.moved(lambda t: mil.gather(t, taken, axis), lambda a: a.take(taken, axis)))
        return
    indices = random.integers(0, x.shape[axis], x.shape)
    _keep(
        m,
        x.moved(
            lambda t: mil.gather_along_axis(t, indices, axis),
            lambda a: np.take_along_axis(a, indices, axis),
        ),
    )


OPERATIONS: dict[str, Family] = {
    "transpose": _transpose,
    "reshape": _reshape,
    "flatten2d": _flatten2d,
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "reverse": _reverse,
    **dict.fromkeys(("slice_by_index", "slice_by_size"), _slice),
    "concat": _concat,
    "stack": _stack,
    "split": _split,
    "tile": _tile,
    "pad": _pad,
    "crop": _crop,
    **dict.fromkeys(_SHUFFLES, _shuffle),
    "space_to_batch": _space_to_batch,
    "batch_to_space": _batch_to_space,
    "topk": _topk,
    **dict.fromkeys(("gather", "gather_along_axis"), _gather),
}
