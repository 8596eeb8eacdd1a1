"""Work of published figures: which call, or which part of one, a key describes, and how long it took."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from ..stalls import stalls
from .cost import Call, Layer, reads_of
from .keys import read_key
from .networks import NETWORKS, call_of
from .published import Figure

# Sources of machines that seem not to have been warm, chosen by hand: their times differ from those of others
# for the same chip and key, or from each other. They are predicted, and no parameter is fitted to them.
COLD = {("M4 Max", "fork-results"), ("M4", "fork-probes"), ("M4 Max", "fork-chaining")}
# A caveat of a figure that describes a call, but says too little of it for a fit.
_VAGUE = {"assumed-ports", "running-mean", "gpu-beside"}
_NORMALIZING = {"softmax", "layer_norm"}
# e5rt takes 1.1 to 3.2 times as long for a matrix in and one out (relu) as for a matrix in (reduce_sum).
_E5RT_WRITTEN = 1.5  # the time of a byte of an output, over that of an input
_LM_HEAD_BYTES = {"fp16": 1.05e9, "lut6": 0.396e9}
_PARTLY_ASSUMED = {"pmu"}  # families of keys whose time has a part that no figure tells
# Tiny programs take 0.38 ms by freedomtan's ane_pmu_profiler and 0.1 ms in a plain loop, on one M4: 751K's
# apple-neural-engine-monitor, calibration/data/pmu_sweep.csv. The profiler timed the whole networks.
_PROFILER_MS = 0.28
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
        """Tell whether the machine seems not to have been warm."""
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
    is_vague = key.family in _PARTLY_ASSUMED or _VAGUE.intersection(figure.caveats)
    return Target(figure, call, ms, not is_cold and not is_vague)


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
            positions=float(positions),
            outputs=float(channels * positions),
        ),
        **options,  # type: ignore[arg-type]
    )


def stack(layer: Layer, depth: int, *, shared: bool, port_bytes: float = 0.0) -> tuple[Layer, ...]:
    """Return a chain of equal layers. Where they share their weights, only the first one streams them.

    The first one reads an input of `port_bytes` where it lies, and the last one writes an output of as many.
    """
    reused = replace(layer, weight_bytes=0.0, is_stalled=False, reused_bytes=layer.weight_bytes)
    later = reused if shared else layer
    if depth == 1:
        return (replace(layer, port_bytes=2 * port_bytes),)
    ends = replace(layer, port_bytes=port_bytes), replace(later, port_bytes=port_bytes)
    return ends[0], *([replace(later, count=depth - 2)] if depth > 2 else []), ends[1]


def first(layer: Layer, channels: int, positions: int, kernel: int = 1, itemsize: int = 2) -> Layer:
    """Return a convolution whose activations come from memory and go there."""
    reads = reads_of(channels, float(itemsize * channels * kernel**2), is_window=kernel > 1)
    elements = float(channels * positions)
    return replace(layer, read_bytes=itemsize * elements, reads=reads, written_bytes=2 * elements)


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
    port = float(item * sizes["channels"] * positions)
    if figure.route == "private":
        return Call(stack(layer, sizes.get("layers", 1), shared=shared, port_bytes=port))
    inputs = sizes.get("inputs", 1)
    sums = [_sum(port)] * (inputs - 1)
    chain = stack(layer, sizes.get("layers", 1), shared=shared)
    return Call((*sums, *chain), (inputs + 1) * port, ports=inputs + 1)


_PATHS = {"fp16-ports", "direct", "process-request", "real-time"}


def _sum(size: float) -> Layer:
    """Return an addition of an activation to another of `size` bytes."""
    return Layer("pointwise", elements=size / 2, largest_bytes=size, read_bytes=2 * size, written_bytes=size)


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
        layer = replace(
            layer,
            flops=_SAMPLE,
            weight_bytes=layer.weight_bytes * share,
            outputs=layer.outputs * share,
            positions=0.0,
        )
    else:
        layer = first(layer, sizes["channels"], _positions(sizes), sizes["kernel"], 1 if is_int8 else 2)
    ports = 4.0 * sizes["channels"] * _positions(sizes)
    return Call((layer,), ports, part="task" if names.get("quantity") else "call")


def _marginal(figure: Figure, names: Mapping[str, str], sizes: Sizes) -> Call:
    """Return a layer of a chain that shares its weights."""
    is_int8 = names["dtype"] == "w8a8"
    layer = convolution(
        sizes["channels"],
        _positions(sizes),
        kernel=sizes.get("kernel", 1),
        itemsize=1 if is_int8 else 2,
        is_int8=is_int8,
    )
    layer = replace(layer, weight_bytes=0.0, reused_bytes=layer.weight_bytes)
    return Call((layer,), part="task")


def _matmul(figure: Figure, names: Mapping[str, str], sizes: Sizes) -> Call:
    if "inner" not in sizes:
        layer = _product(5376, 4096, 16384)
        share = _SAMPLE / layer.flops
        layer = replace(
            layer,
            flops=_SAMPLE,
            read_bytes=layer.read_bytes * share,
            written_bytes=layer.written_bytes * share,
            operand_bytes=0.0,
            positions=0.0,
        )
        return Call((layer,), part="task")
    inner, columns, rows = sizes["inner"], sizes["columns"], sizes["rows"]
    layer = replace(_product(inner, columns, rows), port_bytes=2.0 * (inner + columns) * rows)
    return Call((layer,), ports=3)


def _product(inner: int, columns: int, rows: int) -> Layer:
    """Return a product [rows, inner] by [inner, columns] of two inputs."""
    return Layer(
        "product",
        flops=2.0 * inner * columns * rows,
        operand_bytes=2.0 * inner * columns,
        read_bytes=2.0 * inner * rows,
        reads=reads_of(columns, 2.0 * inner),
        written_bytes=2.0 * columns * rows,
        largest_bytes=2.0 * inner * rows,
        positions=float(rows),
    )


def _e5rt(figure: Figure, names: Mapping[str, str], sizes: Sizes) -> Call | None:
    """Return an operation or attention; the sizes of the other programs are not published.

    ANEForge's products of matrices have a constant for their second operand: device_saturation_sweep.py.
    """
    if "kernel" in sizes:
        layer = convolution(sizes["channels"], _positions(sizes), kernel=sizes["kernel"])
        port = 2.0 * sizes["channels"] * _positions(sizes)
        convolved = first(layer, sizes["channels"], _positions(sizes), sizes["kernel"])
        return Call((convolved,), _e5rt_ports(port, port))
    if "inner" in sizes:
        size = sizes["inner"]
        return Call((first(convolution(size, size), size, size),), _e5rt_ports(2.0 * size**2, 2.0 * size**2))
    if names.get("op") == "gemv4096/fp16":
        return Call((convolution(4096, 1),), _e5rt_ports(2.0 * 4096, 2.0 * 4096))
    if names.get("op") == "attention/h12s512d64":
        return _attention(12, 512, 64)
    if "rows" not in sizes:
        return None
    read = 2.0 * sizes["rows"] * sizes["columns"]
    written = 2.0 * sizes["rows"] if names["op"] == "reduce_sum" else read
    layer = _pointwise(read, written, is_normalizing=names["op"] in _NORMALIZING)
    return Call((layer,), _e5rt_ports(read, written))


def _e5rt_ports(read: float, written: float) -> float:
    """Return the bytes of inputs that take as long as these inputs and outputs."""
    return (read + _E5RT_WRITTEN * written) * 2 / (1 + _E5RT_WRITTEN)


def _attention(heads: int, positions: int, width: int) -> Call:
    """Return attention of three inputs, without projections."""
    rows = heads * positions
    scores = 2.0 * rows * positions
    products = (_product(width, positions, rows), _product(positions, width, rows))
    port = 2.0 * rows * width
    scored, summed = (replace(one, operand_bytes=port, positions=float(positions)) for one in products)
    layers = (scored, _pointwise(scores, scores, is_normalizing=True), summed)
    return Call(layers, _e5rt_ports(3 * port, port), ports=4)


def _pointwise(read: float, written: float, *, is_normalizing: bool) -> Layer:
    """Return an element-wise operation, by its bytes."""
    return Layer(
        "pointwise",
        elements=read / 2,
        is_normalizing=is_normalizing,
        largest_bytes=read,
        read_bytes=read,
        written_bytes=written,
    )


def _bandwidth(figure: Figure, names: Mapping[str, str], sizes: Sizes) -> Call:
    return Call((Layer("product", weight_bytes=_SAMPLE),), part="task")


def _network(figure: Figure, names: Mapping[str, str], sizes: Sizes) -> Call:
    return call_of(NETWORKS[names["model"]](), _PROFILER_MS)


_WORKS: Mapping[str, Callable[[Figure, Mapping[str, str], Sizes], Call | None]] = {
    **dict.fromkeys(("peak", "sweep", "sustained", "sram", "latency", "int8", "qos"), _conv_stack),
    "dispatch": _dispatch,
    "coreml": _coreml,
    "marginal": _marginal,
    "matmul": _matmul,
    "e5rt": _e5rt,
    "bandwidth": _bandwidth,
    "pmu": _network,
}


def targets(figures: tuple[Figure, ...]) -> Iterator[Target]:
    """Yield the targets of figures."""
    for figure in figures:
        if found := target_of(figure):
            yield found
