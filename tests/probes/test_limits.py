from typing import Any

import pytest

import aneperf
from aneperf.errors import ArgumentError
from aneperf.probes.limits_overlap import judge_overlap
from aneperf.runner.in_child import Outcome
from aneperf.runner.progress import Progress
from support.child_probes import no_overlap
from support.wrapped import rows

compat_module, limits_module, parity_module, weights_module = (
    __import__(f"aneperf.probes.{name}", fromlist=["_"]) for name in ("compat", "limits", "parity", "weights")
)


def limits(**options: Any) -> dict[str, Any]:
    return rows(aneperf.limits("emulator", **{"budget": 600.0, **options}))


@pytest.mark.thorough
def test_the_emulators_limit_is_the_engines() -> None:
    steps: list[Progress] = []
    result = aneperf.limits("emulator", budget=600.0, progress=steps.append)
    found = rows(result)
    for part in ("kept", "released"):
        assert found[part].metrics["programs"] == 119
        assert found[part].params["ending"] == "the next was refused"
        assert any(note.startswith(f"{part}: [compile] CompilationFailure: ") for note in result.notes)
    assert found["compile time"].n == 119
    low, high = found["compile time"].ci_low, found["compile time"].ci_high
    # Compiles that resemble each other, on a busy machine, have no interval.
    assert (low is None) == (high is None)
    assert low is None or low <= found["compile time"].median <= high
    assert found["load time"].status == "unsupported"
    assert found["overlap"].unit == "x"
    assert found["overlap"].params["verdict"].startswith(("overlaps", "does not overlap", "undecided"))
    assert [step.row for step in steps if step.row] == list(result)


def test_counting_stops_where_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "overlap", no_overlap)
    found = limits(most=5)
    assert found["kept"].metrics["programs"] == 5
    assert found["kept"].params["ending"] == "none was refused of 5"


def test_counting_stops_with_the_budget() -> None:
    device = aneperf.open("emulator")
    result = limits_module.count_programs(
        device, where="kept", keep=True, most=10, budget=1e-9, progress=lambda step: None
    )
    assert result.rows[0].params["ending"] == "none was refused of 0 in the time given"
    assert [row.status for row in result] == ["ok", "unsupported", "unsupported"]


def test_a_count_that_ends_in_a_crash_is_still_a_count() -> None:
    dead = Outcome((), failure="its process was killed by SIGSEGV", doing="37")
    row, *lost = limits_module._counted("kept", dead)
    assert [row.status for row in lost] == ["error", "error"]
    assert row.metrics == {"programs": 37}
    assert row.params["ending"] == "the process did not survive the next: its process was killed by SIGSEGV"
    (row,) = limits_module._counted("released", Outcome((), failure="no such device"))
    assert (row.status, row.reason) == ("error", "no such device")


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.5] * 9, "overlaps: "),
        ([0.95] * 9, "does not overlap: "),
        ([0.5, 1.5] * 5, "undecided: the interval holds both"),
    ],
)
def test_the_verdict_of_an_overlap_is_its_intervals(ratios: list[float], verdict: str) -> None:
    measured = judge_overlap(ratios, 1, 2)
    assert str(measured.params["verdict"]).startswith(verdict)
    assert measured.statistics is not None
    assert measured.statistics.n == len(ratios)


def test_programs_of_the_count_differ_in_text_and_weight() -> None:
    programs = [limits_module._small(number) for number in range(300)]
    assert len({program.text for program in programs}) == 300
    assert len({bytes(data) for program in programs for data in program.weights.values()}) == 300


def test_what_limits_cannot_do() -> None:
    with pytest.raises(ArgumentError, match="a route is for the Neural Engine; the emulator has none"):
        aneperf.limits("emulator", route="both")
    for most in (0, -1, 1.5, True):
        with pytest.raises(ArgumentError, match="most must be an integer of at least 1"):
            aneperf.limits("emulator", most=most)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="budget must be"):
        aneperf.limits("emulator", budget=-1)
