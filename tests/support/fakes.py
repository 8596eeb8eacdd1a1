"""A device of canned answers: what it refuses, how long calls take, what they compute is up to the test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aneperf import CompileBudget
from aneperf.errors import EvaluateError
from aneperf.kernels import ConvStack, QuantizedStack
from aneperf.measure import analyze
from aneperf.results import Environment, Result, Row

if TYPE_CHECKING:  # child processes import this file, and start sooner without it
    import pytest


@dataclass(frozen=True)
class FakeStack(ConvStack):
    """A stack that is never built: its text is its name, and its output is right if it is all ones."""

    def build(self, dialect: str = "ios18") -> Any:
        return SimpleNamespace(text=self.name, weights={})

    def check(self, output: NDArray[Any], columns: Any = None) -> float:
        return float(np.abs(output - 1).max())


def fake_text(stack: ConvStack) -> str:
    """Return the text that `with_fake_kernels` makes of a stack: its kind, name and ports."""
    return f"{type(stack).__name__} {stack.name} {stack.port_dtype}"


def with_fake_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Return a text for each stack instead of building it. All ones are the right output."""
    for kind in (ConvStack, QuantizedStack):
        monkeypatch.setattr(
            kind, "build", lambda self, dialect="ios18": SimpleNamespace(text=fake_text(self), weights={})
        )
        monkeypatch.setattr(kind, "input", lambda self: np.zeros((1, 4, 1, 4), np.float32))
        monkeypatch.setattr(kind, "check", FakeStack.check)


class FakeSurface:
    def __init__(self, port: Any) -> None:
        self.array = np.zeros(port.shape, port.dtype)

    def write(self, array: NDArray[Any]) -> None:
        self.array = array.copy()

    def read(self) -> NDArray[Any]:
        return self.array


class FakeProgram:
    """Takes `call_ns` of the clock for each call, and fills its output with the call's `value`."""

    def __init__(
        self, call_ns: Callable[[int], int], value: float | Callable[[int], float], clock: FakeClock
    ) -> None:
        self.inputs = [SimpleNamespace(name="x", shape=(1, 4, 1, 4), dtype=np.float32)]
        self.outputs = [SimpleNamespace(name="y", shape=(1, 4, 1, 4), dtype=np.float32)]
        self.stats = SimpleNamespace(compile_ns=12_000_000, load_ns=None, retried_evaluations=None)
        self.loaded = True
        self.calls = 0
        self._call_ns = call_ns
        self._value = value
        self._clock = clock

    def bind(self, inputs: dict[str, FakeSurface], outputs: dict[str, FakeSurface]) -> Any:
        assert set(inputs) == {"x"}
        assert set(outputs) == {"y"}

        def time(count: int) -> NDArray[np.int64]:
            if not self.loaded:
                raise EvaluateError("[evaluate] the program is unloaded")
            durations = [self._call_ns(self.calls + index) for index in range(count)]
            self.calls += count
            self._clock.now += sum(durations) * 1e-9
            value = self._value(self.calls) if callable(self._value) else self._value
            outputs["y"].array = np.full((1, 4, 1, 4), value, np.float32)
            return np.array(durations, dtype=np.int64)

        return SimpleNamespace(time=time)

    def unload(self) -> None:
        self.loaded = False


def leaping(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return what moves the clock of a child's limits ahead by some seconds."""
    skipped = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(skipped))
    monkeypatch.setattr("aneperf.runner.in_child.time", clock)
    return skipped.append


class FakeDevice:
    """`outcomes` maps a program's text to what compile raises or the program computes.

    That is a value, or a function of the number of calls made. Only calls move `clock`.
    """

    def __init__(
        self,
        outcomes: dict[str, float | BaseException | Callable[[int], float]] | None = None,
        kind: str = "emulator",
    ) -> None:
        self.clock = FakeClock()
        self.outcomes = outcomes or {}
        self.kind = kind
        self.programs: list[FakeProgram] = []
        self.call_ns: Callable[[int], int] = lambda call: 1_000_000
        self.times: dict[str, Callable[[int], int]] = {}  # by text, where `call_ns` does not hold
        self.asked: list[int] = []  # the qos of each compile
        self.compile_budget = CompileBudget()
        self.compiles_used = 0

    def info(self) -> dict[str, str]:
        route = {"route": "memory"} if self.kind == "ane" else {}
        return {"kind": self.kind, "chip": "h16", "threads": "4", **route}

    def compile(self, text: str, weights: dict[str, bytes], qos: int = 21) -> FakeProgram:
        self.asked.append(qos)
        outcome = self.outcomes.get(text, 1.0)
        if isinstance(outcome, BaseException):
            raise outcome
        call_ns = self.times.get(text, self.call_ns)
        self.programs.append(FakeProgram(call_ns, outcome, self.clock))
        return self.programs[-1]

    def make_surface(self, port: Any) -> FakeSurface:
        return FakeSurface(port)


