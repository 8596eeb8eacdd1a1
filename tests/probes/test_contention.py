"""Contention: calls alone, and beside loads."""

import importlib.util
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf.errors import ArgumentError, CompileError
from aneperf.kernels import ConvStack
from aneperf.results import Result
from aneperf.runner import beside as beside_module
from aneperf.runner.beside import BesideLost, Order, cpu_beside, gpu_beside
from aneperf.schema import check_numbers
from support.fakes import FakeDevice, a_row, fake_text
from support.terminals import widest_line

probe = __import__("aneperf.probes.contention", fromlist=["_"])
SMALL = ConvStack(channels=32, depth=1, width=32, port_dtype="fp16")


class FakeLoad:
    """A load that makes a device's calls longer while it works."""

    def __init__(self, device: FakeDevice, call_ns: int, failure: str = "") -> None:
        self.device, self.busy_ns, self.failure = device, call_ns, failure

    def __enter__(self) -> "FakeLoad":
        return self

    def __exit__(self, *exception: object) -> None:
        self.is_stopped = True

    def do(self, order: Order) -> None:
        if self.failure:
            raise BesideLost(self.failure)
        call_ns = self.busy_ns if order.work else 1_000_000
        self.device.call_ns = lambda call: call_ns
        for program in self.device.programs:
            program._call_ns = self.device.call_ns


def run(monkeypatch: pytest.MonkeyPatch, device: FakeDevice, cpu: Any, gpu: Any) -> dict[str, Any]:
    def start(load: Any) -> Any:
        if isinstance(load, BaseException):
            raise load
        return load

    monkeypatch.setattr(probe, "STACKS", (SMALL,))
    monkeypatch.setattr(probe, "_SETTLE_S", 0.0)
    monkeypatch.setattr(probe, "cpu_beside", lambda threads: start(cpu))
    monkeypatch.setattr(probe, "gpu_beside", lambda: start(gpu))
    result = aneperf.contention(device, budget=100.0, clock=device.clock)  # type: ignore[arg-type]
    assert widest_line(result) <= 80
    return {"result": result, **{str(row.params["beside"]): row for row in result}}


def test_ratios_are_to_calls_alone(fake: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, fake, FakeLoad(fake, 3_000_000), FakeLoad(fake, 500_000))
    assert found["alone"].median == pytest.approx(1)
    assert found["cpu"].metrics["ratio"] == pytest.approx(3)
    assert found["gpu"].metrics["ratio"] == pytest.approx(0.5)
    assert found["result"].notes[1:3] == (
        "CPU busy: 1x conv 32ch slower, 3x [3, 3].",
        "GPU busy: 1x conv 32ch faster, 0.5x [0.5, 0.5].",
    )
    assert found["cpu"].key == "contention/conv32x1/sp32/cpu"


def test_a_load_that_is_missing_or_fails_loses_its_rows_only(
    fake: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = BesideLost("mlx is not installed", is_missing=True)
    found = run(monkeypatch, fake, FakeLoad(fake, 1_000_000, "its process ended"), missing)
    assert found["alone"].status == "ok"
    assert (found["cpu"].status, found["cpu"].reason) == ("error", "its process ended")
    assert (found["gpu"].status, found["gpu"].reason) == ("unsupported", "unavailable: mlx is not installed")
    found = run(monkeypatch, fake, BesideLost("it was silent for 60 s"), missing)
    assert (found["cpu"].status, found["cpu"].reason) == ("error", "it was silent for 60 s")


@pytest.mark.parametrize("is_busy", [False, True])
def test_other_work_leaves_nothing_decided(
    fake: FakeDevice, monkeypatch: pytest.MonkeyPatch, is_busy: bool
) -> None:
    monkeypatch.setattr("aneperf.measure.watch.is_preempted", lambda seen: False)
    monkeypatch.setattr("aneperf.results.Environment.busy", "busy" if is_busy else None)
    found = run(monkeypatch, fake, FakeLoad(fake, 3_000_000), FakeLoad(fake, 500_000))
    note = "Not decided: other work took the CPU. Measure again on an idle machine."
    assert (note in found["result"].notes) == is_busy


def test_a_program_that_is_refused(fake: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.outcomes = {fake_text(SMALL): CompileError("[compile] no")}
    found = run(monkeypatch, fake, FakeLoad(fake, 1), BesideLost("mlx is not installed", is_missing=True))
    assert [row.reason for row in found["result"]] == [
        "[compile] no",
        "[compile] no",
        "unavailable: mlx is not installed",
    ]


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        ((1.2, 1.1, 1.3), "slower"),
        ((0.8, 0.7, 0.9), "faster"),
        ((1.0, 0.97, 1.03), "unchanged"),
        ((1.04, 0.97, 1.2), "undecided"),
        ((1.04, None, None), "undecided"),
    ],
)
def test_the_interval_decides(ratio: tuple[float, float | None, float | None], verdict: str) -> None:
    value, low, high = ratio
    bounds = {"ratio": value, "ratio_low": low, "ratio_high": high}
    metrics = {name: bound for name, bound in bounds.items() if bound is not None}
    row = a_row(params={"beside": "cpu", "depth": 1, "channels": 64}, metrics=metrics)
    assert probe.judge_loads([row])[0].startswith(f"CPU busy: 1x conv 64ch {verdict}, ")


