"""The model of times, against sums by hand."""

import math

import pytest

from aneperf.chips import CHIPS, find_chip, shipped_figures
from aneperf.chips.cost import PARAMETERS, Call, Layer, Traits, reads_of, time_call, time_layer, traits_of
from aneperf.chips.networks import NETWORKS, call_of
from aneperf.chips.parameters import parameters_of, shares_of
from aneperf.chips.workloads import stack, target_of

VALUES = dict(
    zip(
        PARAMETERS,
        # call, wake, port, layer, compute, int8, fill, grouped, weights, stall, operand, memory, outputs,
        # pointwise, passes, call, port and ports by Core ML, call and ports by e5rt
        map(float, (0.1, 0.05, 8, 2, 10, 2, 32, 0.05, 100, 0.5, 40, 60, 80, 50, 4, 1, 20, 50, 1, 1)),
        strict=True,
    )
)
ONE, TWO = Traits("h16", 1), Traits("h18g", 2)


def ms(layer: Layer, traits: Traits = ONE) -> tuple[str, float]:
    """Return what bounds a layer and its time, without the fixed part, which is checked."""
    slowest, fixed = time_layer(layer, VALUES, traits)
    assert (fixed.bound, fixed.ms) == ("dispatch", pytest.approx(0.002 * layer.count))
    return slowest.bound, slowest.ms


@pytest.mark.parametrize(
    ("layer", "bound", "expected"),
    [
        (Layer("product", flops=1e10), "compute", 1.0),  # at 10 TFLOPS
        (Layer("product", flops=1e10, is_int8=True), "compute", 0.5),
        (Layer("product", flops=1e9, group_channels=1), "compute", 2.0),  # at a 20th of the rate
        (Layer("product", flops=1e9, group_channels=4), "compute", 0.5),
        (Layer("product", flops=1e9, group_channels=32), "compute", 0.1),
        (Layer("product", flops=1e9, outputs=1.6e7), "compute", 0.2),  # at 80 10^9 results a second
        (Layer("product", flops=1e9, weight_bytes=1e8), "weights", 1.0),  # at 100 GB/s
        (Layer("product", flops=1e9, weight_bytes=1e8, is_stalled=True), "weights", 2.0),
        (Layer("product", flops=1e9, positions=16), "compute", 0.2),  # half full
        (Layer("product", flops=1e9, positions=32), "compute", 0.1),
        (Layer("product", flops=1e9, reused_bytes=1 << 20), "compute", 0.1),  # held by 16 cores of 64 KiB
        (Layer("product", flops=1e9, reused_bytes=1e8), "weights", 1.0),
        (Layer("product", flops=1e9, port_bytes=3e7), "activations", 0.5),  # at 60 GB/s, of any size
        (Layer("product", port_bytes=3e7, read_bytes=3e7, reads=2, largest_bytes=3e7), "activations", 1.0),
        (Layer("product", operand_bytes=4e6, largest_bytes=1e6), "activations", 0.1),  # at 40 GB/s
        (Layer("product", operand_bytes=4e6, largest_bytes=5 << 20), "activations", 0.1),
        (Layer("product", flops=1e9, read_bytes=6e6, largest_bytes=(2 << 20) - 1), "compute", 0.1),
        (Layer("product", flops=1e9, read_bytes=6e6, reads=4, largest_bytes=6e6), "activations", 0.4),
        (Layer("product", flops=1e9, written_bytes=3.6e7, largest_bytes=6e6), "activations", 0.2),
        (Layer("pointwise", elements=5e7), "compute", 1.0),
        (Layer("pointwise", elements=5e7, is_normalizing=True), "compute", 4.0),
        (Layer("pointwise", elements=1e6, read_bytes=6e7, largest_bytes=3 << 20), "activations", 1.0),
        (
            Layer("pointwise", elements=1e6, is_normalizing=True, read_bytes=6e6, largest_bytes=6e6),
            "activations",
            0.4,
        ),
        (Layer("movement", read_bytes=3e6, written_bytes=1e6), "activations", 0.1),
        (Layer("product", flops=1e10, count=3), "compute", 3.0),
    ],
)
def test_time_of_a_layer(layer: Layer, bound: str, expected: float) -> None:
    assert ms(layer) == (bound, pytest.approx(expected))


