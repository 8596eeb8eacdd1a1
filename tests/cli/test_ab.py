"""The verb ab: what it takes, what it refuses, and its exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest

from aneperf.runner import commands
from aneperf.runner.commands import MeasuredSides, Side
from aneperf.runner.merging import merge
from support.command import assert_refused
from support.fakes import a_measured_row, a_result, an_environment


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what the verb asks to be measured, and give it an A that is 20 % faster than B."""
    calls: list[dict[str, Any]] = []

    def measured(sides: Any, verb: str, options: list[str], **given: Any) -> MeasuredSides:
        calls.append({"verb": verb, "options": options, **given})
        first, second = (
            a_result(
                merge(
                    [
                        a_measured_row(seed=seed, factor=factor, metrics={"first_ms": 31 * factor})
                        for seed in range(5)
                    ]
                )
            )
            for factor in (1.0, 1.2)
        )
        environments = tuple(an_environment(load=float(place)) for place in range(5))
        ratios = {first.rows[0].key: (1.2, 1.21, 1.19, 1.2, 1.2)}
        return MeasuredSides((first, second), (environments, environments), ratios)

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


def doctored(path: Path, change: Any) -> str:
    tree = json.loads(path.read_text())
    change(tree)
    other = path.with_name("doctored.json")
    other.write_text(json.dumps(tree, indent=1))
    return str(other)


def test_a_saved_file_has_all_that_its_verdicts_rest_on(
    asked: list[dict[str, Any]], run: Any, tmp_path: Path
) -> None:
    path = tmp_path / "c.json"
    assert run("ab", "-o", str(path), "a", "b", "peak").code == 0
    tree = json.loads(path.read_text())
    for side in (tree["first"], tree["second"]):
        assert [one["load"] for one in side["environments"]] == [0, 1, 2, 3, 4]
        assert len(side["result"]["rows"][0]["durations_ns"]) == 5 * 301
    assert [*tree["ratios"].values()] == [[1.2, 1.21, 1.19, 1.2, 1.2]]
    valid = run("validate", str(path))
    assert (valid.code, valid.err) == (0, "")
    assert "a comparison by aneperf ab: peak, 5 processes a side, 1 rows (1 SLOWER)" in valid.out
    assert_refused(run("dump", str(path)), "is a comparison by aneperf ab, not a result of aneperf")
    assert "SLOWER" in run("show", str(path)).out
    assert "SLOWER" in run("report", str(path), "-o", "-.md").out
    assert run("ab", "-o", str(path), "a", "b", "peak").code == 0  # it may replace one of its kind
    printed = run("ab", "-o", "-", "a", "b", "peak")
    assert json.loads(printed.out) == tree
    assert run("ab", "-o", "-.csv", "a", "b", "peak").out.startswith("key,first,second,")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tree: tree["rows"][0].update(verdict="FASTER"),
            "verdict is 'FASTER', but both sides and the",
        ),
        (lambda tree: tree["rows"].clear(), "has 0 compared rows, and 1 follow from it"),
        (lambda tree: tree["rows"][0].update(more=1), "more is 1, but both sides and the ratios give None"),
        (lambda tree: tree.update(threshold=0.5), "verdict is 'SLOWER', but"),
        (lambda tree: next(iter(tree["ratios"].values())).reverse(), None),
        (lambda tree: next(iter(tree["ratios"].values())).append(9.0), "but both sides and the ratios give"),
        (
            lambda tree: next(iter(tree["ratios"].values())).append(0.0),
            "ratios are positive numbers of at most",
        ),
        (lambda tree: next(iter(tree["ratios"].values())).extend([1.2] * 200), "of at most 100 pairs"),
        (lambda tree: tree["first"]["result"]["rows"][0].update(mean=10.0), "a: row 'peak/conv512x128"),
        (lambda tree: tree.update(ab_version=2), "ab_version is 2; this is version 1"),
        (lambda tree: tree.update(threshold=1e300), "threshold must be from 0 to 10"),
        (lambda tree: tree.pop("second"), "not a comparison by aneperf ab: Object missing required field"),
    ],
)
def test_a_doctored_file_is_found_out(
    asked: list[dict[str, Any]], run: Any, tmp_path: Path, change: Any, message: str | None
) -> None:
    run("ab", "-o", str(tmp_path / "c.json"), "a", "b", "peak")
    outcome = run("validate", doctored(tmp_path / "c.json", change))
    if message is None:
        assert outcome.code == 0
    else:
        assert_refused(outcome, message)


def test_an_output_is_checked_before_the_work(asked: list[dict[str, Any]], run: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Notes that are nowhere else, and longer than a few words of text.\n")
    assert_refused(run("ab", "-o", str(tmp_path / "notes.txt"), "a", "b", "peak"), "is there and is text")
    assert asked == []


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
