"""Predict the time of a stack of convolutions from its sizes, without building it."""

from __future__ import annotations

from dataclasses import replace

from ..chips.cost import Call, time_call
from ..chips.parameters import PredictedTime, parameters_of
from ..chips.workloads import convolution, port_bytes, stack
from ..kernels import ConvStack, QuantizedStack


def predict_stack(kernel: ConvStack, chip: str) -> PredictedTime:
    """Predict the time of a call on a chip. Raises ArgumentError for an unknown one."""
    parameters = parameters_of(chip)
    positions = kernel.height * kernel.width
    is_quantized = isinstance(kernel, QuantizedStack)
    layer = convolution(kernel.channels, positions, itemsize=1 if is_quantized else 2)
    layers = stack(layer, kernel.depth, shared=False)
    if is_quantized:  # the input of the first layer is fp16
        layers = stack(layer, 1, shared=False)
        if kernel.depth > 1:
            layers += stack(replace(layer, is_int8=True), kernel.depth - 1, shared=False)
    itemsize = 4 if kernel.port_dtype == "fp32" else 2
    call = Call(layers, port_bytes(*[itemsize * kernel.channels * positions] * 2))
    return parameters.interval(time_call(call, parameters.values, parameters.traits))


def predicted_metrics(ms: PredictedTime) -> dict[str, float]:
    """Return the metrics of a row with a prediction beside its time."""
    return {"predicted_ms": ms.value, "predicted_low_ms": ms.low, "predicted_high_ms": ms.high}
