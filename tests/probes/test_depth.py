"""Depth and memory: what compiles and loads until it does not."""

from typing import Any

import pytest

import aneperf
from aneperf.errors import ArgumentError
from aneperf.probes.depth import bound_of, try_chain
from aneperf.results import Result
from aneperf.runner.in_child import BLOCKED, Outcome
from aneperf.runner.measured import Measured
from support.fakes import FakeClock, an_environment
from support.terminals import widest_line
from support.wrapped import Wrapped

depth_probe, memory_probe = (
    __import__(f"aneperf.probes.{name}", fromlist=["_"]) for name in ("depth", "memory")
)
MIB = 1 << 20


class Compiler:
    """Stands in for children: chains of more than `most` layers fail as told."""

    def __init__(self, most: int, failure: str = "", blocked: bool = False) -> None:
        self.most, self.failure, self.blocked = most, failure, blocked
        self.tried: list[int] = []

    def __call__(self, function: Any, device: Any, *, time_limit: float, layers: int) -> Outcome:
        assert function is try_chain
        self.tried.append(layers)
        case = depth_probe._case(layers)
        if layers > self.most and self.failure:
            return Outcome((), failure=self.failure, blocked=self.blocked)
        measured = Measured("unsupported", "[compile] no") if layers > self.most else Measured("ok")
        row = case.row(measured)
        return Outcome((row,), Result(probe="depth", environment=an_environment(), rows=(row,)))


def depth(monkeypatch: pytest.MonkeyPatch, compiler: Compiler, **options: Any) -> Result:
    monkeypatch.setattr(depth_probe, "run_in_child", compiler)
    result = aneperf.depth("emulator", **options)
    assert widest_line(result) <= 80
    return result


def verdict(result: Result) -> str:
    return str(result.rows[-1].params["verdict"])


@pytest.mark.parametrize("most", [1, 63, 64, 65, 100, 387, 1023])
def test_bisection_finds_the_deepest_chain(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    compiler = Compiler(most)
    result = depth(monkeypatch, compiler)
    assert result.rows[-1].metrics == {"layers": most}
    right = f"{most} layers compile, load and give the right output; {most + 1} do not: [compile] no"
    assert verdict(result) == right
    assert len(set(compiler.tried)) == len(compiler.tried) == len(result) - 1
    assert {row.status for row in result} == {"ok", "unsupported"}


def test_nothing_is_tried_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Compiler(10**6)
    result = depth(monkeypatch, compiler, most=300)
    assert compiler.tried == [64, 128, 256, 300]
    assert verdict(result).endswith(", the most that were tried: as was asked")
    assert depth(monkeypatch, Compiler(10**6)).rows[-1].metrics == {"layers": 1024}
    assert result.notes[0].startswith("The emulator's compiler is aneperf's own")


def test_a_crash_is_a_length_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    result = depth(monkeypatch, Compiler(200, "its process was killed by SIGBUS"))
    assert verdict(result).endswith("; 201 do not: its process was killed by SIGBUS")
    assert "error" not in {row.status for row in result}


def test_after_a_blocked_compile_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Compiler(100, BLOCKED, blocked=True)
    result = depth(monkeypatch, compiler)
    assert compiler.tried == [64, 128]
    assert (result.rows[1].status, result.rows[1].reason) == ("error", BLOCKED)
    assert "between them nothing was tried (no compile ends any more)" in verdict(result)


def test_without_time_a_range_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()

    class Slow(Compiler):
        def __call__(self, *arguments: Any, **options: Any) -> Outcome:
            clock.now += 1
            return super().__call__(*arguments, **options)

    result = depth(monkeypatch, Slow(100), budget=3, clock=clock)
    assert "96 layers compile" in verdict(result)
    assert "128 do not: [compile] no; between them nothing was tried (the time budget" in verdict(result)
    result = depth(monkeypatch, Slow(10**6), budget=1, clock=clock)
    assert "more were not tried (the time budget was spent" in verdict(result)
    monkeypatch.setattr(depth_probe, "run_in_child", Slow(0))
    clock.now, passed = 0.0, iter([0.0, 2.0])
    result = aneperf.depth("emulator", budget=1, clock=lambda: next(passed))
    assert [row.status for row in result] == ["skipped"]


@pytest.mark.parametrize(
    ("changes", "longest"),
    [
        ({"device": "emulator"}, 1024),
        ({"device": "ane", "chip": "Apple M4 Max"}, 1024),
        ({"device": "ane", "chip": "Apple M6"}, 386),
        ({"device": "ane", "chip": "Apple M77"}, 386),
    ],
)
def test_known_crashes_bound_the_length(changes: dict[str, Any], longest: int) -> None:
    assert bound_of(an_environment(**changes), None)[0] == longest
    assert bound_of(an_environment(**changes), 500) == (500, "as was asked")


def test_a_chain_on_the_device(device: aneperf.Device) -> None:
    (row,) = try_chain(device, layers=3, progress=lambda step: None)
    assert (row.key, row.status) == ("depth/conv64/3", "ok")
    assert row.metrics["compile_ms"] > 0


def test_a_chain_in_a_child() -> None:
    result = aneperf.depth("emulator", most=2)
    assert [row.key for row in result] == ["depth/conv64/2", "depth/conv64/deepest"]
    assert {row.status for row in result} == {"ok"}


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_probe, "_CHANNELS", 512)


