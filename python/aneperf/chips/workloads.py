"""Work of published figures: which call, or which part of one, a key describes, and how long it took."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from ..stalls import stalls
from .cost import Call, Layer
from .keys import read_key
from .published import Figure

# Runs of a machine that was not warm: its smallest programs took two to three times what they took the same
# machine, or another of the chip, on other days. They are predicted, and no parameter is fitted to them.
COLD = {("M4 Max", "fork-results"), ("M4", "fork-probes"), ("M4 Max", "fork-chaining")}
# A caveat of a figure that describes a call, but says too little of it for a fit.
_VAGUE = {"assumed-ports", "running-mean", "gpu-beside"}
_PASSES = {"softmax": 4, "layer_norm": 4}
_LM_HEAD_BYTES = {"fp16": 1.05e9, "lut6": 0.396e9}
_SAMPLE = 1e9  # operations, or bytes, of a work whose rate is published

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Target:
    """A published figure as the time of a call that the model can predict."""

    figure: Figure
    call: Call
    ms: float
    is_fitted: bool  # else it is only predicted

    @property
    def is_cold(self) -> bool:
        """Tell whether the machine was not warm."""
        return (self.figure.chip, self.figure.source) in COLD


def target_of(figure: Figure) -> Target | None:
    """Return the target of a figure; None if its key does not describe the work, or it failed."""
    key = read_key(figure.key)
    if key is None or figure.value is None:
        return None
    names = {name: value for name, value in key.parameters.items() if isinstance(value, str)}
    sizes = {name: value for name, value in key.parameters.items() if isinstance(value, int)}
    found = _WORKS[key.family](figure, names, sizes) if key.family in _WORKS else None
    if found is None:
        return None
    call = replace(found, route=figure.route, engines=_engines(figure))
    ms = {"ms": figure.value, "us": figure.value / 1e3}.get(figure.unit)
    if ms is None:  # a rate: the time of a sample of work
        ms = _SAMPLE / figure.value / (1e6 if figure.unit == "GB/s" else 1e9)
    is_cold = (figure.chip, figure.source) in COLD
    return Target(figure, call, ms, not is_cold and not _VAGUE.intersection(figure.caveats))


def convolution(
    channels: int, positions: int, *, kernel: int = 1, itemsize: int = 2, **options: object
) -> Layer:
    """Return a convolution from and to the same channels, with constant weights."""
    return replace(
        Layer(
            "product",
            flops=2.0 * channels**2 * kernel**2 * positions,
            weight_bytes=float(itemsize * channels**2 * kernel**2),
            is_winograd=kernel == 3,
            is_stalled=itemsize == 2 and stalls((channels, channels, kernel, kernel)),
            largest_bytes=2.0 * channels * positions,
            moved_bytes=4.0 * channels * positions,
        ),
        **options,  # type: ignore[arg-type]
    )


def stack(layer: Layer, depth: int, *, shared: bool) -> tuple[Layer, ...]:
    """Return a chain of equal layers. Where they share their weights, only the first one streams them."""
    if not shared or depth == 1:
        return (replace(layer, count=depth),)
    reused = replace(layer, weight_bytes=0.0, is_stalled=False, reused_bytes=layer.weight_bytes)
    return layer, replace(reused, count=depth - 1)


def _engines(figure: Figure) -> int | None:
    if "one-engine" in figure.caveats:
        return 1
    return 2 if "two-engines" in figure.caveats else None


def _positions(sizes: Sizes) -> int:
    return sizes.get("height", 1) * sizes.get("width", 1) * sizes.get("batch", 1)


def _conv_stack(figure: Figure, names: Mapping[str, str], sizes: Sizes) -> Call | None:
    """Return a stack of 1x1 convolutions: of the probes, of dispatch, and through Core ML."""
    if "channels" not in sizes or figure.unit != "ms" or names.get("phase"):
        return None
    if names.get("path", "fp16-ports") not in _PATHS:
        return None
    positions = _positions(sizes)
    dtype = names.get("dtype", "fp16")
    layer = convolution(
        sizes["channels"],
        positions,
        itemsize=1 if dtype.startswith("w8") else 2,
        is_int8=dtype == "w8a8",
    )
    shared = names.get("weights") == "shared" or "shared-weights" in figure.caveats
    item = 4 if names.get("ports") == "fp32" else 2
    ports = 2.0 * item * sizes["channels"] * positions
    return Call(stack(layer, sizes.get("layers", 1), shared=shared), ports)


_PATHS = {"fp16-ports", "direct", "process-request", "real-time"}


def _dispatch(figure: Figure, names: Mapping[str, str], sizes: Sizes) -> Call | None:
    if names.get("path") in ("intercept", "tiny", "floor") and figure.unit == "ms":
        return Call()
    return _conv_stack(figure, names, sizes)


def _coreml(figure: Figure, names: Mapping[str, str], sizes: Sizes) -> Call | None:
    if "kernel" not in sizes:
        if "channels" in sizes:
            return _conv_stack(figure, names, sizes)
        if names.get("quantity"):  # the rate of a call that another figure has
            return None
        return Call((Layer("product", weight_bytes=_LM_HEAD_BYTES[names["dtype"]]),))
    is_int8 = names["dtype"] == "w8a8"
    layer = convolution(
        sizes["channels"],
        _positions(sizes),
        kernel=sizes["kernel"],
        itemsize=1 if is_int8 else 2,
        is_int8=is_int8,
    )
    if names.get("quantity") == "rate":
        share = _SAMPLE / layer.flops
        layer = replace(layer, flops=_SAMPLE, weight_bytes=layer.weight_bytes * share)
    ports = 4.0 * sizes["channels"] * _positions(sizes)
    return Call((layer,), ports, part="task" if names.get("quantity") else "call")


def _marginal(figure: Figure, names: Mapping[str, str], sizes: Sizes) -> Call:
    """Return a layer. The study's chains of 1x1 convolutions share their weights; its other ones do not."""
    is_int8 = names["dtype"] == "w8a8"
    layer = convolution(
        sizes["channels"],
        _positions(sizes),
        kernel=sizes.get("kernel", 1),
        itemsize=1 if is_int8 else 2,
        is_int8=is_int8,
    )
    if sizes.get("kernel", 1) == 1:
        layer = replace(layer, weight_bytes=0.0, reused_bytes=layer.weight_bytes)
    return Call((layer,), part="task")


