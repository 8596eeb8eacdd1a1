import html.parser
import math
from typing import Any

import pytest

from aneperf.report.columns import significant
from aneperf.report.html import to_html
from aneperf.report.result_table import lay_out_environment, lay_out_result
from aneperf.report.table import to_text
from aneperf.results import Result
from support.fakes import a_result, a_row, an_environment

HOSTILE = "</td><script>alert(1)</script>\"' [bold red]x[/] \x1b[31m\x07 \u202e"


class Parser(html.parser.HTMLParser):
    """Collects tags and texts, and checks that tags nest."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert {name for name, _ in attrs} <= {"style"}
        self.tags.append(tag)
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def parsed(text: str) -> Parser:
    parser = Parser()
    parser.feed(text)
    parser.close()
    assert not parser._open
    return parser


def a_table() -> Result:
    return a_result(
        a_row(
            96,
            median=7.4,
            ci_low=7.2,
            ci_high=7.5,
            p05=7.1,
            p95=9.0,
            flags=("drift",),
            metrics={"tflops": 0.41},
        ),
        a_row(128),
        a_row(
            256,
            status="error",
            reason="wrong output: relative error 1.4, where fp16 explains 0.03",
            metrics={"weights_mib": 32.0, "gflop": 2.147, "tflops": 99.0},
        ),
        a_row(64, n=3, ci_low=None, ci_high=None, flags=("few samples",), metrics={"tflops": 0.3}),
        notes=("Ports are fp32.",),
    )


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.43492, 3, "0.435"),
        (9.8714, 4, "9.871"),
        (9.99996, 4, "10.00"),
        (120.46, 4, "120.5"),
        (123456.7, 3, "123457"),
        (0.000123456, 3, "0.000123"),
        (0, 3, "0.00"),
        (None, 3, "-"),
    ],
)
def test_significant(value: float | None, digits: int, text: str) -> None:
    assert significant(value, digits) == text


def test_the_published_columns_stand_side_by_side() -> None:
    lines = str(a_table()).splitlines()
    header = next(line for line in lines if "Config" in line)
    assert header.split() == ["Config", "W", "(MiB)", "GFLOP", "ms/eval", "±", "p95", "TFLOPS"]
    row = next(line for line in lines if line.lstrip().startswith("128x conv 512ch sp64"))
    name = ["128x", "conv", "512ch", "sp64"]
    assert row.split() == [*name, "64.0", "4.29", "9.871", "0.5%", "10.40", "0.435", "best"]


def test_a_wrong_answer_shows_its_reason_and_no_speed() -> None:
    text = str(a_table())
    row = next(line for line in text.splitlines() if line.lstrip().startswith("256x conv"))
    assert row.split()[-4:] == ["-", "-", "-", "error"]
    assert "99" not in text
    assert "256x conv 512ch sp64: error: wrong output: relative error 1.4" in text


@pytest.mark.parametrize("probe", ["compat", "parity"])
def test_a_row_without_a_question_is_called_by_its_key(probe: str) -> None:
    lost = a_row(key=f"{probe}/unfinished", status="error", reason="the child died")
    rows = (a_row(key=f"{probe}/ports/fp32"), lost)
    table = lay_out_result(a_result(*rows, probe=probe))
    assert [row[0] for row in table.rows] == ["ports/fp32", "unfinished"]


def test_rows_share_a_reason() -> None:
    rows = [a_row(depth, status="skipped", reason="no time") for depth in (32, 48)]
    assert lay_out_result(a_result(*rows, a_row(96, status="error", reason="no time"))).lines[:2] == (
        "32x conv 512ch sp64, 48x conv 512ch sp64: skipped: no time",
        "96x conv 512ch sp64: error: no time",
    )


def test_no_interval_shows_none() -> None:
    table = lay_out_result(a_result(a_row(ci_low=None, ci_high=None)))
    assert table.rows[0][3:6] == ("9.871", "-", "10.40")
    assert any("-: too few independent calls to tell" in line for line in table.lines)
    assert not any("too few independent" in line for line in lay_out_result(a_result(a_row())).lines)


@pytest.mark.parametrize("render", [str, lambda thing: thing._repr_html_()], ids=["text", "html"])
def test_the_emulator_is_never_taken_for_an_engine(render: Any) -> None:
    label = "oftware emulator on AMD EPYC; not a Neural Engine measurement"
    for thing in (a_table(), a_result(probe="unheard of"), an_environment()):
        assert label in render(thing)
    engine = an_environment(device="ane", chip="Apple M4 Max", subtype="h16")
    assert "emulator" not in render(engine)
    assert "Neural Engine, Apple M4 Max" in render(a_result(environment=engine))


@pytest.mark.parametrize("render", [str, lambda thing: thing._repr_html_()], ids=["text", "html"])
def test_the_reason_of_a_fallback_is_shown(render: Any) -> None:
    environment = an_environment(device_note="The emulator stands in: no service")
    assert "The emulator stands in: no service" in render(a_result(environment=environment))
    assert "The emulator stands in: no service" in render(environment)


def hostile() -> Result:
    row = a_row(key=HOSTILE, params={"config": HOSTILE}, flags=(HOSTILE,))
    wrong = a_row(key="b", status="error", reason=HOSTILE, params={"config": HOSTILE})
    facts = {"cpu": HOSTILE, "chip": HOSTILE, "properties": {HOSTILE: HOSTILE}, "device_note": HOSTILE}
    return a_result(row, wrong, environment=an_environment(**facts), notes=(HOSTILE,))


def test_html_escapes_everything() -> None:
    for thing in (hostile(), hostile().environment, a_result(*hostile(), probe=HOSTILE)):
        parser = parsed(thing._repr_html_())
        assert set(parser.tags) <= {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td"}
        assert any("<script>alert(1)</script>" in text for text in parser.texts)


def test_text_cannot_steer_a_terminal() -> None:
    for thing in (hostile(), hostile().environment, a_result(*hostile(), probe=HOSTILE)):
        text = str(thing)
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
        assert "[bold red]" in text.replace("\n", "")


def test_html_holds_the_table() -> None:
    parser = parsed(a_table()._repr_html_())
    assert parser.tags.count("th") == 8
    assert parser.tags.count("tr") == 1 + 4
    assert {"128x conv 512ch sp64", "9.871", "0.435", "Ports are fp32."} <= set(parser.texts)


def test_text_and_html_draw_the_same_cells() -> None:
    table = lay_out_result(a_table())
    texts = set(parsed(to_html(table)).texts)
    flat = " ".join(to_text(table).split())
    for cell in (cell for row in table.rows for cell in row if cell):
        assert cell in texts
        assert cell in flat


def test_a_result_without_rows_and_one_of_another_probe_have_tables() -> None:
    empty = Result(probe="peak", environment=an_environment(), rows=())
    assert "TFLOPS" in str(empty)
    parsed(empty._repr_html_())
    other = a_result(a_row(), probe="unheard of")
    assert "peak/conv512x128/sp64/fp32-ports" in str(other)


def test_extreme_numbers_are_drawn() -> None:
    row = a_row(
        median=1e300, mean=None, p05=0.0, p95=None, ci_low=0.0, ci_high=1e308, metrics={"tflops": 5e-324}
    )
    assert str(a_result(row))
    zero = a_row(median=0.0, p05=0.0, ci_low=0.0, metrics={"tflops": math.ulp(0)})
    assert str(a_result(zero))


def test_environment_table() -> None:
    environment = an_environment(variables={"OPENBLAS_CORETYPE": "Haswell"}, os_build=None)
    rows = lay_out_environment(environment).rows
    for fact in (
        ("memory", "24.0 GiB"),
        ("os build", "unavailable"),
        ("OPENBLAS_CORETYPE", "Haswell"),
        ("threads", "4"),
    ):
        assert fact in rows


def test_environment_table_tells_published_facts_of_a_chip() -> None:
    rows = dict(lay_out_environment(an_environment(device="ane", chip="Apple M6")).rows)
    assert rows["M6: engines"] == "2, as published"
    assert rows["M6: clock"] == "2580 MHz at most, as published"
    assert rows["M6: peak computed"].startswith("42.3 TFLOPS of fp16 (32 cores of 256 products a cycle")
    assert "31 TFLOPS of fp16 with Winograd's transform (751K, on one engine)" in rows["M6: peak measured"]
    assert "profile of" not in rows

    rows = dict(lay_out_environment(an_environment(device="emulator", chip="h18g")).rows)
    assert rows["profile of"] == "M6"
    assert rows["M6: engines"] == "2, as published"

    rows = dict(lay_out_environment(an_environment(device="emulator", chip="h16")).rows)
    assert rows["profile of"] == "M4, M4 Pro, M4 Max, A17 Pro"
    for name in ("M4 Pro", "A17 Pro"):  # only the one that was asked for
        asked = an_environment(device="emulator", chip="h16", properties={"imitates": name})
        facts = {row.partition(":")[0] for row, _ in lay_out_environment(asked).rows if ":" in row}
        assert facts == ({name} if name == "M4 Pro" else set())
    for chip in ("h16", "none", "Apple M9", "Apple A17 Pro"):
        rows = dict(lay_out_environment(an_environment(device="ane", chip=chip)).rows)
        assert not [name for name in rows if ":" in name]


def test_a_busy_machine_is_told_at_the_top() -> None:
    busy = a_result(environment=an_environment(load=3.0, cores=4))
    assert lay_out_result(busy).heading[2].startswith("The machine was busy before: 3.0 threads ran")
    for calm in (2.9, None):
        assert len(lay_out_result(a_result(environment=an_environment(load=calm, cores=4))).heading) == 2


def test_an_unknown_fact_of_the_machine_is_no_number() -> None:
    known = an_environment(frequency_mhz=3200.0, temperature_c=51.0, model="Mac16,10", governor="performance")
    rows = dict(lay_out_environment(known).rows)
    assert (rows["frequency"], rows["temperature"]) == ("3200 MHz", "51 C")
    assert (rows["model"], rows["governor"], rows["commit"]) == ("Mac16,10", "performance", "unavailable")
    unknown = dict(lay_out_environment(an_environment()).rows)
    assert unknown["frequency"] == unknown["temperature"] == unknown["model"] == "unavailable"