@pytest.mark.thorough
def test_loads_begin_and_end_when_told() -> None:
    with cpu_beside(1) as load:
        for order in (Order(work=True), Order(), Order(work=True)):
            load.do(order)


@pytest.mark.skipif(importlib.util.find_spec("mlx") is not None, reason="mlx is installed")
def test_without_mlx_the_gpu_is_unavailable() -> None:
    with pytest.raises(BesideLost, match="mlx is not installed: pip install mlx") as lost:
        gpu_beside()
    assert lost.value.is_missing


def test_the_gpu_computes_through_mlx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for MLX, of which no GPU is here."""
    evaluated: list[Any] = []
    gpu = object()
    module = SimpleNamespace(
        default_device=lambda: SimpleNamespace(type=gpu),
        gpu=gpu,
        float32="float32",
        array=lambda values: values,
        zeros=lambda size, dtype: np.zeros(4, dtype),
        eval=lambda *results: evaluated.append(results),
    )
    monkeypatch.setitem(sys.modules, "mlx", SimpleNamespace(core=module))
    monkeypatch.setitem(sys.modules, "mlx.core", module)
    monkeypatch.setattr(beside_module, "_GPU_SIDE", 4)
    monkeypatch.setattr(beside_module, "_serve_load", lambda parent, make, threads: make()())
    said: list[Any] = []
    parent = SimpleNamespace(receive=lambda decoder: None, send=said.append)
    beside_module.serve_gpu(parent)  # type: ignore[arg-type]
    assert len(evaluated) == 1
    assert [result.shape for result in evaluated[0]] == [(4, 4), (4,)]
    module.gpu = object()
    beside_module.serve_gpu(parent)  # type: ignore[arg-type]
    assert said[-1].failure == "mlx has no GPU on this machine"


def test_a_load_that_fails_says_so() -> None:
    class Ended(Exception):
        pass

    made: list[Any] = []
    orders = iter([Order(work=True)])
    said: list[Any] = []

    def fail() -> None:
        raise OSError("no such stream")

    def receive(decoder: Any) -> Order:
        if (order := next(orders, None)) is None:
            raise Ended
        return order

    def make() -> Any:
        made.append(None)
        return fail

    parent = SimpleNamespace(receive=receive, send=said.append)
    with pytest.raises(Ended):
        beside_module._serve_load(parent, make, 2)  # type: ignore[arg-type]
    assert len(made) == 2
    assert {answer.failure for answer in said} == {"the load failed: OSError: no such stream"}


@pytest.mark.thorough
def test_loads_on_the_emulator() -> None:
    result: Result = aneperf.contention("emulator", budget=5.0)
    statuses = {str(row.params["beside"]): row.status for row in result}
    assert (statuses["alone"], statuses["cpu"]) == ("ok", "ok")
    assert statuses["gpu"] in ("ok", "unsupported")
    assert widest_line(result) <= 80
    check_numbers(result)


def test_what_contention_cannot_do() -> None:
    with pytest.raises(ArgumentError, match="budget must be a positive"):
        aneperf.contention("emulator", budget=0)