def _matmul(figure: Figure, names: Mapping[str, str], sizes: Sizes) -> Call:
    if "inner" not in sizes:
        return Call((Layer("product", flops=_SAMPLE, is_runtime=True),), part="task")
    inner, columns, rows = sizes["inner"], sizes["columns"], sizes["rows"]
    return Call((_product(inner, columns, rows),), 2.0 * (inner + columns) * rows)


def _product(inner: int, columns: int, rows: int) -> Layer:
    """Return a product [rows, inner] by [inner, columns] of two inputs."""
    return Layer(
        "product",
        flops=2.0 * inner * columns * rows,
        is_runtime=True,
        operand_bytes=2.0 * inner * columns,
        largest_bytes=2.0 * inner * rows,
    )


def _e5rt(figure: Figure, names: Mapping[str, str], sizes: Sizes) -> Call | None:
    """Return an operation; the larger programs' sizes are not published."""
    if "kernel" in sizes:
        ports = 4.0 * sizes["channels"] * _positions(sizes)
        return Call((convolution(sizes["channels"], _positions(sizes), kernel=sizes["kernel"]),), ports)
    if "inner" in sizes:
        size = sizes["inner"]
        return Call((_product(size, size, size),), 6.0 * size**2)
    if "rows" not in sizes:
        return None
    elements = sizes["rows"] * sizes["columns"]
    read = 2.0 * elements
    written = 2.0 * sizes["rows"] if names["op"] == "reduce_sum" else read
    layer = Layer(
        "pointwise",
        elements=elements,
        passes=_PASSES.get(names["op"], 1),
        largest_bytes=read,
        moved_bytes=read + written,
    )
    return Call((layer,), read + written)


def _bandwidth(figure: Figure, names: Mapping[str, str], sizes: Sizes) -> Call:
    return Call((Layer("product", weight_bytes=_SAMPLE),), part="task")


_WORKS: Mapping[str, Callable[[Figure, Mapping[str, str], Sizes], Call | None]] = {
    **dict.fromkeys(("peak", "sweep", "sustained", "sram", "latency", "int8", "qos"), _conv_stack),
    "dispatch": _dispatch,
    "coreml": _coreml,
    "marginal": _marginal,
    "matmul": _matmul,
    "e5rt": _e5rt,
    "bandwidth": _bandwidth,
}


def targets(figures: tuple[Figure, ...]) -> Iterator[Target]:
    """Yield the targets of figures."""
    for figure in figures:
        if found := target_of(figure):
            yield found
