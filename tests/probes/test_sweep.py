import sys
from typing import Any

import pytest

import aneperf
from aneperf.errors import ArgumentError, CompileBudgetError
from aneperf.kernels import ConvStack
from aneperf.probes.sweep import CHANNELS, DEPTH, SPATIAL, measure_stacks, parse_values
from aneperf.runner.progress import Progress
from aneperf.runner.timing import Part, measure_as
from support.child_probes import ticking_stacks
from support.fakes import FakeDevice, fake_text, run_probe


def test_sweep_defaults(fake: FakeDevice) -> None:
    rows = run_probe(aneperf.sweep, fake).rows
    assert [row.params["width"] for row in rows] == list(SPATIAL)
    assert {(row.params["channels"], row.params["depth"]) for row in rows} == {(512, 128)}
    rows = run_probe(aneperf.sweep, fake, channels=CHANNELS, budget=60.0).rows
    assert [row.params["channels"] for row in rows] == list(CHANNELS)
    assert {(row.params["width"], row.params["depth"]) for row in rows} == {(64, 1)}
    rows = run_probe(aneperf.sweep, fake, depth=DEPTH, channels=[64], spatial=[32, 64], ports="fp16").rows
    assert [(row.params["depth"], row.params["width"]) for row in rows] == [
        (layers, positions) for layers in DEPTH for positions in (32, 64)
    ]


def test_there_are_52_channel_values() -> None:
    assert len(set(CHANNELS)) == 52
    assert (min(CHANNELS), max(CHANNELS)) == (1, 4096)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": [0]}, "channels must be an integer from 1 to 65536, not 0"),
        ({"spatial": [64, 70000]}, "width must be an integer from 1 to 65536, not 70000"),
        ({"depth": [1.5]}, "depth must be an integer"),
        ({"channels": []}, "channels is empty"),
        ({"depth": 4}, "depth must be a list of integers, not 4"),
        ({"depth": "4"}, "depth must be a list of integers, not '4'"),
        ({"depth": [2, 2]}, "more than once"),
        ({"channels": [65536]}, "1x conv 65536ch sp64 has 8.0 GiB of weights, where a sweep takes 2"),
        ({"channels": [16384], "spatial": [65536]}, "has 4.0 GiB of each port"),
        ({"ports": "int8"}, "port_dtype 'int8'"),
    ],
)
def test_impossible_sweeps_are_refused_before_anything_is_built(
    fake: FakeDevice, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message.replace(".", r"\.")):
        run_probe(aneperf.sweep, fake, **options)
    assert fake.programs == []


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("64", [64]),
        ("64,512", [64, 512]),
        (" 64, 512 ", [64, 512]),
        ("64..2048", [64, 128, 256, 512, 1024, 2048]),
        ("100..500", [100, 200, 400]),
        ("1,2..4,2", [1, 2, 4]),
        ("all", [7, 9]),
    ],
)
def test_values_of_a_sweep(text: str, values: list[int]) -> None:
    assert parse_values("--depth", text, [7, 9]) == values


@pytest.mark.parametrize(
    "text", ["", "x", "64,", "-1", "0", "0..4", "8..4", "1..", "..4", "1.5", "²", "1" * 40]
)
def test_bad_values_of_a_sweep(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"--depth: .* is no value"):
        parse_values("--depth", text, [])


@pytest.fixture
def ticking_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sweep's children measure by a clock that ticks."""
    monkeypatch.setattr(sys.modules["aneperf.probes.sweep"], "measure_stacks", ticking_stacks)


@pytest.mark.usefixtures("ticking_children")
def test_a_sweep_beyond_the_compile_budget_goes_on_in_other_processes() -> None:
    device = aneperf.open("emulator", compile_budget=device_used() + 2)
    steps: list[Progress] = []
    result = aneperf.sweep(
        device, channels=[32], depth=[1, 2, 3], budget=600.0, ports="fp16", progress=steps.append
    )
    assert [row.status for row in result] == ["ok"] * 3
    assert [row.key for row in result] == [f"sweep/conv32x{n}/sp64/fp16-ports" for n in (1, 2, 3)]
    assert "child processes" in result.notes[-1]
    assert [step.row.key for step in steps if step.row] == [row.key for row in result]
    assert device.compiles_used == device_used()


def device_used() -> int:
    return aneperf.open("emulator").compiles_used


def test_a_child_stops_where_its_compiles_end(fake: FakeDevice) -> None:
    stack = ConvStack(512, 2)
    fake.outcomes = {fake_text(stack): CompileBudgetError("[compile] used up")}
    steps: list[Progress] = []
    with pytest.raises(CompileBudgetError, match="used up"):
        measure_stacks(
            fake,  # type: ignore[arg-type]
            items=["512 1 64 fp32", "512 2 64 fp32"],
            budget=1.0,
            progress=lambda step: steps.append(step) or fake.clock.__call__(),
        )
    assert len([step for step in steps if step.row]) == 1


@pytest.mark.usefixtures("ticking_children")
def test_on_the_engine_a_sweep_is_measured_by_other_processes(engine_opens: bool) -> None:
    device = FakeDevice(kind="ane")
    result = aneperf.sweep(device, channels=[32], depth=[1, 2], ports="fp16", budget=600.0)  # type: ignore[arg-type]
    assert device.programs == []
    assert [row.key for row in result] == [f"sweep/conv32x{n}/sp64/fp16-ports" for n in (1, 2)]
    assert {row.status for row in result} == {"ok" if engine_opens else "error"}
    assert engine_opens or "no Neural Engine" in str(result.rows[0].reason)
    assert "child processes" in result.notes[-1]


def test_one_of_several_processes_sweeps_by_itself(fake: FakeDevice) -> None:
    """Start no process on the engine where this one is a child already, and take its share of the time."""
    fake.kind = "ane"
    fake.call_ns = lambda call: 50_000_000
    with measure_as(Part(processes=3, to_come=2)):
        result = run_probe(aneperf.sweep, fake, channels=[8, 16], budget=12.0)
    assert [row.status for row in result] == ["ok", "ok"]
    assert fake.clock.now == pytest.approx(6.0, abs=0.5)
