"""The sixty kernels of a Stories110M training step that carry weights, and what it costs to compile them.

Five a layer, with the ports and graphs of the published static pipeline (maderix/ANE,
training/stories_mil.h): activations are channel-first [1, C, 1, S], outputs are joined along the channels,
and the attention has no rotary embedding. Every weight of every kernel has values of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import aneperf
from aneperf import mil

LAYERS, DIM, HIDDEN, HEADS, SEQ = 12, 768, 2048, 12, 256
HEAD_DIM = DIM // HEADS
SCALE = HEAD_DIM**-0.5

_random = np.random.default_rng(0)


def weight(outputs: int, inputs: int) -> Any:
    """fp16 [outputs, inputs, 1, 1], uniform, such that a product keeps the size of its input."""
    values = _random.random((outputs, inputs, 1, 1), np.float32)
    values -= 0.5
    values *= np.float32((12 / inputs) ** 0.5)
    return values.astype(np.float16)


def causal_mask() -> Any:
    """fp16 [1, 1, S, S]: 0 at and before a position, the most negative number behind it."""
    return np.triu(np.full((1, 1, SEQ, SEQ), -65504, np.float16), 1)


def rms_norm(x: mil.Tensor) -> mil.Tensor:
    scale = np.ones((1, DIM, 1, 1), np.float16)
    mean_square = mil.reduce_sum(mil.mul(x, x), [1]) * (1 / DIM)
    return x * mil.pow(mean_square + 1e-5, -0.5) * scale


def to_heads(x: mil.Tensor) -> mil.Tensor:
    """[1, H HD, 1, S] -> [1, H, S, HD]."""
    return mil.transpose(mil.reshape(x, (1, HEADS, HEAD_DIM, SEQ)), (0, 1, 3, 2))


def from_heads(x: mil.Tensor) -> mil.Tensor:
    """[1, H, S, HD] -> [1, H HD, 1, S]."""
    return mil.reshape(mil.transpose(x, (0, 1, 3, 2)), (1, DIM, 1, SEQ))


def probabilities(q: mil.Tensor, k: mil.Tensor) -> mil.Tensor:
    """softmax(q k^T scale + mask) [1, H, S, S] of heads."""
    return mil.softmax(mil.matmul(q, k, transpose_y=True) * SCALE + causal_mask(), -1)


def parts(x: mil.Tensor, *channels: int) -> Iterator[mil.Tensor]:
    """x cut along its channels."""
    begin = 0
    for size in channels:
        yield mil.slice_by_size(x, (0, begin, 0, 0), (1, size, 1, SEQ))
        begin += size


def forward_attention(x: mil.Tensor, wq: Any, wk: Any, wv: Any, wo: Any) -> list[mil.Tensor]:
    normed = rms_norm(x)
    q, k, v = (mil.conv(normed, weight) for weight in (wq, wk, wv))
    attended = from_heads(mil.matmul(probabilities(to_heads(q), to_heads(k)), to_heads(v)))
    return [mil.conv(attended, wo), q, k, v, attended, normed]


def forward_ffn(x: mil.Tensor, w1: Any, w3: Any, w2: Any) -> list[mil.Tensor]:
    normed = rms_norm(x)
    h1, h3 = mil.conv(normed, w1), mil.conv(normed, w3)
    gate = mil.sigmoid(h1) * h1 * h3
    return [mil.conv(gate, w2), h1, h3, gate, normed]


def backward_ffn(x: mil.Tensor, w2t: Any, w1t: Any, w3t: Any) -> list[mil.Tensor]:
    dy, h1, h3 = parts(x, DIM, HIDDEN, HIDDEN)
    dgate = mil.conv(dy, w2t)
    sigmoid = mil.sigmoid(h1)
    dh1 = dgate * h3 * (sigmoid * (h1 * (1.0 - sigmoid) + 1.0))
    dh3 = dgate * (h1 * sigmoid)
    return [mil.conv(dh1, w1t) + mil.conv(dh3, w3t), dh1, dh3]


def backward_attention(x: mil.Tensor, wot: Any) -> list[mil.Tensor]:
    q, k, v, dy = parts(x, *[DIM] * 4)
    q, k, v, dattended = map(to_heads, (q, k, v, mil.conv(dy, wot)))
    p = probabilities(q, k)
    dv = from_heads(mil.matmul(p, dattended, transpose_x=True))
    dp = mil.matmul(dattended, v, transpose_y=True)
    return [dv, *(mil.reshape(scores, (1, HEADS * SEQ, 1, SEQ)) for scores in (p, dp))]


def backward_qkv(x: mil.Tensor, wqt: Any, wkt: Any, wvt: Any) -> list[mil.Tensor]:
    dq, dk, dv = (
        mil.conv(part, weight) for part, weight in zip(parts(x, *[DIM] * 3), (wqt, wkt, wvt), strict=True)
    )
    return [dq + dk + dv]


@dataclass(frozen=True)
class Kernel:
    define: Callable[..., list[mil.Tensor]]  # the outputs that are joined, of x and the weights
    channels: int  # of x
    weights: tuple[tuple[int, int], ...]  # [outputs, inputs] of each

    def build(self, weights: list[Any]) -> mil.Builder:
        builder = mil.Builder()
        results = self.define(builder.input("x", (1, self.channels, 1, SEQ)), *weights)
        builder.output("y", mil.concat(results, 1) if len(results) > 1 else results[0])
        return builder


_SQUARE, _UP, _DOWN = (DIM, DIM), (HIDDEN, DIM), (DIM, HIDDEN)
KERNELS = {
    "fwdAttn": Kernel(forward_attention, DIM, (_SQUARE,) * 4),
    "fwdFFN": Kernel(forward_ffn, DIM, (_UP, _UP, _DOWN)),
    "ffnBwd": Kernel(backward_ffn, DIM + 2 * HIDDEN, (_UP, _DOWN, _DOWN)),
    "sdpaBwd1": Kernel(backward_attention, 4 * DIM, (_SQUARE,)),
    "qkvBwd": Kernel(backward_qkv, 3 * DIM, (_SQUARE,) * 3),
}


def memory(field: str) -> int | None:
    """Bytes of this process: "VmRSS" now, "VmHWM" at its highest. Only Linux tells."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    values = dict(line.split(":", 1) for line in status.splitlines())
    return int(values[field].split()[0]) * 1024