def load(device: Any, **options: Any) -> Any:
    given = {"layers": 2, "number": 3, "why": "as told", "budget": 600.0, **options}
    (row,) = memory_probe.load_programs(device, progress=lambda step: None, **given)
    return row


@pytest.mark.usefixtures("_small")
def test_weights_load_up_to_the_bound(emulator: aneperf.Device) -> None:
    row = load(emulator)
    assert row.params["verdict"] == "3 MiB load and run, in 3 programs; no more were tried: as told"
    assert (row.metrics["loaded_mib"], row.metrics["programs"]) == (3, 3)
    none = load(emulator, budget=1e-9)
    assert (none.status, none.metrics) == ("skipped", {})
    assert none.params["verdict"] == "none is loaded; no more were tried in the time given"


@pytest.mark.usefixtures("_small")
def test_weights_that_are_refused_end_the_count() -> None:
    texts: list[str] = []

    def refuse(text: str) -> None:
        texts.append(text)
        if len(texts) == 3:
            raise aneperf.CompileError("[compile] LoadFailure: Program load failure (0x20004)")

    row = load(Wrapped(compile=refuse), number=9)
    assert row.params["verdict"] == (
        "2 MiB load and run, in 2 programs; the next was refused: [compile] LoadFailure: Program load "
        "failure (0x20004)"
    )
    assert len(set(texts)) == 3
    texts[:] = ["", ""]
    row = load(Wrapped(compile=refuse))
    assert (row.status, row.metrics) == ("unsupported", {})
    assert row.reason == "[compile] LoadFailure: Program load failure (0x20004)"


@pytest.mark.usefixtures("_small")
def test_memory_is_never_exhausted(monkeypatch: pytest.MonkeyPatch, emulator: aneperf.Device) -> None:
    monkeypatch.setattr(memory_probe, "available_memory", lambda: 3 * MIB)
    assert load(emulator).params["verdict"].endswith("no more were tried: 3 MiB of memory are free")
    assert memory_probe.bound_of(1000, True) == (0, "an eighth of 3 MiB of memory")
    result = aneperf.memory("emulator")
    assert result.rows[0].status == "skipped"
    assert "a program has 2 MiB of weights, and 0 are the most: an eighth of 3 MiB" in result.rows[0].reason
    monkeypatch.setattr(memory_probe, "available_memory", lambda: None)
    assert memory_probe.bound_of(1000, False) == (1000, "--most is the bound")


def test_a_child_that_dies_has_counted() -> None:
    row = memory_probe.counted(Outcome((), failure="its process was killed by SIGKILL", doing="4"), 256)
    assert row.metrics["loaded_mib"] == 1024
    assert row.params["verdict"].endswith("not survive the next: its process was killed by SIGKILL")
    row = memory_probe.counted(Outcome((), failure="killed", doing="0"), 256)
    assert (row.status, row.reason, row.metrics) == ("error", "killed", {})
    row = memory_probe.counted(Outcome((), failure="no such device"), 256)
    assert (row.status, row.reason) == ("error", "no such device")


@pytest.mark.thorough
def test_weights_in_a_child() -> None:
    result = aneperf.memory("emulator", most=32)
    assert result.rows[0].metrics["loaded_mib"] == 32
    assert result.notes[1].startswith("Weights: 32 MiB load and run, in one program; no more were tried: ")
    assert widest_line(result) <= 80


@pytest.mark.parametrize("name", ["depth", "memory"])
def test_what_cannot_be_done(name: str) -> None:
    for options, message in (
        ({"budget": 0}, "budget must be a positive"),
        ({"most": 0}, "most must be an integer from 1 to"),
        ({"most": 1.5}, "most must be an integer from 1 to"),
    ):
        with pytest.raises(ArgumentError, match=message):
            getattr(aneperf, name)("emulator", **options)
