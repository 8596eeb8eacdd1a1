"""Read energy from files: what is valid, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from aneperf.errors import ArgumentError, ResultFileError
from aneperf.power import MAXIMUM_SLICES, Energy
from aneperf.results import Result
from aneperf.runner.energy import with_energy
from support.fakes import a_row, an_environment

KNOWN: dict[str, Any] = {
    "method": "energy-model",
    "count": 2_000,
    "seconds": 8.0,
    "gflop": 2.0,
    "load_s": (1.0, 1.0, 2.0),
    "load_w": (6.0, 5.0, 5.5),
    "idle_s": (1.0, 1.0),
    "idle_w": (0.5, 0.5),
    "doubt_w": 0.002,
}


def test_figures() -> None:
    metrics = Energy(**KNOWN).metrics()
    assert metrics["power_w"] == pytest.approx(5.0)
    assert metrics["mj_per_eval"] == pytest.approx(20.0)  # 5 W over 4 ms
    assert metrics["pj_per_op"] == pytest.approx(10.0)
    assert metrics["idle_w"] == 0.5
    assert metrics["mj_per_eval_high"] == pytest.approx(4 * metrics["power_w_high"])
    assert "pj_per_op" not in Energy(**{**KNOWN, "gflop": 0.0}).metrics()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": None}, "a method, or else a reason"),
        ({"reason": "it is both"}, "a method, or else a reason"),
        ({"method": None, "reason": "no"}, "without a method has no numbers"),
        ({"load_s": (1.0,)}, "every slice has a duration and a power"),
        ({"idle_s": (1.0,), "idle_w": (1.0,)}, "two slices or more"),
        ({"load_s": (1.0, 1.0, 0.0)}, "two slices or more"),
        ({"load_s": (1.0, 1.0, -1.0)}, "finite and not negative"),
        ({"load_w": (1.0, 1.0, float("nan"))}, "watts are finite"),
        ({"idle_w": (1.0, 1e300)}, "watts are finite"),
        ({"count": 0}, "needs the number of evaluations"),
        ({"count": -1}, "needs the number of evaluations"),
        ({"seconds": 0.0}, "needs the number of evaluations"),
        ({"doubt_w": -1.0}, "finite and not negative"),
        ({"zero_share": 1.5}, "zero_share"),
        ({"load_s": (1.0,) * (MAXIMUM_SLICES + 1)}, "more than 1000 slices"),
    ],
)
def test_what_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Energy(**{**KNOWN, **changes})


def test_a_file(tmp_path: Path) -> None:
    row = with_energy(a_row(), Energy(**KNOWN))
    result = Result(probe="bench", environment=an_environment(), rows=(row,))
    result.save(tmp_path / "r.json")
    assert Result.load(tmp_path / "r.json") == result
    text = (tmp_path / "r.json").read_text()
    assert '"load_w": [6.0,5.0,5.5]' in text
    data = json.loads(text)
    for name, value in {"count": 0, "load_w": "x", "per": "joule", "made_up": 1}.items():
        broken = json.loads(text)
        broken["rows"][0]["energy"][name] = value
        (tmp_path / "broken.json").write_text(json.dumps(broken))
        with pytest.raises(ResultFileError, match=r"broken\.json: not a result of aneperf"):
            Result.load(tmp_path / "broken.json")
    assert data["rows"][0]["energy"]["method"] == "energy-model"


def test_hostile_texts_and_numbers_are_drawn() -> None:
    energy = Energy(**{**KNOWN, "method": "x\x1b[31m<b>" * 99, "caveat": "\x1b[0m<i>", "gflop": 1e-300})
    result = Result(probe="bench", environment=an_environment(), rows=(a_row(energy=energy),))
    text = str(result)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) < 200
    assert "<b>" not in result._repr_html_()
