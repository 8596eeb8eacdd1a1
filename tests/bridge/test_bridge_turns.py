"""Two sides on the engine, whose calls child processes make: they take turns all the same."""

import sys
from pathlib import Path

import pytest

from aneperf.runner.commands import Side, find_side, measure_in_turns

pytest_plugins = ["support.standin"]
pytestmark = pytest.mark.usefixtures("standin")  # skips without it

MODEL = """
from aneperf import mil

def net():
    b = mil.Builder()
    b.output("y", mil.relu(b.input("x", (1, 32, 1, 32))))
    return b
"""


def compare(side: Side, verb: str, *options: str) -> None:
    found = measure_in_turns(
        (side, side),
        verb,
        [*options, "--device", "ane"],
        processes=1,
        budget=6.0,
        time_limit=600.0,
        report=lambda done: None,
    )
    rows = [row for result in found.results for row in result]
    assert [row.status for row in rows] == ["ok", "ok"]
    assert [*found.ratios] == [rows[0].key]


def test_a_probe_with_children_of_its_own() -> None:
    compare(find_side(sys.executable).asked("sweep"), "sweep", "--channels", "16")


def test_a_model(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    compare(find_side(f"{tmp_path}/net.py:net").asked("bench"), "bench")
