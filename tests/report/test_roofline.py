"""The roofline's numbers are those of the rows that they come from."""

from pathlib import Path
from typing import Any

import pytest

from aneperf.report.page.reading import read_sources
from aneperf.report.page.roofline import find_roofline, lay_out_roofline, roofline_section, thinned_points
from aneperf.results import Result, Row
from support.report_files import stack_row, sweep
from support.saved_results import MAC, saved


def int8_row(ms: float, precision: str) -> Row:
    return stack_row(256, 64, ms, key=f"int8/conv256x64/sp64/{precision}", params={"precision": precision})


def read(tmp_path: Path, *results: Result) -> list[Any]:
    return read_sources([saved(tmp_path / f"{at}.json", result) for at, result in enumerate(results)])


def test_a_ceiling_is_a_row(tmp_path: Path) -> None:
    fast, wide = stack_row(512, 128, 1.0), stack_row(2048, 1, 0.1)
    rows = (fast, wide, stack_row(64, 1, 0.5))
    w8a8 = int8_row(0.2, "w8a8")
    sources = read(tmp_path, sweep(*rows), sweep(int8_row(0.5, "fp16"), w8a8, probe="int8"))
    found = find_roofline(sources)
    assert found is not None
    assert found.fp16 is not None
    assert found.int8 is not None
    assert len(found.points) == 5
    assert (found.fp16.row, found.fp16.rate) == (wide, wide.metrics["tflops"])
    assert (found.int8.row, found.int8.rate) == (w8a8, w8a8.metrics["tflops"])
    moved = 2 * 2048**2 + 2 * 4 * 2048 * 64  # weights, and two ports of fp32
    assert found.traffic.point is not None
    assert (found.traffic.point.row, found.traffic.gb_per_s) == (wide, pytest.approx(1e-6 * moved / 0.1))
    assert found.fp16.intensity == pytest.approx(1e9 * wide.metrics["gflop"] / moved)
    table = lay_out_roofline(found, "device")
    assert [(line[0], line[1], line[3], line[5]) for line in table.rows] == [
        ("Compute, fp16", f"{wide.metrics['tflops']:.3f}", wide.name, "0.json"),
        ("Compute, int8", f"{w8a8.metrics['tflops']:.3f}", w8a8.name, "1.json"),
        ("Traffic", f"at least {found.traffic.gb_per_s:.2f}", wide.name, "0.json"),
    ]
    assert "a lower bound" in table.lines[-1]


def sram_row(channels: int, ms: float, **changes: Any) -> Row:
    key = f"sram/conv{channels}x1/sp{changes.get('params', {}).get('width', 64)}/fp32-ports"
    return stack_row(channels, 1, ms, key=key, **changes)


def sram_rows(gb_per_s: float, floor_ms: float = 0.2) -> list[Row]:
    """Return sizes whose weights take the time of a floor and a bandwidth."""
    sizes = range(512, 4097, 512)
    return [sram_row(size, floor_ms + 2 * size**2 / (1e6 * gb_per_s)) for size in sizes]


def test_the_sizes_of_sram_give_the_traffic_without_what_a_call_costs(tmp_path: Path) -> None:
    fast = stack_row(512, 128, 2.0)
    found = find_roofline(read(tmp_path, sweep(*sram_rows(50.0), probe="sram"), sweep(fast)))
    assert found is not None
    assert found.traffic.gb_per_s == pytest.approx(50.0)
    assert not found.traffic.is_least
    assert all(point.gb_per_s < 50 for point in found.points if point.probe == "sram")
    table = lay_out_roofline(found, "device")
    assert table.rows[2] == (
        "Traffic",
        "50.00",
        "GB/s",
        "line through 8 sizes of weights",
        "sram",
        "0.json",
        "",
    )
    assert "sram's sizes show" in table.lines[-1]


def test_a_row_that_moved_more_than_the_line_is_a_lower_bound(tmp_path: Path) -> None:
    fast = stack_row(4096, 1, 0.5)
    found = find_roofline(read(tmp_path, sweep(*sram_rows(50.0), probe="sram"), sweep(fast)))
    assert found is not None
    assert found.traffic.is_least
    assert found.traffic.point is not None
    assert found.traffic.point.row == fast
    said = lay_out_roofline(found, "device").lines[-1]
    assert said.endswith("The line through the sizes of sram gives less: 50.00 GB/s.")


def test_sizes_that_arithmetic_bounds_are_a_lower_bound(tmp_path: Path) -> None:
    half = sram_row(4096, 1.05, params={"width": 32})
    found = find_roofline(read(tmp_path, sweep(*sram_rows(50.0, 1.0), half, probe="sram")))
    assert found is not None
    assert (found.traffic.is_least, found.traffic.point) == (True, None)
    assert "which arithmetic limits" in lay_out_roofline(found, "device").lines[-1]


