"""The verb ab: what it takes, what it refuses, and its exit codes."""

from pathlib import Path
from typing import Any

import pytest

from aneperf.runner import commands
from aneperf.runner.commands import MeasuredSides, Side
from aneperf.runner.merging import merge
from support.command import assert_refused
from support.fakes import a_measured_row, a_result


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what the verb asks to be measured, and give it an A that is 20 % faster than B."""
    calls: list[dict[str, Any]] = []

    def measured(sides: Any, verb: str, options: list[str], **given: Any) -> MeasuredSides:
        calls.append({"verb": verb, "options": options, **given})
        first, second = (
            a_result(merge([a_measured_row(seed=seed, factor=factor) for seed in range(5)]))
            for factor in (1.0, 1.2)
        )
        return MeasuredSides((first, second), {first.rows[0].key: (1.2, 1.21, 1.19, 1.2, 1.2)})

    monkeypatch.setattr(commands, "measure_in_turns", measured)
    monkeypatch.setattr(
        commands, "find_side", lambda name: Side(name, name, name if ".mil" in name else None)
    )
    monkeypatch.setattr(Side, "asked", lambda self, verb: self)
    return calls


def test_a_verdict_on_b(asked: list[dict[str, Any]], run: Any) -> None:
    outcome = run("ab", "old/.venv", "new/.venv", "--", "peak", "--budget", "60", "--ports", "fp16")
    assert outcome.code == 0
    assert "SLOWER" in outcome.out
    assert outcome.err.endswith("one aneperf is compared with itself\n")
    (call,) = asked
    assert (call["verb"], call["options"]) == ("peak", ["--budget", "60", "--ports", "fp16"])
    assert (call["processes"], call["budget"]) == (10, 12)


def test_a_gate_fails_for_a_slower_b(asked: list[dict[str, Any]], run: Any, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    outcome = run("ab", "--gate", "-o", str(path), "a", "b", "peak", "--processes", "20")
    assert outcome.code == 1
    assert "ab: the gate fails" in outcome.err
    assert path.exists()
    assert asked[0]["processes"] == 20


def test_two_models_are_benched(asked: list[dict[str, Any]], run: Any) -> None:
    for words in (["--", "--budget", "10"], ["bench", "--budget", "10"]):
        assert run("ab", "a.mil", "b.mil", *words).code == 0
        assert (asked[-1]["verb"], asked[-1]["options"]) == ("bench", ["--budget", "10"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b.mil", "peak"], "A and B must both be interpreters or environments, or both be models"),
        (["a", "b"], "ab needs a verb that times rows: dispatch, latency"),
        (["a", "b", "--", "info"], "ab needs a verb that times rows"),
        (["a", "b", "peak", "-o", "x.json"], "-o is an option of ab: give it before A"),
        (["a", "b", "peak", "--processes", "1"], "processes must be an integer from 2 to 100, not 1"),
        (["a", "b", "peak", "--budget", "0"], "budget must be a positive, finite number"),
        (["a", "b", "sweep", "--channels", "x"], "--channels: 'x' is no value"),
        (["a", "b", "peak", "--budget", "x"], "'x' is not a valid float"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    asked: list[dict[str, Any]], run: Any, arguments: list[str], message: str
) -> None:
    assert_refused(run("ab", *arguments), message)
    assert asked == []