class FakeClock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TickingClock(FakeClock):
    """Seconds that pass whenever they are asked for: a native device's calls do not move a clock of ours."""

    def __init__(self, tick: float) -> None:
        super().__init__()
        self._tick = tick

    def __call__(self) -> float:
        self.now += self._tick
        return self.now


def replay(trace: Iterator[int], clock: FakeClock) -> Callable[[int], NDArray[np.int64]]:
    """Return a `run` that takes its durations (ns) from `trace` and moves the clock by them."""

    def run(count: int) -> NDArray[np.int64]:
        durations = np.array([next(trace) for _ in range(count)], dtype=np.int64)
        clock.now += float(durations.sum()) * 1e-9
        return durations

    return run


def an_environment(**changes: Any) -> Environment:
    facts: dict[str, Any] = {
        "aneperf": "0.1.0",
        "device": "emulator",
        "chip": "h16",
        "properties": {"threads": "4"},
        "os": "Debian GNU/Linux 12",
        "os_build": "6.18",
        "cpu": "AMD EPYC",
        "cores": 4,
        "memory_bytes": 24 * 2**30,
        "python": "3.11.7",
        "numpy": "2.4.6",
        "started": "2026-01-02T03:04:05+00:00",
    }
    return Environment(**{**facts, **changes})


def a_row(depth: int = 128, **changes: Any) -> Row:
    fields: dict[str, Any] = {
        "key": f"peak/conv512x{depth}/sp64/fp32-ports",
        "status": "ok",
        "params": {"config": f"{depth}x conv 512ch sp64", "channels": 512, "depth": depth},
        "unit": "ms",
        "n": 300,
        "warm_up": 1,
        "median": 9.871,
        "mean": 9.9,
        "p05": 9.6,
        "p95": 10.4,
        "ci_low": 9.83,
        "ci_high": 9.92,
        "published_mean": 9.9,
        "error": 0.0021,
        "metrics": {
            "weights_mib": 64.0,
            "gflop": 4.294967296,
            "tflops": 4.294967296 / 9.871,
        },
    }
    return Row(**{**fields, **changes})


def a_measured_row(calls: int = 300, seed: int = 0, factor: float = 1.0, **changes: Any) -> Row:
    """Return a row as a probe makes it: everything in it follows from its durations and its key."""
    random = np.random.default_rng(seed)
    durations = factor * np.array([31_000_000, *random.integers(9_000_000, 11_000_000, calls)])
    sample = analyze(durations.astype(np.int64))
    times = sample.statistics
    work = 2 * 128 * 512**2 * 64 / 1e9
    rates = {"tflops": times.median, "tflops_low": times.ci_high, "tflops_high": times.ci_low}
    metrics = {"gflop": work, **{name: work / ms for name, ms in rates.items() if ms}, "first_ms": 31.0}
    fields = {
        **times.fields(),
        "warm_up": sample.warm_up,
        "published_mean": sample.published_mean,
        "flags": sample.flags,
        "durations_ns": tuple(sample.durations[:10_000].tolist()),
        "metrics": {**metrics, **changes.pop("metrics", {})},
    }
    return a_row(**{**fields, **changes})


def a_result(*rows: Row, **changes: Any) -> Result:
    fields: dict[str, Any] = {"probe": "peak", "environment": an_environment(), "rows": rows or (a_row(),)}
    return Result(**{**fields, **changes})


def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no probe measure in several processes: another one has no fake device."""
    monkeypatch.setattr("aneperf.runner.rounds.Repeat.affordable", lambda *arguments: 1)
    monkeypatch.setattr("aneperf.runner.rounds.Repeat.note", lambda *arguments: ())
    monkeypatch.setattr("aneperf.runner.rounds.Repeat.forecast", lambda *arguments: "")


def run_probe(probe: Callable[..., Result], device: FakeDevice, **options: Any) -> Result:
    """Run a probe on a fake device, by its clock."""
    return probe(device, **{"budget": 8.0, "clock": device.clock, **options})
