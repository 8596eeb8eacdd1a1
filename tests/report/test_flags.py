"""The marks of rows: those that change a decision stand in the table, with a line that explains each."""

import pytest

from aneperf.measure import PREEMPTED, UNTRUSTED
from aneperf.report.flags import DECISIVE, legend, mark
from aneperf.report.result_table import lay_out_result
from support.fakes import a_result, a_row


def test_every_flag_that_changes_a_decision_is_explained() -> None:
    assert set(DECISIVE) == UNTRUSTED | {PREEMPTED}


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        ((), ""),
        (("correlated", "heavy tail", "noisy"), ""),
        (("drift", "noisy"), "drift"),
        (("few samples", "drift", "preempted"), "preempted"),
        (("unheard of",), ""),
    ],
)
def test_a_row_is_marked_by_the_flag_that_says_most(flags: tuple[str, ...], shown: str) -> None:
    assert mark(flags) == shown
    (row,) = lay_out_result(a_result(a_row(flags=flags), probe="dispatch")).rows
    assert row[-1] == shown


def test_a_mark_is_explained_once_and_only_if_it_is_shown() -> None:
    rows = [a_row(depth, flags=("drift", "noisy")) for depth in (32, 48)]
    lines = lay_out_result(a_result(*rows)).lines
    assert [line for line in lines if line.startswith("drift: ")] == legend(["drift"])
    assert not [line for line in lines if line.startswith(("noisy", "bimodal"))]
    assert not [line for line in lay_out_result(a_result(a_row())).lines if line.startswith("drift")]


def test_verbose_shows_every_flag_and_how_many_calls_there_are() -> None:
    table = lay_out_result(a_result(a_row(flags=("drift", "noisy"))), verbose=True)
    assert table.header[-3:] == ("Calls", "Warm-up", "")
    assert table.rows[0][-3:] == ("300", "1", "drift, noisy")
    assert [line for line in table.lines if line.startswith("noisy: ")]


def test_best_is_a_row_that_can_be_relied_on() -> None:
    fastest = a_row(96, flags=("drift",), metrics={"tflops": 9.0})
    unbounded = a_row(48, ci_low=None, ci_high=None, metrics={"tflops": 8.0})
    noisy = a_row(32, flags=("noisy",), metrics={"tflops": 0.5})
    table = lay_out_result(a_result(fastest, unbounded, noisy, a_row()))
    assert [row[-1] for row in table.rows] == ["drift", "", "best", ""]
    assert table.best == 2
    none = lay_out_result(a_result(fastest, unbounded))
    assert none.best is None
    assert "No row is best: none has an interval and no flag." in none.lines


def test_skipped_rows_are_one_line() -> None:
    late = [a_row(depth, status="skipped", reason="no time") for depth in range(1, 8)]
    table = lay_out_result(a_result(a_row(), *late))
    assert len(table.rows) == 1
    assert table.lines[0] == "1x conv 512ch sp64, 2x conv 512ch sp64, 5 more rows: skipped: no time"
    assert len(lay_out_result(a_result(a_row(), *late), verbose=True).rows) == 8
    assert len(lay_out_result(a_result(*late)).rows) == 7
