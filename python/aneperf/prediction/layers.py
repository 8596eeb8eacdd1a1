"""Describe the operations of a program as work on an engine, in the terms of `aneperf.chips.cost`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import replace

import numpy as np

from .. import mil
from ..chips.cost import Layer
from ..mil.call import OPERATIONS
from ..mil.graph import Graph, Operation, Tensor
from ..mil.types import dtype_bits
from ..mil.work import Work, stored_constants, work_of
from ..stalls import stalls

# Operations on shapes alone, or that only change where or as what another operation reads or writes.
_FREE = {
    *("reshape", "expand_dims", "squeeze", "flatten2d", "cast", "quantize", "dequantize"),
    *("slice_by_size", "slice_by_index", "split", "concat", "crop", "stack"),
}
_SEVERAL_PASSES = {"softmax", "layer_norm", "instance_norm", "l2_norm", "local_response_norm"}
_PASSES = 4  # of these, by what ANEForge measured of softmax and layer_norm
_FREE_LAYER = Layer("free")


def layers_of(graph: Graph) -> list[tuple[Operation, Work, tuple[Layer, ...]]]:
    """Return each operation that the engine computes, with its work."""
    return _Program(graph).layers()


def port_bytes(graph: Graph) -> int:
    """Return the bytes of the ports, but for inputs that are the second operand of a product.

    The engine reads those where they lie, once for each block of the first operand.
    """
    second = {_operand(operation) for operation in graph.statements if isinstance(operation, Operation)}
    return sum(port.type.bytes for port in (*graph.inputs, *graph.outputs) if port not in second)


def _operand(operation: Operation) -> Tensor | None:
    """Return the second operand of a product of two matrices."""
    found = operation.arguments.get("y") if operation.op == "matmul" else None
    return found if isinstance(found, Tensor) else None


class _Program:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._stored = stored_constants(graph)
        self._work = work_of(graph)
        self._readers = Counter(
            tensor for operation in self._work for tensor in {tensor for _, tensor in operation.operands()}
        )
        self._readers.update(graph.outputs)
        self._makers = {result: operation for operation in self._work for result in operation.results}
        self._origins: dict[Tensor, Hashable] = {**graph.blobs}
        self._read: set[Hashable] = set()  # weights that an earlier operation has read

    def layers(self) -> list[tuple[Operation, Work, tuple[Layer, ...]]]:
        """Return the layers of each operation, in order."""
        found = []
        for operation, work in self._work.items():
            if operation.results[0] not in self._stored:
                found.append((operation, work, self._layers(operation, work)))
            elif len({tensor for _, tensor in operation.operands() if tensor in self._origins}) == 1:
                (source,) = {t for _, t in operation.operands() if t in self._origins}
                self._origins[operation.results[0]] = self._origins[source]
        return found

    def _layers(self, operation: Operation, work: Work) -> tuple[Layer, ...]:
        family = OPERATIONS[operation.op].family if operation.op in OPERATIONS else "elementwise"
        if operation.op in _FREE or self._is_fused(operation, family):
            return (_FREE_LAYER,)
        inputs = [tensor for _, tensor in operation.operands() if self._is_activation(tensor)]
        activations = [*inputs, *operation.results]
        shared = Layer(
            "pointwise",
            largest_bytes=max(tensor.type.bytes for tensor in activations),
            moved_bytes=sum(tensor.type.bytes for tensor in activations),
            elements=work.flops,
            passes=_PASSES if operation.op in _SEVERAL_PASSES else 1,
        )
        if family == "movement":  # of what is read, only what comes out is moved
            moved = 2 * sum(result.type.bytes for result in operation.results)
            return (replace(shared, kind="movement", moved_bytes=moved),)
        if family == "product":
            return self._product(operation, work, inputs, shared)
        return (shared,)

    def _product(
        self, operation: Operation, work: Work, inputs: list[Tensor], shared: Layer
    ) -> tuple[Layer, ...]:
        fresh, reused = self._weights(operation)
        product = replace(
            shared,
            kind="product",
            flops=work.flops,
            is_int8=self._is_int8(operation, inputs),
            is_runtime=len(inputs) > 1,
            is_winograd=_is_winograd(operation),
            is_stalled=bool(fresh) and self._is_stalled(operation),
            weight_bytes=fresh,
            reused_bytes=reused,
            operand_bytes=sum(tensor.type.bytes for tensor in inputs[1:]),
            # The engine cuts the first operand of two into blocks, and streams the second one past each.
            largest_bytes=inputs[0].type.bytes if len(inputs) > 1 else shared.largest_bytes,
        )
        if operation.op != "scaled_dot_product_attention":
            return (product,)
        key = operation.arguments["key"]
        assert isinstance(key, Tensor)
        scores = inputs[0].type.elements // inputs[0].shape[-1] * key.shape[-2]
        softmax = replace(
            shared,
            elements=scores,
            passes=_PASSES,
            largest_bytes=max(shared.largest_bytes, 2 * scores),
            moved_bytes=4 * scores,
        )
        return product, softmax

    def _weights(self, operation: Operation) -> tuple[int, int]:
        """Return the bytes of constants that nothing has read before, and of the others."""
        fresh = reused = 0
        for _, tensor in operation.operands():
            size = self._stored.get(tensor, 0)
            if size and tensor.rank and tensor.dtype in ("fp16", "fp32"):  # no parameter, such as strides
                origin = self._origins.get(tensor, tensor)
                fresh, reused = (fresh, reused + size) if origin in self._read else (fresh + size, reused)
                self._read.add(origin)
        return fresh, reused

    def _is_activation(self, tensor: Tensor) -> bool:
        return tensor.constant is None and tensor not in self._stored

    def _is_fused(self, operation: Operation, family: str) -> bool:
        """Tell whether an operation of one activation is done on the way out of the product before it."""
        inputs = [tensor for _, tensor in operation.operands() if self._is_activation(tensor)]
        if family != "elementwise" or len(inputs) != 1 or self._readers[inputs[0]] != 1:
            return False
        maker = self._makers.get(inputs[0])
        return maker is not None and maker.op in ("conv", "linear")

    def _is_int8(self, operation: Operation, inputs: list[Tensor]) -> bool:
        """Tell whether a product has activations and weights of 8 bits, or fewer."""
        maker = self._makers.get(inputs[0])
        weight = operation.arguments.get("weight")
        if maker is None or maker.op != "dequantize" or not isinstance(weight, Tensor):
            return False
        source = self._makers.get(weight)
        return source is not None and source.op.startswith("constexpr_") and source.op != "constexpr_cast"

    def _is_stalled(self, operation: Operation) -> bool:
        """Tell whether the transfer of fp16 weights stalls."""
        weight = operation.arguments.get("weight", operation.arguments.get("y"))
        if not isinstance(weight, Tensor) or weight not in self._stored or weight.rank < 2:
            return False
        if self._stored[weight] * 8 != weight.type.elements * dtype_bits("fp16"):
            return False
        shape = weight.shape if "weight" in operation.arguments else weight.shape[::-1]
        return stalls(shape)


def _is_winograd(operation: Operation) -> bool:
    """Tell whether a convolution is one that Winograd's transform takes: 3 wide, of stride 1, not dilated."""
    weight = operation.arguments.get("weight")
    if operation.op != "conv" or not isinstance(weight, Tensor) or weight.shape[-1] != 3:
        return False
    steps = (operation.arguments.get(name) for name in ("strides", "dilations"))
    return all(not isinstance(step, mil.Tensor) or bool(np.all(step.constant == 1)) for step in steps)
