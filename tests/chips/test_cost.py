"""The model of times, against sums by hand."""

import math

import pytest

from aneperf.chips import CHIPS, find_chip, shipped_figures
from aneperf.chips.cost import PARAMETERS, Call, Layer, Traits, reads_of, time_call, time_layer, traits_of
from aneperf.chips.networks import NETWORKS, call_of
from aneperf.chips.parameters import parameters_of, shares_of
from aneperf.chips.workloads import port_bytes, target_of

VALUES = dict(
    zip(
        PARAMETERS,
        # call, ports, layer, compute, int8, grouped, weights, stall, operand, memory, outputs, pointwise
        (0.1, 50.0, 2.0, 10.0, 2.0, 0.05, 100.0, 0.5, 40.0, 60.0, 80.0, 50.0) + (1.0,) * 4,
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
        (Layer("product", reused_bytes=2.2e7), "weights", 0.1),  # at 22 GB/s for each of 10 TFLOPS
        (Layer("product", operand_bytes=4e6, largest_bytes=1e6), "activations", 0.1),  # at 40 GB/s
        (Layer("product", operand_bytes=4e6, largest_bytes=5 << 20), "activations", 0.1),
        (Layer("product", flops=1e9, read_bytes=6e6, largest_bytes=(2 << 20) - 1), "compute", 0.1),
        (Layer("product", flops=1e9, read_bytes=6e6, reads=4, largest_bytes=6e6), "activations", 0.4),
        (Layer("product", flops=1e9, written_bytes=3.6e7, largest_bytes=6e6), "activations", 0.2),
        (Layer("pointwise", elements=5e7), "compute", 1.0),
        (Layer("pointwise", elements=5e7, passes=4), "compute", 4.0),
        (Layer("pointwise", elements=1e6, read_bytes=6e7, largest_bytes=3 << 20), "activations", 1.0),
        (
            Layer("pointwise", elements=1e6, passes=2, read_bytes=6e6, largest_bytes=6e6),
            "activations",
            0.2,
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


def test_two_engines_share_large_activations_and_no_bandwidth() -> None:
    assert ms(Layer("product", flops=1e10, largest_bytes=1 << 18), TWO) == ("compute", pytest.approx(0.5))
    assert ms(Layer("product", flops=1e10, largest_bytes=1 << 17), TWO) == ("compute", pytest.approx(1.0))
    assert ms(Layer("product", weight_bytes=1e8, largest_bytes=1 << 20), TWO) == (
        "weights",
        pytest.approx(1.0),
    )
    assert traits_of(find_chip("M6")).engines == 2
    assert traits_of(find_chip("M3 Ultra")).engines == 1


def test_time_of_a_call_adds_dispatch_and_ports() -> None:
    call = Call((Layer("product", flops=1e10),), port_bytes=5e6)
    assert sum(term.ms for term in time_call(call, VALUES, ONE)) == pytest.approx(0.1 + 0.1 + 1.0 + 0.002)
    profiled = Call(call.layers, call.port_bytes, tool_ms=0.3)
    assert sum(term.ms for term in time_call(profiled, VALUES, ONE)) == pytest.approx(1.502)
    task = Call(call.layers, call.port_bytes, part="task")
    assert sum(term.ms for term in time_call(task, VALUES, ONE)) == pytest.approx(1.002)


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
    def host(task: float) -> float:
        call = Call((Layer("product", flops=task * 1e10),), route="coreml")
        return sum(term.ms for term in time_call(call, VALUES, ONE) if term.bound == "host")

    assert host(0.2) == 0
    assert 0 < host(0.3) < host(0.39) < host(0.5)
    assert host(0.5) == host(5.0) == pytest.approx(0.195)


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
    assert target.call.port_bytes == 2 * 4 * 4096 * 64
    assert target.ms == figure.value


def test_large_ports_are_left_to_the_operations_on_the_private_route_alone() -> None:
    assert port_bytes(1 << 20, 2 << 20) == 1 << 20
    assert port_bytes(1 << 20, 2 << 20, route="coreml") == 3 << 20
