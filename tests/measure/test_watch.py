"""Calls that other work disturbs are seen, and flagged."""

import resource
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from aneperf.measure import PREEMPTED, UNSETTLED, Watch, flags_of
from aneperf.probes.latency import latency
from support.fakes import FakeDevice, run_probe, with_fake_kernels


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Make an operating system whose counts a test sets."""
    counts = SimpleNamespace(ru_utime=1.0, ru_stime=1.0, ru_nivcsw=7, clock=5.0)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(**vars(counts)))
    monkeypatch.setattr("aneperf.measure.watch.time", SimpleNamespace(perf_counter=lambda: counts.clock))
    return counts


def test_a_watch_adds_up_what_calls_cost(system: SimpleNamespace) -> None:
    def run(count: int) -> NDArray[np.int64]:
        system.ru_utime += 0.5
        system.ru_stime += 0.25
        system.ru_nivcsw += 3
        system.clock += 1.0
        return np.arange(count)

    watch = Watch(run)
    assert watch(3).tolist() == [0, 1, 2]
    watch(1)
    seen = watch.take()
    assert (seen["calls_s"], seen["cpu_s"], seen["preemptions"]) == (2.0, 1.5, 6.0)
    assert seen["load_average"] >= 0
    assert watch.take()["calls_s"] == 0


@pytest.mark.parametrize(
    ("calls_s", "preemptions", "flagged"),
    [(1, 0, False), (1, 49, False), (1, 50, True), (10, 300, False), (10, 500, True), (0.01, 9, False)],
)
def test_many_preemptions_are_flagged(calls_s: float, preemptions: int, flagged: bool) -> None:
    assert (PREEMPTED in flags_of({"calls_s": calls_s, "preemptions": preemptions})) == flagged


def test_a_second_of_load_settles_a_device() -> None:
    assert flags_of({"loaded_s": 0.99}) == (UNSETTLED,)
    assert flags_of({"loaded_s": 1.0}) == flags_of({}) == ()


@pytest.mark.parametrize("switches", [0, 1000])
def test_a_row_says_if_other_work_took_the_cpu(
    system: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, switches: int
) -> None:
    device = FakeDevice()
    with_fake_kernels(monkeypatch)

    def call_ns(call: int) -> int:
        system.ru_nivcsw += switches
        system.clock += 1e-3
        return 1_000_000

    device.call_ns = call_ns
    result = run_probe(latency, device)
    row = result.rows[0]
    assert (PREEMPTED in row.flags) == (switches > 0)
    assert row.metrics["preemptions"] % 1000 == 0
    assert ("Measure on an idle machine." in str(result)) == (switches > 0)