@pytest.mark.parametrize(
    "changes",
    [
        {"params": {"channels": "512"}},
        {"params": {"width": 0.5}},
        {"params": {"channels": 10**9}},
        {"metrics": {}},
        {"metrics": {"weights_mib": 1e300, "gflop": 1.0}},
        {"unit": "TFLOPS"},
    ],
)
def test_sizes_that_make_no_line_are_left_out(tmp_path: Path, changes: dict[str, Any]) -> None:
    odd = [sram_row(size, 0.1 * at, **changes) for at, size in enumerate((512, 1024, 2048, 4096), 1)]
    found = find_roofline(read(tmp_path, sweep(*odd, stack_row(64, 1, 1.0), probe="sram")))
    assert found is not None
    assert found.traffic.point is not None


def test_machines_of_one_label_do_not_share_a_roofline(tmp_path: Path) -> None:
    rows = [stack_row(512, 16, 1.0)]
    other = MAC.__class__(**{**MAC.to_dict(), "memory_bytes": 2**34, "load": 1.0})
    same = MAC.__class__(**{**MAC.to_dict(), "load": 2.0})
    results = [sweep(*rows, environment=environment) for environment in (MAC, other, same)]
    section = roofline_section(read(tmp_path, *results), pictures=False)
    assert section is not None
    assert [block.title for block in section.blocks] == [
        "Apple Neural Engine, Apple M4 Max (0.json, 2.json)",
        "Apple Neural Engine, Apple M4 Max (1.json)",
    ]


def test_bytes_that_a_row_tells_are_taken(tmp_path: Path) -> None:
    row = stack_row(512, 8, 2.0, key="bench/p", metrics={"gflop": 4.0, "bytes": 1e6})
    found = find_roofline(read(tmp_path, sweep(row, probe="bench")))
    assert found is not None
    assert found.fp16 is not None
    assert (found.fp16.rate, found.fp16.intensity) == (2.0, 4000.0)
    assert found.traffic.gb_per_s == pytest.approx(0.5)


def test_a_ceiling_can_be_relied_on_if_any_row_can(tmp_path: Path) -> None:
    sure, doubtful = stack_row(512, 16, 1.0), stack_row(512, 32, 1.0, flags=("drift",))
    found = find_roofline(read(tmp_path, sweep(sure, doubtful)))
    assert found is not None
    assert found.fp16 is not None
    assert found.fp16.row == sure
    alone = find_roofline(read(tmp_path, sweep(doubtful)))
    assert alone is not None
    assert "not to be relied on: drift" in lay_out_roofline(alone, "device").rows[0][-1]
    for changes, said in (
        ({"ci_low": None, "ci_high": None}, "no interval"),
        ({"ci_low": 0.5}, "a wide interval"),
    ):
        lone = find_roofline(read(tmp_path, sweep(stack_row(512, 16, 1.0, **changes))))
        assert lone is not None
        assert lay_out_roofline(lone, "device").rows[0][-1] == f"not to be relied on: {said}"


def test_many_points_are_thinned_and_ceilings_kept(tmp_path: Path) -> None:
    rows = [stack_row(8 + at, 1, 1.0 if at == 301 else 100.0) for at in range(700)]
    found = find_roofline(read(tmp_path, sweep(*rows)))
    assert found is not None
    shown = thinned_points(found)
    assert len(shown) == 235  # one of three, and the one with the highest rate
    assert [point.row for point in shown if point.row == rows[301]]


def test_what_has_no_work_or_time_is_no_point(tmp_path: Path) -> None:
    rows = (
        stack_row(64, 1, 1.0, metrics={}),
        stack_row(64, 2, 1.0, status="error", reason="wrong"),
        stack_row(64, 3, 1.0, unit="TFLOPS"),
        stack_row(64, 4, 1.0, metrics={"gflop": 1.0, "bytes": 1e300}),
        stack_row(64, 5, 1.0, params={"channels": "many"}),
    )
    assert find_roofline(read(tmp_path, sweep(*rows))) is None
    assert roofline_section(read(tmp_path, sweep(*rows)), pictures=False) is None


def test_an_engine_and_software_have_rooflines_of_their_own(tmp_path: Path) -> None:
    rows = [stack_row(512, 16, 1.0)]
    section = roofline_section(read(tmp_path, sweep(*rows), sweep(*rows, environment=MAC)), pictures=False)
    assert section is not None
    titles = [block.title for block in section.blocks]
    assert len(titles) == 2
    assert "not a Neural Engine measurement" in titles[0]
    assert titles[1] == "Apple Neural Engine, Apple M4 Max"