def test_winograd_needs_an_engine_that_has_it() -> None:
    layer = Layer("product", flops=3e10, is_winograd=True)
    assert ms(layer) == ("compute", pytest.approx(3.0))
    assert ms(layer, Traits("h17", 1)) == ("compute", pytest.approx(2.0))


def test_winograd_reads_activations_half_as_often() -> None:
    layer = Layer("product", is_winograd=True, read_bytes=6e6, reads=8, largest_bytes=6e6)
    assert ms(layer) == ("activations", pytest.approx(0.8))
    assert ms(layer, Traits("h17", 1)) == ("activations", pytest.approx(0.4))


@pytest.mark.parametrize(
    ("outputs", "weight_bytes", "is_window", "expected"),
    [
        (256, 2 * 64, False, 1),  # 16 of each core at once
        (257, 2 * 64, False, 2),
        (1024, 2 * 2048, False, 4),  # 16 fit exactly
        (4096, 2 * 4096, False, 32),  # 8
        (6144, 2 * 6144, False, 96),  # 5 fit, 4 are a power of two
        (1024, 2 * 9 * 1024, True, 64),  # one in half of the buffer
        (1024, 9 * 1024, True, 32),
        (16, 1 << 20, False, 1),  # not even one fits
    ],
)
def test_groups_of_output_channels(outputs: int, weight_bytes: float, is_window: bool, expected: int) -> None:
    assert reads_of(outputs, weight_bytes, is_window=is_window) == expected


@pytest.mark.parametrize(
    ("name", "products", "weights"), [("resnet50", 4.09e9, 25.5e6), ("mobilenetv2", 0.301e9, 3.49e6)]
)
def test_networks_have_their_published_size(name: str, products: float, weights: float) -> None:
    layers = [one for one in call_of(NETWORKS[name]()).layers if one.kind == "product"]
    assert sum(one.flops for one in layers) == pytest.approx(2 * products, rel=0.01)
    assert sum(one.weight_bytes for one in layers) == pytest.approx(2 * weights, rel=0.01)


def test_no_weights_stall_from_m5_on() -> None:
    layer = Layer("product", weight_bytes=1e8, is_stalled=True)
    assert ms(layer, Traits("h17", 1)) == ("weights", pytest.approx(1.0))


def test_two_engines_share_large_activations_and_no_bandwidth() -> None:
    assert ms(Layer("product", flops=1e10, largest_bytes=1 << 18), TWO) == ("compute", pytest.approx(0.5))
    assert ms(Layer("product", flops=1e10, largest_bytes=1 << 17), TWO) == ("compute", pytest.approx(1.0))
    for size, expected in ((1 << 17, 1.0), (1 << 20, 2.0)):  # each engine of two reads all weights
        layer = Layer("product", weight_bytes=1e8, largest_bytes=size)
        assert ms(layer, TWO) == ("weights", pytest.approx(expected))
    assert ms(Layer("product", flops=1e9, positions=32, largest_bytes=1 << 20), TWO)[1] == pytest.approx(0.1)
    assert traits_of(find_chip("M6")).engines == 2
    assert traits_of(find_chip("M3 Ultra")).engines == 1


def test_time_of_a_call_adds_dispatch_and_ports() -> None:
    def total(**changed: object) -> float:
        call = Call((Layer("product", flops=1e10),), **changed)  # type: ignore[arg-type]
        return sum(term.ms for term in time_call(call, VALUES, ONE))

    assert total() == pytest.approx(0.1 + 0.05 + 1.0 + 0.002)
    assert total(port_bytes=5e6) == total()
    assert total(ports=5) == pytest.approx(total() + 3 * 0.008)
    assert total(tool_ms=0.3) == pytest.approx(total() + 0.3)
    assert total(part="task") == pytest.approx(1.002)
    assert total(route="coreml", port_bytes=5e6) == pytest.approx(1.0 + 0.1 + 0.195 + 1.002)
    assert total(route="coreml", ports=5) == pytest.approx(1.0 + 3 * 0.02 + 0.195 + 1.002)
    assert total(route="e5rt", port_bytes=5e6, ports=5) == pytest.approx(1.0 + 5.0 + 1.002)


