"""Describe the operations of a program as work on an engine, in the terms of `aneperf.chips.cost`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable
from dataclasses import replace

import numpy as np

from .. import mil
from ..chips.cost import BLOCK, Layer, reads_of
from ..mil.call import OPERATIONS
from ..mil.graph import Graph, Operation, Tensor
from ..mil.types import dtype_bits
from ..mil.work import Work, stored_constants, work_of
from ..stalls import stalls

# Operations on shapes alone, or that only change as what another operation reads or writes.
_SHAPES = {"reshape", "expand_dims", "squeeze", "flatten2d", "cast", "quantize", "dequantize"}
# Operations that only change where another one reads or writes, on the chip or at the ports.
_PLACES = {"slice_by_size", "slice_by_index", "split", "concat", "crop", "stack"}
_FREE = _SHAPES | _PLACES
_NORMALIZING = {"softmax", "layer_norm", "instance_norm", "l2_norm", "local_response_norm"}
_FREE_LAYER = Layer("free")
SPARSE = "constexpr_sparse_to_dense"
_CONVOLUTIONS = ("conv", "conv_transpose")
# Weights in 4 or 8 bits that a scale makes fp16, in which the products can be of integers. Tables hold fp16.
_SCALED = ("constexpr_affine_dequantize", "constexpr_blockwise_shift_scale")


def layers_of(graph: Graph) -> list[tuple[Operation, Work, tuple[Layer, ...]]]:
    """Return each operation that the engine computes, with its work."""
    return _Program(graph).layers()


class _Program:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._stored = stored_constants(graph)
        self._work = work_of(graph)
        self._readers = Counter(
            tensor for operation in self._work for tensor in {tensor for _, tensor in operation.operands()}
        )
        self._readers.update(graph.outputs)
        self._reading: dict[Tensor, list[Operation]] = {}
        for operation in self._work:
            for tensor in {tensor for _, tensor in operation.operands()}:
                self._reading.setdefault(tensor, []).append(operation)
        self._makers = {result: operation for operation in self._work for result in operation.results}
        self._written_as = self._written_results()
        self._origins: dict[Tensor, Hashable] = {**graph.blobs}
        self._read: set[Hashable] = set()  # weights that an earlier operation has read
        self._sources = self._find_sources()
        self._for_products = self._find_for_products()

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
        family = _family(operation)
        moved = self._moved_bytes(operation)
        if self._is_passed(operation) and not moved:
            return (_FREE_LAYER,)
        inputs = [tensor for _, tensor in operation.operands() if self._is_activation(tensor)]
        results = operation.results
        activations = [*inputs, *results]
        shared = Layer(
            "pointwise",
            largest_bytes=max(tensor.type.bytes for tensor in activations),
            read_bytes=sum(tensor.type.bytes for tensor in inputs),
            written_bytes=sum(result.type.bytes for result in results),
            port_bytes=sum(map(self._port_bytes_read, inputs)) + sum(map(self._port_bytes_written, results)),
            elements=work.flops,
            is_normalizing=operation.op in _NORMALIZING,
        )
        if family == "movement" or moved:  # of what is read, only what comes out is moved
            size = moved or shared.written_bytes
            return (replace(shared, kind="movement", read_bytes=size, written_bytes=size),)
        if family == "product":
            return self._product(operation, work, inputs, shared)
        return (shared,)

    def _product(
        self, operation: Operation, work: Work, inputs: list[Tensor], shared: Layer
    ) -> tuple[Layer, ...]:
        fresh, reused = self._weights(operation)
        largest = inputs[0].type.bytes if len(inputs) > 1 else shared.largest_bytes
        product = replace(
            shared,
            kind="product",
            flops=work.flops,
            positions=self._positions(operation),
            outputs=float(operation.results[0].type.elements) if operation.op == "conv" else 0.0,
            group_channels=_group_channels(operation),
            is_int8=self._is_int8(operation, inputs),
            is_winograd=_is_winograd(operation) and self._storage(operation) != SPARSE,
            is_stalled=bool(fresh) and self._is_stalled(operation),
            weight_bytes=fresh,
            reused_bytes=reused,
            operand_bytes=sum(tensor.type.bytes for tensor in inputs[1:]),
            port_bytes=shared.port_bytes - sum(map(self._port_bytes_read, inputs[1:])),
            read_bytes=0 if self._is_from_product(inputs[0]) else inputs[0].type.bytes,
            reads=self._reads(operation, work),
            written_bytes=sum(one.type.bytes for one in operation.results if one not in self._for_products),
            largest_bytes=largest,
        )
        if operation.op != "scaled_dot_product_attention":
            return (product,)
        key = operation.arguments["key"]
        assert isinstance(key, Tensor)
        scores = inputs[0].type.elements // inputs[0].shape[-1] * key.shape[-2]
        softmax = replace(
            shared,
            elements=scores,
            port_bytes=0.0,
            is_normalizing=True,
            largest_bytes=max(shared.largest_bytes, 2 * scores),
            read_bytes=2 * scores,
            written_bytes=2 * scores,
        )
        return product, softmax

    def _is_from_product(self, tensor: Tensor) -> bool:
        """Tell whether a product hands a tensor on, which then stays away from memory.

        The compiler cuts a chain of products into blocks, and computes all of it for each block in turn.
        """
        maker = self._maker(tensor)
        return maker is not None and _is_product(maker)

    def _reads(self, operation: Operation, work: Work) -> int:
        """Return how often a product reads its activation."""
        weight = self._weight(operation)
        if weight is None or _group_channels(operation):
            return 1
        is_window = operation.op in _CONVOLUTIONS and any(size > 1 for size in weight.shape[2:])
        bytes_each = self._stored.get(weight, weight.type.bytes) / weight.type.elements
        result = operation.results[0].type
        inner_bytes = bytes_each * work.flops / (2 * result.elements)
        return reads_of(self._outputs(operation), inner_bytes, is_window=is_window)

    def _weight(self, operation: Operation) -> Tensor | None:
        """Return the constant of a product, or else the second of its inputs."""
        x = operation.arguments.get("x")
        is_first = operation.op == "matmul" and isinstance(x, Tensor) and not self._is_activation(x)
        found = x if is_first else operation.arguments.get("y" if operation.op == "matmul" else "weight")
        return found if isinstance(found, Tensor) else None

    def _outputs(self, operation: Operation) -> int:
        """Return the size of the axis of a product's result that its weight makes."""
        shape = operation.results[0].shape
        if operation.op in _CONVOLUTIONS:
            return shape[1]
        return shape[-2 if self._weight(operation) is operation.arguments.get("x") else -1]

    def _maker(self, tensor: Tensor) -> Operation | None:
        """Return the operation whose work makes a tensor; None for an input of the program."""
        return self._makers.get(self._source(tensor))

    def _source(self, tensor: Tensor) -> Tensor:
        """Return the result of an operation, or the input, that reaches a tensor at no cost."""
        return self._sources.get(tensor, tensor)

    def _written_results(self) -> dict[Tensor, Tensor]:
        """Return the output that each result reaches at no cost: where it lies, the result is written."""
        found = {output: output for output in self._graph.outputs}
        for operation in reversed(self._work):
            outputs = [found[result] for result in operation.results if result in found]
            if outputs and self._is_passed(operation):
                for _, tensor in operation.operands():
                    found.setdefault(tensor, outputs[0])
        return found

    def _port_bytes_read(self, tensor: Tensor) -> float:
        """Return the bytes of a tensor if it is read where an input lies."""
        source = self._source(tensor)
        return 0.0 if source in self._makers else _bytes_as(tensor, source)

    def _port_bytes_written(self, result: Tensor) -> float:
        """Return the bytes of a result if it is written where an output lies."""
        return _bytes_as(result, self._written_as[result]) if result in self._written_as else 0.0

    def _positions(self, operation: Operation) -> float:
        """Return how many positions, or rows, a product applies one set of weights to."""
        result, weight = operation.results[0].type, self._weight(operation)
        by_set = result.shape if weight is None else weight.shape  # one for each matrix of these
        sets = 1 if operation.op in _CONVOLUTIONS else math.prod(by_set[:-2])
        return result.elements / self._outputs(operation) / sets

    def _find_sources(self) -> dict[Tensor, Tensor]:
        """Return what operations that cost nothing pass on, by their results."""
        found: dict[Tensor, Tensor] = {}
        for operation in filter(self._is_passed, self._work):
            first = next((tensor for _, tensor in operation.operands() if self._is_activation(tensor)), None)
            if first is not None:
                found.update((result, found.get(first, first)) for result in operation.results)
        return found

    def _find_for_products(self) -> set[Tensor]:
        """Return the tensors that products alone read, directly or by what costs nothing."""
        found, outputs = set[Tensor](), set(self._graph.outputs)
        for operation in reversed(self._work):  # readers before what they read
            for result in operation.results:
                readers = self._reading.get(result, [])
                handed_on = all(
                    _is_product(one) or (self._is_passed(one) and found.issuperset(one.results))
                    for one in readers
                )
                if readers and handed_on and result not in outputs:
                    found.add(result)
        return found

    def _is_passed(self, operation: Operation) -> bool:
        """Tell whether an operation costs nothing of its own."""
        return operation.op in _FREE or self._is_fused(operation)

    def _moved_bytes(self, operation: Operation) -> float:
        """Return the bytes that an operation of no work moves.

        At an output, these are the parts that no operation writes there, as they are inputs. Within the
        program, slices and joins move what is too large for the chip.
        """
        if operation.op not in _FREE:
            return 0.0
        inputs = [tensor for _, tensor in operation.operands() if self._is_activation(tensor)]
        result = sum(one.type.bytes for one in operation.results)
        if any(one in self._graph.outputs for one in operation.results):
            return min(result, sum(one.type.bytes for one in inputs if self._maker(one) is None))
        is_large = max(result, *(one.type.bytes for one in inputs)) >= BLOCK
        is_read = all(self._maker(one) is None for one in inputs)
        return result if operation.op in _PLACES and is_large and not is_read else 0.0

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

    def _is_fused(self, operation: Operation) -> bool:
        """Tell whether an operation of one activation is done on the way out of the product before it."""
        inputs = [tensor for _, tensor in operation.operands() if self._is_activation(tensor)]
        if _family(operation) != "elementwise" or len(inputs) != 1 or self._readers[inputs[0]] != 1:
            return False
        maker = self._makers.get(inputs[0])
        return maker is not None and maker.op in ("conv", "linear")

    def _is_int8(self, operation: Operation, inputs: list[Tensor]) -> bool:
        """Tell whether a product has activations and weights of 8 bits, or fewer."""
        maker = self._makers.get(inputs[0])
        return maker is not None and maker.op == "dequantize" and self._storage(operation) in _SCALED

    def _storage(self, operation: Operation) -> str:
        """Return the operation that makes the weight of a product; empty if it is stored as it is."""
        weight = operation.arguments.get("weight")
        source = self._makers.get(weight) if isinstance(weight, Tensor) else None
        return "" if source is None else source.op

    def _is_stalled(self, operation: Operation) -> bool:
        """Tell whether the transfer of fp16 weights stalls."""
        weight = self._weight(operation)
        if weight is None or weight not in self._stored or weight.rank < 2:
            return False
        if self._stored[weight] * 8 != weight.type.elements * dtype_bits("fp16"):
            return False
        outputs = self._outputs(operation)
        return stalls((outputs, weight.type.elements // outputs))


def _bytes_as(tensor: Tensor, other: Tensor) -> float:
    """Return the bytes of a tensor in the data type of another."""
    return tensor.type.elements * other.type.bytes / other.type.elements


def _family(operation: Operation) -> str:
    return OPERATIONS[operation.op].family if operation.op in OPERATIONS else "elementwise"


def _is_product(operation: Operation) -> bool:
    return _family(operation) == "product"


def _group_channels(operation: Operation) -> int:
    """Return the input channels of each group of a convolution; 0 if it has one group."""
    groups, weight = operation.arguments.get("groups"), operation.arguments.get("weight")
    if operation.op != "conv" or not isinstance(groups, Tensor) or not isinstance(weight, Tensor):
        return 0
    is_grouped = not isinstance(groups.constant, str) and bool(np.any(np.asarray(groups.constant) > 1))
    return weight.shape[1] if is_grouped else 0


def _is_winograd(operation: Operation) -> bool:
    """Tell whether a convolution is one that Winograd's transform takes: 3 wide, of stride 1, not dilated."""
    weight = operation.arguments.get("weight")
    if operation.op != "conv" or not isinstance(weight, Tensor) or weight.shape[-1] != 3:
        return False
    if _group_channels(operation) == 1:
        return False
    steps = (operation.arguments.get(name) for name in ("strides", "dilations"))
    return all(not isinstance(step, mil.Tensor) or bool(np.all(step.constant == 1)) for step in steps)
