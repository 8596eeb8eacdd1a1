"""The picture that suits a result."""

from pathlib import Path
from typing import Any

import pytest

from aneperf.errors import ArgumentError
from aneperf.report.comparison_plot import _ticks
from aneperf.results import Result, Row
from support.fakes import a_measured_row, a_result, a_row, an_environment

pytest.importorskip("matplotlib")


def at(median: float, key: str, params: dict[str, Any], **changes: Any) -> Row:
    fields: dict[str, Any] = {
        "ci_low": 0.9 * median,
        "ci_high": 1.2 * median,
        "p05": 0.8 * median,
        "p95": 2 * median,
    }
    fields |= {"metrics": {}, **changes}
    return a_row(key=key, params={"config": key, **params}, median=median, **fields)


def axes_of(result: Any, **options: Any) -> list[Any]:
    return list(result.plot(**options).figure.axes)


def scan(**changes: Any) -> Result:
    rows = [
        at(width / 64 * depth, f"{depth} {width}", {"width": width, "depth": depth, "height": 1}, **changes)
        for depth in (1, 2)
        for width in (64, 128, 1024)
    ]
    return a_result(*rows, probe="sweep")


def test_rows_that_differ_in_a_number_are_a_scan_over_it() -> None:
    (axes,) = axes_of(scan())
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("width", "median (ms)")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    lines = [line for line in axes.get_lines() if line.get_linestyle() == "-" and len(line.get_xdata()) == 3]
    assert [list(line.get_ydata()) for line in lines] == [[1.0, 2.0, 16.0], [2.0, 4.0, 32.0]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["depth 1", "depth 2"]
    assert "not a Neural Engine measurement" in axes.get_title()


def test_a_scan_shows_rates_and_the_rows_without_a_line() -> None:
    rows = [a_row(depth) for depth in (32, 48, 64)]
    other = a_row(64, key="other", params={"config": "o", "channels": 256, "depth": 64})
    times, rates = axes_of(a_result(*rows, other))
    assert (rates.get_xlabel(), rates.get_ylabel(), times.get_ylabel()) == ("depth", "TFLOPS", "median (ms)")
    assert [text.get_text() for text in times.get_legend().get_texts()] == ["channels 512", "channels 256"]


def test_texts_that_name_each_row_do_not_part_a_scan() -> None:
    rows = [at(n, f"n={n}", {"axis_n": n, "digest": f"{n:x}", "program": "p"}) for n in (1, 2, 3)]
    (axes,) = axes_of(a_result(*rows, probe="bench"))
    assert axes.get_xlabel() == "n"


def test_a_point_that_cannot_be_relied_on_is_hollow() -> None:
    (axes,) = axes_of(scan(flags=("drift",)))
    points = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert {line.get_markerfacecolor() for line in points} == {"white"}
    assert axes.get_legend().get_texts()[-1].get_text() == "hollow: not to be relied on"


def test_rows_of_known_work_and_bytes_are_a_roofline() -> None:
    works = [("a", 2.0, 1e6, 1.0), ("b", 8.0, 1e9, 4.0)]
    rows = [at(ms, name, {}, metrics={"gflop": gflop, "bytes": moved}) for name, gflop, moved, ms in works]
    (axes,) = axes_of(a_result(*rows, probe="bench"))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("FLOP per byte", "TFLOPS")
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["highest traffic of these rows, 250 GB/s", "highest rate of these rows, 2 TFLOPS"]
    assert [text.get_text() for text in axes.texts] == ["a", "b"]


def test_few_rows_with_durations_are_histograms() -> None:
    row = a_measured_row(200)
    (axes,) = axes_of(a_result(row))
    assert axes.get_ylabel() == "calls of 200"
    assert axes.patches[0].get_data().values.sum() == 200
    assert axes.get_legend().get_texts()[0].get_text() == f"median {row.median:.4g} ms"


def test_calls_of_very_different_durations_have_a_logarithmic_axis() -> None:
    calls = (5_000_000, *([1_000_000] * 50), *([20_000_000] * 10))
    (axes,) = axes_of(a_result(a_row(n=60, durations_ns=calls)))
    assert axes.get_xscale() == "log"
    assert axes.patches[0].get_data().values.sum() == 60


def test_a_profile_is_bars_in_the_order_of_the_program() -> None:
    rows = [at(ms, name, {"kind": "conv"}) for name, ms in (("b$", 2.0), ("a", 1.0), ("whole/p", 3.0))]
    (axes,) = axes_of(a_result(*rows, probe="profile"))
    assert [patch.get_width() for patch in axes.patches] == [2.0, 1.0]
    assert axes.get_title().startswith("p, 3 ms in all")


def test_other_rows_are_medians_by_row() -> None:
    (axes,) = axes_of(
        a_result(at(1.0, "a", {}), at(9.0, "b", {}), at(2.0, "c", {}, unit="TFLOPS"), probe="x")
    )
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    assert axes.get_xscale() == "log"


@pytest.mark.parametrize(
    ("result", "kind", "message"),
    [
        (a_result(a_row(status="error", reason="no")), None, "this peak result has no timed row to draw"),
        (a_result(at(1e300, "a", {}, p95=None)), None, "no timed row to draw"),
        (a_result(at(1.0, "a", {"n2": 1e-300})), None, "no timed row to draw"),
        (a_result(probe="suite"), None, "a suite has the rows of many probes"),
        (a_result(), "scan", "no scan: no parameter has 3 values while the others stay"),
        (a_result(), "roofline", 'no roofline: it needs the metrics "gflop" and "bytes"'),
        (a_result(), "histogram", "no histogram: no row has the durations of its calls"),
        (a_result(), "pie", "no picture is called 'pie': choose from scan, roofline, histogram, rows"),
    ],
)
def test_what_cannot_be_drawn_is_refused(result: Result, kind: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        result.plot(kind=kind)


def test_a_picture_is_saved_and_shown(tmp_path: Path, run: Any) -> None:
    result = a_result(at(1.0, "$x^{ $ \x1b", {}))
    picture = result.plot(tmp_path / "p.svg", kind="rows")
    assert "<svg" in (tmp_path / "p.svg").read_text()
    assert picture._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    result.save(tmp_path / "r.json")
    path, drawn = str(tmp_path / "r.json"), str(tmp_path / "p.png")
    assert run("show", path, "--plot", drawn).code == 0
    assert Path(drawn).read_bytes().startswith(b"\x89PNG")
    assert "p.txt: not a picture format" in run("show", path, "--plot", "p.txt").err
    assert "r.json: not a picture format" in run("show", path, "--plot", path).err


def test_a_comparison_is_drawn_beside_1() -> None:
    several = {"warm_up": None, "processes": (0,) * 5, "warm_ups": (0,) * 5, "medians": (1.0,) * 5}
    first = a_result(at(1.0, "a", {}, **several), at(1.0, "b", {}))
    second = a_result(at(2.0, "a", {}), at(1.0, "b", {}), environment=an_environment())
    (axes,) = axes_of(first.compare(second))
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    points = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert list(points[0].get_xdata()) == [0.5]
    assert [line.get_markerfacecolor() == "white" for line in points] == [False, True]


@pytest.mark.parametrize(("low", "high"), [(1, 1), (0.5, 1.2), (1e-7, 3e5), (40, 60)])
def test_ticks_hold_all_ratios_and_1(low: float, high: float) -> None:
    ticks = _ticks(low, high)
    assert 1 in ticks
    assert ticks[0] <= min(low, 1)
    assert ticks[-1] >= max(high, 1)
    assert 3 <= len(ticks) <= 20
