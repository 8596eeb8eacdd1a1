"""PyTorch's side of ratios.py: a process of its own, in an environment of its own.

Each case is given in the ways that PyTorch has for it; ratios.py compares with the fastest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from child import SETTLE, median_time, serve
from llama_torch import STORIES110M, Llama, training_step

Way = Callable[[], Any]
TRAINING = ("Stories110M training step", "Stories110M dynamic step")  # the same work


def stack(height: int, width: int) -> dict[str, Way]:
    channels, depth = 512, 128
    weights = [torch.randn(channels, channels) * channels**-0.5 for _ in range(depth)]
    x = torch.randn(1, channels, height, width)

    def convolutions(dtype: torch.dtype, layout: torch.memory_format) -> Way:
        kernels = [w.view(channels, channels, 1, 1).to(dtype).to(memory_format=layout) for w in weights]
        image = x.to(dtype).to(memory_format=layout)

        def run() -> Any:
            y = image
            for kernel in kernels:
                y = F.conv2d(y, kernel)
            return y

        return run

    def products() -> Any:
        y = x.view(channels, height * width)
        for weight in weights:
            y = weight @ y
        return y

    rows, image = torch.contiguous_format, torch.channels_last
    return {
        "fp32 conv2d": convolutions(torch.float32, rows),
        "fp32 conv2d channels_last": convolutions(torch.float32, image),
        "fp32 matmul": products,
        "bf16 conv2d": convolutions(torch.bfloat16, rows),
        "bf16 conv2d channels_last": convolutions(torch.bfloat16, image),
    }


def int8_stack(height: int, width: int) -> dict[str, Way]:
    from torch.ao.nn.quantized import Conv2d

    channels, depth = 512, 128
    x = torch.quantize_per_tensor(torch.randn(1, channels, height, width), 0.05, 128, torch.quint8)
    ways: dict[str, Way] = {}
    for engine in ("fbgemm", "onednn", "x86"):
        if engine not in torch.backends.quantized.supported_engines:
            continue
        torch.backends.quantized.engine = engine
        layers = []
        for _ in range(depth):
            weight = torch.randn(channels, channels, 1, 1) * channels**-0.5
            layer = Conv2d(channels, channels, 1, bias=False)
            layer.set_weight_bias(torch.quantize_per_tensor(weight, 0.0015, 0, torch.qint8), None)
            layer.scale, layer.zero_point = 0.05, 128
            layers.append(layer)

        def run(image: Any, layers: list[Any] = layers, engine: str = engine) -> Any:
            torch.backends.quantized.engine = engine
            for layer in layers:
                image = layer(image)
            return image

        last = x.contiguous(memory_format=torch.channels_last)
        ways[f"int8 {engine}"] = lambda run=run: run(x)
        ways[f"int8 {engine} channels_last"] = lambda run=run, last=last: run(last)
    return ways


def gated() -> dict[str, Way]:
    ways: dict[str, Way] = {}
    for name, dtype in (("fp16", torch.float16), ("fp32", torch.float32)):
        a, b = (torch.randn(2048, 16384).to(dtype) for _ in range(2))
        ways[f"{name} silu, mul, add"] = lambda a=a, b=b: F.silu(a).mul_(b).add_(a)
        ways[f"{name} silu, addcmul"] = lambda a=a, b=b: torch.addcmul(a, F.silu(a), b)
    return ways


def softmax() -> dict[str, Way]:
    x = torch.randn(12, 256, 256)
    half = x.half()
    return {"fp16": lambda: torch.softmax(half, -1), "fp32": lambda: torch.softmax(x, -1)}


def rms_norm() -> dict[str, Way]:
    """Normalize over the last axis, which suits PyTorch best."""
    x, weight = torch.randn(256, 768), torch.ones(768)
    half, half_weight = x.half(), weight.half()
    return {
        "fp16": lambda: F.rms_norm(half, (768,), half_weight, 1e-5),
        "fp32": lambda: F.rms_norm(x, (768,), weight, 1e-5),
    }


def conversion(source: torch.dtype, target: torch.dtype) -> dict[str, Way]:
    x = torch.randn(1600, 16384).to(source)
    y = torch.empty_like(x, dtype=target)
    return {"copy_": lambda: y.copy_(x), "to": lambda: x.to(target)}


def steps() -> dict[str, Way]:
    model = Llama(**STORIES110M)
    dtypes = {"fp32 step": torch.float32, "bf16 step, autocast": torch.bfloat16}
    return {name: training_step(model, dtype) for name, dtype in dtypes.items()}


def product_error() -> float:
    """Return the relative error of an fp32 product (2-norm): a library may compute in less precision."""
    a, b = torch.randn(512, 512), torch.randn(512, 512)
    exact = a.double() @ b.double()
    return float(((a @ b).double() - exact).norm() / exact.norm())


CASES: dict[str, Callable[[], dict[str, Way]]] = {
    "stack sp64": lambda: stack(1, 64),
    "stack 64x64": lambda: stack(64, 64),
    "int8 stack 64x64": lambda: int8_stack(64, 64),
    "silu(a) b + a": gated,
    "softmax 12x256x256": softmax,
    "RMSNorm 768x256": rms_norm,
    **dict.fromkeys(TRAINING, steps),
    "fp32 to fp16": lambda: conversion(torch.float32, torch.float16),
    "fp16 to fp32": lambda: conversion(torch.float16, torch.float32),
}

prepared: dict[str, dict[str, Way]] = {}


def answer(do: str, case: str = "", way: str = "", threads: int = 0, precision: str = "") -> Any:
    """Answer a request. `do` is "set up", "list" (the ways of a case), "measure" (seconds) or "forget"."""
    if do == "set up":
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
        return {
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "fp32_product_error": f"{product_error():.1e}",
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "mkl": torch.backends.mkl.is_available(),
            "onednn": torch.backends.mkldnn.is_available(),
        }
    if do == "forget":
        prepared.clear()
        return None
    if case not in prepared:
        torch.manual_seed(0)
        prepared[case] = CASES[case]()
    if do == "list":
        return list(prepared[case])
    with torch.inference_mode(case not in TRAINING):
        seconds = median_time(prepared[case][way])
    time.sleep(SETTLE)
    return seconds


if __name__ == "__main__":
    serve(answer)
