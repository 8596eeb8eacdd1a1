"""Which activations a program moves from and to memory, and whole networks as programs."""

import math

import numpy as np
import pytest

from aneperf import mil
from aneperf.chips.cost import BLOCK, Layer
from aneperf.chips.networks import NETWORKS, call_of
from aneperf.prediction.layers import layers_of
from support.networks import network

SIDE = 128  # [1, 64, SIDE, SIDE] has 2 MiB in fp16


def layers(program: mil.Program) -> list[tuple[str, Layer]]:
    return [(one.op, found[0]) for one, _, found in layers_of(mil.parse(program.text))]


def conv(x: mil.Tensor, outputs: int, kernel: int = 1, groups: int = 1) -> mil.Tensor:
    weight = np.ones((outputs, x.shape[1] // groups, kernel, kernel), np.float16)
    return mil.conv(x, weight, pad_type="same", groups=groups)


def test_chained_products_keep_their_activations_on_the_chip() -> None:
    b = mil.Builder()
    x = b.input("x", (1, 64, SIDE, SIDE))
    b.output("y", conv(mil.relu(conv(conv(x, 64), 64)), 64))
    found = [
        (one.read_bytes, one.written_bytes, one.port_bytes) for op, one in layers(b.build()) if op == "conv"
    ]
    assert found == [(BLOCK, 0, BLOCK), (0, 0, 0), (0, BLOCK, BLOCK)]


def test_products_read_once_for_each_group_of_channels() -> None:
    b = mil.Builder()
    x = b.input("x", (1, 512, 64, 64))
    y = conv(x, 512)
    b.output("a", y)
    b.output("b", conv(y, 512, 3))
    (_, first), (_, second) = layers(b.build())
    assert (first.reads, second.reads) == (2, 16)
    assert first.written_bytes == 4 << 20  # an output reads it too


def test_products_of_two_inputs_read_the_first_once_for_each_group_of_columns() -> None:
    b = mil.Builder()
    x, y = b.input("a", (1, 1, 2048, 5376)), b.input("b", (1, 1, 5376, 4096))
    b.output("c", mil.matmul(x, y))
    ((_, product),) = layers(b.build())
    assert (product.reads, product.read_bytes) == (64, 2 * 2048 * 5376)
    assert product.operand_bytes == 2 * 5376 * 4096


@pytest.mark.parametrize(("channels", "groups", "winograd"), [(64, 64, False), (64, 4, True), (64, 1, True)])
def test_groups_of_convolutions(channels: int, groups: int, winograd: bool) -> None:
    b = mil.Builder()
    b.output("y", conv(b.input("x", (1, channels, 8, 8)), channels, 3, groups))
    ((_, layer),) = layers(b.build())
    assert layer.group_channels == (channels // groups if groups > 1 else 0)
    assert layer.is_winograd == winograd
    assert layer.outputs == channels * 64


def test_large_joins_between_operations_move_data_and_those_at_ports_do_not() -> None:
    def joined(side: int, *, read_on: bool, parts: int = 2) -> tuple[Layer, float]:
        b = mil.Builder()
        x = b.input("x", (1, 32, side, side))
        y = mil.concat([x, *(conv(x, 32) for _ in range(parts))], axis=1)
        b.output("y", mil.relu(y) if read_on else y)
        found = layers(b.build())
        (layer,) = [one for op, one in found if op == "concat"]
        return layer, sum(one.port_bytes for op, one in found if op == "conv")

    layer, ports = joined(SIDE, read_on=True)
    assert (layer.kind, layer.read_bytes + layer.written_bytes) == ("movement", 3 * BLOCK)
    assert ports == BLOCK  # each of two reads the input
    assert joined(SIDE // 2, read_on=True)[0].kind == "free"
    layer, ports = joined(SIDE, read_on=False)
    assert (layer.kind, layer.read_bytes) == ("movement", BLOCK // 2)  # the part that is an input
    assert ports == 2 * BLOCK  # each of two writes its part


def test_slices_of_large_inputs_are_read_where_they_lie() -> None:
    b = mil.Builder()
    x = b.input("x", (1, 64, SIDE, SIDE))
    y = mil.slice_by_size(x, begin=(0, 0, 0, 0), size=(1, 32, SIDE, SIDE))
    b.output("y", conv(y, 32))
    assert [one.kind for op, one in layers(b.build()) if op == "slice_by_size"] == ["free"]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_the_same_work_as_programs(name: str) -> None:
    steps = NETWORKS[name]()
    program = network(steps)
    found = [one for _, one in layers(program) if one.kind != "free"]
    expected = call_of(steps)
    for one, other in zip(found, expected.layers, strict=True):
        for field in (
            "kind",
            "flops",
            "weight_bytes",
            "group_channels",
            "outputs",
            "positions",
            "port_bytes",
            "is_winograd",
            "elements",
        ):
            assert getattr(one, field) == getattr(other, field), (field, one, other)
        assert math.isclose(one.largest_bytes, other.largest_bytes)


def halves(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float16)


def test_a_product_reads_its_only_input_once_for_each_group_whichever_comes_first() -> None:
    first, second = mil.Builder(), mil.Builder()
    first.output("y", mil.matmul(halves(64, 512), first.input("x", (512, 4096))))
    second.output("y", mil.matmul(second.input("x", (4096, 512)), halves(512, 64)))
    programs = first.build(), second.build()
    ((_, one),), ((_, other),) = map(layers, programs)
    assert one == other
    assert (one.reads, one.weight_bytes, one.operand_bytes) == (1, 2 * 64 * 512, 0)
    assert one.port_bytes == 2 * (512 + 64) * 4096
    assert one.positions == 4096


@pytest.mark.parametrize(
    ("shape", "positions"), [((512, 64), 768), ((1, 1, 512, 64), 768), ((1, 12, 512, 64), 64)]
)
def test_positions_are_those_of_one_matrix_of_weights(shape: tuple[int, ...], positions: int) -> None:
    b = mil.Builder()
    b.output("y", mil.matmul(b.input("x", (8, 12, 8, 512)), halves(*shape)))
    ((_, layer),) = layers(b.build())
    assert layer.positions == positions


def test_the_second_of_two_inputs_is_a_port_where_others_read_it() -> None:
    b = mil.Builder()
    x, y = b.input("a", (8, 512)), b.input("b", (512, 64))
    b.output("c", mil.matmul(x, y))
    b.output("d", mil.relu(y))
    (_, product), (_, relu) = layers(b.build())
    assert (product.port_bytes, product.operand_bytes) == (2 * (8 * 512 + 8 * 64), 2 * 512 * 64)
    assert relu.port_bytes == 2 * 2 * 512 * 64


def test_what_no_operation_computes_is_moved_however_large() -> None:
    b = mil.Builder()
    b.output("y", mil.reshape(b.input("x", (1, 64, SIDE, SIDE)), (1, SIDE, SIDE, 64)))
    ((_, moved),) = layers(b.build())
    assert (moved.kind, moved.read_bytes, moved.written_bytes) == ("movement", BLOCK, BLOCK)
    c = mil.Builder()
    c.output("y", mil.reshape(mil.relu(c.input("x", (1, 64, SIDE, SIDE))), (1, SIDE, SIDE, 64)))
    (_, relu), (_, free) = layers(c.build())
    assert (relu.port_bytes, free.kind) == (2 * BLOCK, "free")


def test_transposed_convolutions_read_once_for_each_group_of_channels() -> None:
    b = mil.Builder()
    b.output("y", mil.conv_transpose(b.input("x", (1, 512, 64, 64)), halves(512, 256, 3, 3)))
    ((_, layer),) = layers(b.build())
    assert layer.reads == 8  # 256 channels, of which 16 cores compute 2 each


def test_long_and_branching_chains_of_what_costs_nothing() -> None:
    b = mil.Builder()
    y = conv(b.input("x", (1, 64, SIDE, SIDE)), 64)
    for _ in range(40):  # 2^40 ways from one convolution to the other
        y = mil.concat([mil.slice_by_size(y, (0, start, 0, 0), (1, 32, SIDE, SIDE)) for start in (0, 32)], 1)
    for i in range(600):  # deeper than a recursion of two calls each
        y = mil.reshape(y, (1, 64, SIDE * SIDE, 1) if i % 2 == 0 else (1, 64, SIDE, SIDE))
    b.output("y", conv(y, 64))
    (_, first), *_, (_, last) = layers(b.build())
    assert (first.read_bytes, first.written_bytes) == (BLOCK, 0)
    assert (last.read_bytes, last.written_bytes) == (0, BLOCK)
