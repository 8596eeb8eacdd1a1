import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aneperf import sram
from aneperf.errors import ArgumentError, CompileError
from aneperf.kernels import ConvStack
from aneperf.probes.sram import COARSE, FINE
from aneperf.probes.sram_analysis import SramAnalysis, analyze_sram
from aneperf.results import Result, Row
from support.fakes import FakeDevice, fake_text, with_fake_kernels

NEIGHBORS = (960, 1088, 1984, 2112, 4032, 4160, 8128, 8256)
PUBLISHED = {  # apple_m4_max_20260304.json of dev-erik/ANE: ms by channels, at 64 positions
    256: 0.125, 512: 0.123, 1024: 0.188, 1536: 0.157, 2048: 0.195, 2560: 0.27, 3072: 0.318, 3584: 0.369,
    4096: 0.956, 4608: 0.525, 5120: 0.585, 6144: 0.767,
}  # fmt: skip


def row(channels: int, ms: float, width: int = 64, share: float = 0.01, **changes: Any) -> Row:
    fields: dict[str, Any] = {
        "key": f"sram/conv{channels}x1/sp{width}/fp32-ports",
        "status": "ok",
        "params": {"channels": channels, "width": width},
        "unit": "ms",
        "median": ms,
        "ci_low": ms * (1 - share),
        "ci_high": ms * (1 + share),
        "metrics": {"weights_mib": 2 * channels**2 / 2**20},
    }
    return Row(**{**fields, **changes})


def scan(
    time: Callable[[int, float], float] = lambda channels, mb: 0.1 + mb / 120,
    channels: tuple[int, ...] = (*(c for c, width in FINE if width == 64), 8192, *NEIGHBORS),
    noise: float = 0.01,
    seed: int = 0,
) -> list[Row]:
    random = np.random.default_rng(seed)
    return [
        row(
            count,
            time(count, 2 * count**2 / 2**20) * float(np.exp(noise * random.standard_normal())),
            share=2 * noise,
        )
        for count in channels
    ]


def analysis(rows: list[Row]) -> SramAnalysis:
    found = analyze_sram(rows)
    assert found is not None
    return found


def test_floor_and_bandwidth() -> None:
    found = analysis(scan())
    assert not found.floor_ms.excludes(0.1)
    assert not found.bandwidth_gb_s.excludes(120 * 2**20 / 1e6)
    assert found.bandwidth_gb_s.value == pytest.approx(125.8, rel=0.02)
    assert found.slow == ()
    assert found.tested == (1024, 2048, 4096, 8192)
    assert found.cliff is None
    text = " ".join(found.lines())
    assert "No cliff found: one line explains 21 sizes up to 130.0 MiB." in text
    assert "No slow size at 1024, 2048, 4096, 8192 channels." in text


def test_a_slow_size_is_no_cliff() -> None:
    slow = {4096: 2.2, 8192: 2.8}
    found = analysis(scan(lambda channels, mb: (0.1 + mb / 120) * slow.get(channels, 1)))
    assert [(item.channels, item.below, item.above) for item in found.slow] == [
        (4096, 4032, 4160),
        (8192, 8128, 8256),
    ]
    assert [item.factor.value for item in found.slow] == [
        pytest.approx(2.2, rel=0.05),
        pytest.approx(2.8, rel=0.05),
    ]
    assert all(item.is_certain for item in found.slow)
    assert found.cliff is None
    assert not found.bandwidth_gb_s.excludes(125.8)
    assert re.search(r"4096 ch takes 2\.\d+x \[\d\.\d+, \d\.\d+\] the time of 4032", " ".join(found.lines()))


@pytest.mark.parametrize("seed", range(5))
def test_a_cliff_and_slow_sizes_are_told_apart(seed: int) -> None:
    slow = {2048: 1.5, 4096: 2.2}

    def time(channels: int, mb: float) -> float:
        return (0.1 + mb / 120 * (3 if mb > 40 else 1)) * slow.get(channels, 1)

    found = analysis(scan(time, seed=seed, noise=0.02))
    assert [item.channels for item in found.slow] == [2048, 4096]
    assert found.cliff is not None
    assert found.cliff.low <= 40 <= found.cliff.high
    assert found.cliff.factor == pytest.approx(3, rel=0.1)
    # Floor and bandwidth are those before the cliff.
    assert found.bandwidth_gb_s.value == pytest.approx(125.8, rel=0.15)
    assert "Cliff: between" in " ".join(found.lines())


def test_noise_is_no_slow_size() -> None:
    rows = scan()
    spread = [
        row(4096, 0.7, share=0.6) if item.params["channels"] == 4096 else item for item in rows
    ]  # twice its neighbors, but uncertain
    assert analysis(spread).slow == ()


