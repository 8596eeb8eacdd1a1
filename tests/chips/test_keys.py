"""Keys of published figures, read as data, and figures that must agree with them."""

from collections import Counter

import pytest

from aneperf.chips import FORMS, SOURCES, read_key, shipped_figures
from aneperf.units import RATES, TIMES

FIGURES = shipped_figures()
OTHER_UNITS = {"W", "pJ", "MHz"}


def test_every_key_has_one_form_and_every_form_a_key() -> None:
    forms = Counter()
    for key in {figure.key for figure in FIGURES}:
        found = read_key(key)
        assert found, key
        forms[found.form.pattern] += 1
    assert set(forms) == {form.pattern for form in FORMS}


def test_a_key_has_one_unit() -> None:
    units: dict[str, set[str]] = {}
    for figure in FIGURES:
        units.setdefault(figure.key, set()).add(figure.unit)
    assert [key for key, found in units.items() if len(found) > 1] == []
    assert set().union(*units.values()) <= TIMES | RATES | OTHER_UNITS


@pytest.mark.parametrize(
    ("text", "parameters", "gflop"),
    [
        (
            "peak/conv512x128/sp64/fp32-ports",
            {"probe": "peak", "channels": 512, "layers": 128, "width": 64, "ports": "fp32"},
            4.294967296,
        ),
        (
            "int8/conv512x64/sp64x32/w8a8",
            {"channels": 512, "layers": 64, "height": 64, "width": 32, "dtype": "w8a8"},
            68.719476736,
        ),
        (
            "e5rt/conv3x3/c64b8/sp64x64/fp16",
            {"kernel": 3, "channels": 64, "batch": 8, "height": 64, "width": 64, "dtype": "fp16"},
            2.415919104,
        ),
        ("e5rt/gemm512/fp16", {"inner": 512, "dtype": "fp16"}, 0.268435456),
        (
            "matmul/k192n320s64/fp16-ports",
            {"inner": 192, "columns": 320, "rows": 64, "ports": "fp16"},
            0.00786432,
        ),
        (
            "training/static/stories110m/step",
            {"pipeline": "static", "model": "stories110m", "component": "step"},
            None,
        ),
        ("mpsgraph/conv3x3-512x20/int8", {"kernel": 3, "channels": 512, "layers": 20, "dtype": "int8"}, None),
    ],
)
def test_parameters(text: str, parameters: dict[str, int | str], gflop: float | None) -> None:
    key = read_key(text)
    assert key
    assert key.parameters == parameters
    assert key.family == text.split("/")[0]
    assert key.gflop == pytest.approx(gflop)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "peak",
        "peak/conv512x128",
        "peak/conv512x128/sp64/fp32-ports/more",
        "peak/conv512x128/sp64/fp32-ports\n",
        "peak/conv\u0665x128/sp64/fp32-ports",
        f"peak/conv{'9' * 5000}x1/sp64/fp32-ports",
    ],
)
def test_other_keys_have_no_form(text: str) -> None:
    assert read_key(text) is None


def test_times_and_rates_agree_with_the_operations_of_the_key() -> None:
    per_second = {"ms": 1e3, "us": 1e6}
    checked = 0
    for figure in FIGURES:
        key = read_key(figure.key)
        if key and key.gflop and figure.value and figure.tflops and figure.unit in per_second:
            rate = key.gflop / figure.value * per_second[figure.unit] / 1e3
            assert abs(rate - figure.tflops) < 0.006 + 0.02 * rate, figure
            checked += 1
    assert checked > 300


def test_every_figure_says_where_it_comes_from() -> None:
    for figure in FIGURES:
        assert figure.source in SOURCES
        assert figure.contributor or SOURCES[figure.source].name.startswith(
            ("Anemll/anemll-bench, issue 8", "ncdrone/rustane, issue 12", "a project that")
        )
        url = SOURCES[figure.source].url
        assert url is None or url.startswith("https://github.com/")


def test_ranges_hold_their_value_and_say_so() -> None:
    for figure in FIGURES:
        assert ("range" in figure.caveats) == (figure.low is not None), figure
        if figure.low is not None and figure.high is not None and figure.value is not None:
            assert figure.low <= figure.value <= figure.high


def test_figures_of_tools_that_never_write_their_inputs_say_so() -> None:
    families = {"peak", "latency", "sram", "int8"}
    for figure in FIGURES:
        is_zero = figure.key.split("/")[0] in families or figure.key == "power/coreml/zero-inputs"
        assert ("zero-inputs" in figure.caveats) == is_zero, figure


def test_the_route_is_in_the_key_where_it_is_another_library() -> None:
    for figure in FIGURES:
        family = figure.key.split("/")[0]
        if family in {"coreml", "e5rt", "mpsgraph"}:
            assert figure.route == family
        # dev-erik's latencies are Core ML's, according to their source.
        if family in {"peak", "sweep", "sram", "sustained", "int8", "qos", "training", "matmul", "omlx"}:
            assert figure.route == "private"