def compile_all(device: aneperf.Device) -> dict[str, Any]:
    """Seconds of each stage over all sixty kernels, and bytes of what they hold. For a new process."""
    seconds = dict.fromkeys(("define", "write", "compile", "first evaluation"), 0.0)

    def timed(stage: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        seconds[stage] += time.perf_counter() - start
        return result

    before, parameters, programs = memory("VmRSS"), 0, []
    for kernel in list(KERNELS.values()) * LAYERS:
        weights = [weight(*shape) for shape in kernel.weights]
        parameters += sum(each.size for each in weights)
        builder = timed("define", partial(kernel.build, weights))
        programs.append(timed("write", builder.build))
    del weights, builder
    compiled = [timed("compile", partial(program.compile, device)) for program in programs]
    compile_peak = memory("VmHWM")
    for program in compiled:
        inputs = {port.name: device.make_surface(port) for port in program.inputs}
        outputs = {port.name: device.make_surface(port) for port in program.outputs}
        timed("first evaluation", program.bind(inputs, outputs).evaluate)
    stats = [program.stats for program in compiled]
    return {
        "kernels": len(compiled),
        "parameters": parameters,
        "seconds": seconds,
        "file_bytes": sum(len(data) for program in programs for data in program.weights.values()),
        "weight_bytes": sum(stat.weight_bytes or 0 for stat in stats),
        "activation_bytes": sum(stat.activation_bytes or 0 for stat in stats),
        "compile_peak_bytes": None if before is None else compile_peak - before,
        "evaluated_peak_bytes": None if before is None else memory("VmHWM") - before,
    }
