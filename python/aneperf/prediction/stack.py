"""Predict the time of a stack of convolutions from its sizes, without building it."""

from __future__ import annotations

from dataclasses import replace

from ..chips.cost import Call, time_call
from ..chips.parameters import PredictedTime, parameters_of
from ..chips.workloads import convolution, stack
from ..kernels import ConvStack, QuantizedStack


def predict_stack(kernel: ConvStack, chip: str) -> PredictedTime:
    """Predict the time of a call on a chip. Raises ArgumentError for an unknown one."""
    parameters = parameters_of(chip)
    positions = kernel.height * kernel.width
    is_quantized = isinstance(kernel, QuantizedStack)
    layer = convolution(kernel.channels, positions, itemsize=1 if is_quantized else 2)
    itemsize = 4 if kernel.port_dtype == "fp32" else 2
    port = float(itemsize * kernel.channels * positions)
    first, *others = stack(layer, kernel.depth, shared=False, port_bytes=port)
    if is_quantized:  # the input of the first layer is fp16
        others = [replace(one, is_int8=True) for one in others]
    call = Call((first, *others))
    return parameters.interval(time_call(call, parameters.values, parameters.traits))


def predicted_metrics(ms: PredictedTime) -> dict[str, float]:
    """Return the metrics of a row with a prediction beside its time."""
    return {"predicted_ms": ms.value, "predicted_low_ms": ms.low, "predicted_high_ms": ms.high}