def test_the_published_cliff_at_32_mb_is_a_slow_size() -> None:
    found = analysis([row(channels, ms, ci_low=None, ci_high=None) for channels, ms in PUBLISHED.items()])
    (size,) = found.slow
    assert (size.channels, size.is_certain) == (4096, False)
    assert size.factor.value == pytest.approx(2.16, abs=0.01)
    assert found.cliff is None
    assert found.floor_ms.value == pytest.approx(0.132, abs=0.002)
    assert "4096 ch takes 2.16x, without an interval, the time of " in str(size)
    assert "perhaps" in str(size)
    assert ": 2.00 MiB of weights for each of 16 cores, near a multiple of 1 MiB, stall" in str(size)
    assert any("12 times are uncertain" in line for line in found.lines())


def test_twice_the_positions_tell_what_bounds() -> None:
    rows = scan()
    time = next(item.median for item in rows if item.params["channels"] == 8192)
    assert time is not None
    by_weights = analysis([*rows, row(8192, time / 1.02, width=32)])
    assert by_weights.area_factor is not None
    assert by_weights.area_factor.value == pytest.approx(1.02)
    assert "twice the positions take 1.02x [0.99, 1.05] the time" in by_weights.lines()[0]
    assert "so weights bound it" in by_weights.lines()[0]
    assert "so arithmetic bound" in analysis([*rows, row(8192, time / 1.96, width=32)]).lines()[0]


def test_too_few_sizes_are_said_to_be_few() -> None:
    assert analyze_sram(scan(channels=(256, 512))) is None
    assert analyze_sram([]) is None
    found = analysis(scan(channels=(256, 512, 1024, 2048)))
    assert "Capacity: 4 sizes are too few to tell." in found.lines()
    assert "Slow sizes: unknown without the neighbors of powers of two." in found.lines()


def test_what_is_not_ok_is_left_out() -> None:
    bad = row(4096, 99.0, status="error", reason="wrong output")
    rows = [item for item in scan() if item.params["channels"] != 4096]
    assert analysis([*rows, bad]) == analysis(rows)


def test_a_falling_line_gives_no_rate() -> None:
    found = analysis([row(count, 10 / count) for count in (256, 512, 1024, 2048)])
    assert "unknown, below the scatter" in found.lines()[0]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    with_fake_kernels(monkeypatch)
    return FakeDevice()


def run(device: FakeDevice, **options: Any) -> Result:
    return sram(device, budget=50.0, clock=device.clock, **options)  # type: ignore[arg-type]


def test_rows_of_the_coarse_probe(device: FakeDevice) -> None:
    result = run(device)
    found = [(item.params["channels"], item.params["width"]) for item in result]
    assert found == [*COARSE[:8], (8192, 32), (8192, 64)]
    assert result.rows[5].key == "sram/conv4096x1/sp64/fp32-ports"
    assert result.rows[8].key == "sram/conv8192x1/sp32/fp32-ports"
    assert result.rows[5].params["config"] == "4096ch x 64sp"
    metrics = result.rows[5].metrics
    assert (metrics["weights_mib"], metrics["activations_mib"], metrics["total_mib"]) == (32, 0.5, 33)
    assert metrics["gflops_per_mib"] == pytest.approx(2 * 4096**2 * 64 / 1e-3 / 1e9 / 32)
    assert {item.status for item in result} == {"ok"}
    assert any("No cliff found" in note for note in result.notes)


def test_rows_of_the_fine_probe(device: FakeDevice) -> None:
    result = run(device, fine=True, ports="fp16")
    found = {(item.params["channels"], item.params["width"]) for item in result}
    assert found == {*FINE, (8192, 64), *((channels, 64) for channels in NEIGHBORS)}
    assert len(result) == 22
    assert all(str(item.key).endswith("/fp16-ports") for item in result)


def test_a_machine_that_slows_down_is_no_cliff_and_no_slow_size(device: FakeDevice) -> None:
    """Let every call take twice as long after 3 s."""
    for channels in {*(count for count, _ in FINE), *NEIGHBORS}:
        for width in (32, 64):
            stack = ConvStack(channels, 1, width=width)
            ns = 1e5 + stack.weight_bytes / 120
            device.times[fake_text(stack)] = lambda call, ns=ns: int(ns * (1 + (device.clock.now > 3)))  # type: ignore[misc]
    result = sram(device, fine=True, budget=25.0, clock=device.clock)  # type: ignore[arg-type]
    assert device.clock.now > 5
    found = analyze_sram(result)
    assert found is not None
    assert found.cliff is None
    assert not [item for item in found.slow if item.is_certain]


def test_wrong_and_refused_sizes(device: FakeDevice) -> None:
    wrong, refused = ConvStack(512, 1), ConvStack(6144, 1)
    device.outcomes = {fake_text(wrong): 3.0, fake_text(refused): CompileError("[compile] too large")}
    rows = {item.params["channels"]: item for item in run(device).rows}
    assert rows[512].status == "error"
    assert "wrong output" in str(rows[512].reason)
    assert "gflops_per_mib" not in rows[512].metrics
    assert (rows[6144].status, rows[6144].reason) == ("unsupported", "[compile] too large")


def test_bad_arguments(device: FakeDevice) -> None:
    for options in ({"ports": "int8"}, {"fine": 1}, {"fine": "yes"}):
        with pytest.raises(ArgumentError):
            run(device, **options)
    assert device.programs == []