def test_a_call_wakes_up_later_after_longer_tasks() -> None:
    def host(task: float) -> float:
        call = Call((Layer("product", flops=task * 1e10),))
        return sum(term.ms for term in time_call(call, VALUES, ONE) if term.bound == "host")

    assert host(0.09) == 0
    assert 0 < host(0.12) < host(0.18) < host(0.21)
    assert host(0.21) == host(5.0) == pytest.approx(0.05)


def test_shares_are_the_slopes_of_the_logarithm() -> None:
    call = Call((Layer("product", flops=1e10), Layer("product", weight_bytes=3e8)), port_bytes=5e6)
    terms = time_call(call, VALUES, ONE)
    total = sum(term.ms for term in terms)
    shares = shares_of(terms)
    for name in PARAMETERS:
        changed = {**VALUES, name: VALUES[name] * 1.0001}
        slope = math.log(sum(term.ms for term in time_call(call, changed, ONE)) / total) / math.log(1.0001)
        assert shares.get(name, 0.0) == pytest.approx(slope, abs=1e-4)


def test_core_ml_wakes_up_later_after_longer_tasks() -> None:
    def host(task: float, engines: int = 2) -> float:
        call = Call((Layer("product", flops=task * engines * 1e10),), route="coreml", engines=engines)
        return sum(term.ms for term in time_call(call, VALUES, ONE) if term.bound == "host")

    assert host(0.2) == 0
    assert 0 < host(0.3) < host(0.39) < host(0.5)
    assert host(0.5) == host(5.0) == pytest.approx(0.195)
    assert host(0.29, engines=1) == 0
    assert 0 < host(0.39, engines=1) < host(0.39)


def test_every_chip_has_parameters_and_those_without_figures_are_less_sure() -> None:
    for chip in CHIPS:
        assert set(parameters_of(chip).values) == set(PARAMETERS)
    known, inherited = parameters_of("M4 Max"), parameters_of("A17 Pro")
    assert inherited.is_inherited
    assert not known.is_inherited
    for name in ("call", "weights", "compute"):
        assert inherited.deviations[name] > known.deviations[name]


def test_a_target_is_what_its_key_says() -> None:
    figure = next(
        one for one in shipped_figures() if one.key == "sram/conv4096x1/sp64/fp32-ports" and one.value
    )
    target = target_of(figure)
    assert target is not None
    (layer,) = target.call.layers
    assert layer.flops == 2 * 4096 * 4096 * 64
    assert layer.weight_bytes == 2 * 4096 * 4096
    assert layer.is_stalled
    assert layer.port_bytes == 2 * 4 * 4096 * 64
    assert target.ms == figure.value


def test_a_stack_reads_its_input_and_writes_its_output_where_they_lie() -> None:
    layer = Layer("product", flops=1.0, weight_bytes=2.0)
    assert [one.port_bytes for one in stack(layer, 1, shared=False, port_bytes=6.0)] == [12.0]
    ends = stack(layer, 4, shared=True, port_bytes=6.0)
    assert [(one.count, one.port_bytes) for one in ends] == [(1, 6.0), (2, 0.0), (1, 6.0)]
    assert [(one.weight_bytes, one.reused_bytes) for one in ends] == [(2.0, 0.0), (0.0, 2.0), (0.0, 2.0)]


def test_sums_have_a_port_for_each_input() -> None:
    figure = next(one for one in shipped_figures() if one.key.startswith("coreml/sum8/"))
    target = target_of(figure)
    assert target is not None
    assert target.call.ports == 9
    assert target.call.port_bytes == 9 * (2 << 20)
    assert [one.kind for one in target.call.layers].count("pointwise") == 7
