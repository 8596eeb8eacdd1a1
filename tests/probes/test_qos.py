from typing import Any

import pytest

import aneperf
from aneperf.errors import ArgumentError, CompileError
from support.fakes import FakeDevice, run_probe


def test_qos(fake: FakeDevice) -> None:
    result = run_probe(aneperf.qos, fake, budget=8.0)
    assert [row.key for row in result] == [f"qos/{value}/conv256x1/sp64" for value in range(64)]
    assert fake.asked == [21, *range(64)]
    assert {row.status for row in result} == {"ok"}
    assert result.rows[33].params == {"config": "QoS 33 user interactive", "qos": 33}
    assert result.rows[33].metrics["ratio"] == 1
    assert result.notes[0] == "No effect found: no interval, of 63, lies 5% from QoS 21."
    assert not any(program.loaded for program in fake.programs)


def test_a_qos_that_matters_is_named(fake: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    compile = FakeDevice.compile

    def by_qos(self: FakeDevice, text: str, weights: Any, qos: int = 21) -> Any:
        if qos == 63:
            raise CompileError("[compile] no such quality of service")
        self.call_ns = lambda call: (80_000 if qos == 9 else 100_000) + call * 7919 % 101
        return compile(self, text, weights, qos)

    monkeypatch.setattr(FakeDevice, "compile", by_qos)
    result = run_probe(aneperf.qos, fake, values=[0, 9, 21, 63])
    assert [row.status for row in result] == ["ok", "ok", "ok", "unsupported"]
    assert result.notes[0] == "Intervals that lie 5% or more from QoS 21: 9 (0.8x [0.8, 0.8])."
    assert result.rows[1].metrics["ratio"] == pytest.approx(0.8, abs=0.001)


def test_where_the_default_qos_is_refused_others_are_still_tried(
    fake: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile = FakeDevice.compile

    def by_qos(self: FakeDevice, text: str, weights: Any, qos: int = 21) -> Any:
        if qos == 21:
            raise CompileError("[compile] no")
        return compile(self, text, weights, qos)

    monkeypatch.setattr(FakeDevice, "compile", by_qos)
    result = run_probe(aneperf.qos, fake, values=[0, 21])
    assert [row.status for row in result] == ["ok", "unsupported"]
    assert "ratio" not in result.rows[0].metrics


@pytest.mark.parametrize("values", [[], [64], [-1], [1.0], [True], [3, 3], ["0"]])
def test_bad_qos_values(fake: FakeDevice, values: Any) -> None:
    with pytest.raises(ArgumentError, match=r"values must be different integers in 0\.\.63"):
        run_probe(aneperf.qos, fake, values=values)
