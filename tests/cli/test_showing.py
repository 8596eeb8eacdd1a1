"""The verbs show, dump and list."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from aneperf.chips import CHIPS
from aneperf.kernels.presets import PRESETS
from aneperf.kinds import Kind
from aneperf.outputs import check_output
from aneperf.probes.registry import PROBES
from aneperf.results import Result
from aneperf.runner.merging import merge
from support.command import assert_refused
from support.fakes import a_measured_row, a_result, a_row, an_environment

TELEMETRY = """\
{"type":"run","aneperf":"0","model":"stories15m","config":{"pipeline":"static","steps":4},"environment":ENV}
{"type":"step","step":0,"loss":10.0,"t_ane":1.0,"compiles":3}
{"type":"step","step":1,"loss":8.0}
{"type":"batch","batch":2,"compile_ms":120.5,"train_ms":8.0,"ms_per_step":4.0}
{"type":"update","update":1,"applied":true,"tokens_per_s":64.0}
{"type":"validation","step":1,"loss":9.5,"best_loss":9.5,"best_step":1}
{"type":"worker","event":"lost","step":2,"reason":"killed by SIGKILL"}
{"type":"step","step":2,"loss":null}
{"type":"batch","batch":1,"compile_ms":0.0,"train_ms":3.0,"ms_per_step":3.0}
{"type":"update","update":2,"applied":false,"tokens_per_s":80.0}
{"type":"something new","of":[1, 2]}
{"type":"step","st"""


@pytest.fixture
def result(tmp_path: Path) -> str:
    key = "peak/conv512x48/sp64/fp32-ports"
    parts = [a_measured_row(60, seed=seed, key=key, params={"config": "48x conv"}) for seed in (1, 2)]
    rows = (a_measured_row(300), merge(parts), a_row(96, status="skipped", reason="no time"))
    a_result(*rows).save(tmp_path / "r.json")
    return str(tmp_path / "r.json")


@pytest.fixture
def telemetry(tmp_path: Path) -> str:
    environment = json.dumps(an_environment().to_dict())
    (tmp_path / "t.jsonl").write_text(TELEMETRY.replace("ENV", environment))
    return str(tmp_path / "t.jsonl")


def test_a_result_is_shown_as_it_was_printed(run: Any, result: str) -> None:
    outcome = run("show", result)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"{Result.load(result)}\n"
    assert "Calls" in run("show", result, "-v").out


def test_a_result_is_converted(run: Any, result: str, tmp_path: Path) -> None:
    assert run("show", result, "-o", "-.md").out.startswith("**aneperf peak**")
    copy = tmp_path / "copy.json"
    assert "TFLOPS" in run("show", result, "-o", str(copy)).out
    assert copy.read_bytes() == Path(result).read_bytes()
    assert_refused(run("show", result, "-o", result), "is also read, as FILE")


def test_a_device_and_a_comparison_are_shown(run: Any, result: str, tmp_path: Path) -> None:
    for arguments, fact in ((["info"], "numpy"), (["compare", result, result], "48x conv")):
        path = str(tmp_path / f"{arguments[0]}.json")
        run(*arguments, "-o", path)
        shown = run("show", path)
        assert (shown.code, shown.err) == (0, "")
        assert fact in shown.out or "peak/conv512x48" in shown.out
        assert run("show", path, "-o", "-.csv").out.startswith(("fact,value\n", "key,"))


def test_a_comparison_of_nothing_is_one(run: Any, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("[]\n")
    shown = run("show", str(tmp_path / "c.json"))
    assert (shown.code, shown.out.strip(), shown.err) == (0, "aneperf compare", "")


def test_telemetry_is_shown_by_updates(run: Any, telemetry: str) -> None:
    out = run("show", telemetry).out
    assert out.startswith("aneperf train stories15m, pipeline static: telemetry\nSoftware emulator")
    table = [line.split() for line in out.splitlines() if line.strip()[:1] in ("1", "2")]
    assert table == [
        ["1", "1", "9.0000", "4.000", "120.5", "64.00"],
        ["2", "2", "-", "3.000", "0.000", "80.00", "skipped"],
    ]
    for line in (
        "Steps: 3, in 2 updates.",
        "Workers lost: 1; killed by SIGKILL.",
        "Validation loss: 9.5000 at",
    ):
        assert line in out
    assert run("show", telemetry, "-o", "-.csv").out.splitlines()[1] == "update/1,1,9.0,120.5,4.0,64.0,True"


def test_a_long_run_shows_as_many_updates_as_fit(run: Any, tmp_path: Path) -> None:
    lines = ['{"type":"run","model":"m"}', *(f'{{"type":"update","update":{n}}}' for n in range(1, 1001))]
    (tmp_path / "t.jsonl").write_text("\n".join(lines) + "\n")
    out = run("show", str(tmp_path / "t.jsonl")).out
    assert [line.split()[0] for line in out.splitlines() if line.endswith("-")] == [
        str(n) for n in range(50, 1001, 50)
    ]
    assert "One of 50 updates is shown." in out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '[{"key":"a","verdict":"",' + ",".join(f'"{n}":1' for n in range(501)) + "}]",
            "has more than 500 columns",
        ),
        ("", "is empty, not a result of aneperf"),
        ("program(1.3)" * 9, "is MIL text, not a result of aneperf"),
        ('{"type":"run","model":3}\n{"type":"step"}\n', "line 1 is no telemetry"),
        ('{"type":"step","loss":"low"}\n\n', "line 1 is no telemetry"),
        ('[{"key":"a","verdict":[1]}]', "not a comparison of results"),
        ('{"aneperf":"1","device":3}', "not a description of a device"),
        (
            '[{"key":"a","verdict":""}' + ',{"key":""}' * 2000 + "]",
            "has more than 2000 rows, the most that a",
        ),
        (
            '[{"key":"a","verdict":""}' + r',{"k\u0065y":""}' * 16_000 + "]",
            "has more than 2000 rows, the most",
        ),
        (
            '{"type":"run","model":"m"}\n' + '{"type":"step"}\n' * 500_000,
            "has more than 500000 lines, the most that",
        ),
    ],
)
def test_what_cannot_be_shown_is_one_line(run: Any, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "f").write_text(content)
    assert_refused(run("show", str(tmp_path / "f")), message)


def test_durations_are_plain_numbers(run: Any, result: str) -> None:
    row = Result.load(result).rows[0]
    assert run("dump", result, row.key).out.split() == [str(ns) for ns in row.kept]
    assert run("dump", result, "128x", "--warm-up").out.split() == [str(ns) for ns in row.durations_ns]
    assert run("dump", result).out.split() == [row.key for row in Result.load(result) if row.durations_ns]


def test_durations_of_processes_are_csv(run: Any, result: str, tmp_path: Path) -> None:
    row = Result.load(result).rows[1]
    path = tmp_path / "d.csv"
    for _ in range(2):
        assert run("dump", result, "48x conv", "--warm-up", "-o", str(path)).code == 0
    calls = list(csv.DictReader(path.read_text().splitlines()))
    assert [int(call["ns"]) for call in calls] == list(row.durations_ns)
    assert [int(call["ns"]) for call in calls if call["warm_up"] == "0"] == list(row.kept)
    assert [sum(call["process"] == process for call in calls) for process in "12"] == list(row.processes)
    assert run("dump", result, "48x conv", "-o", "-.csv").out.startswith("call,process,warm_up,ns\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["conv"], "3 rows have 'conv' in their key or name: choose from peak/conv512x128/sp64/fp32-ports, "),
        (["conv512x49"], "no row has 'conv512x49' in their key or name: choose from peak/conv512x"),
        (["96x"], "row 'peak/conv512x96/sp64/fp32-ports' has no durations (skipped: no time)"),
        (["128x", "-o", "d.txt"], "-o d.txt: dump writes CSV: name a file that ends in .csv, or -.csv"),
    ],
)
def test_what_cannot_be_dumped_is_one_line(run: Any, result: str, arguments: list[str], message: str) -> None:
    assert_refused(run("dump", result, *arguments), message)


def test_calls_that_are_all_warm_up_are_told(run: Any, tmp_path: Path) -> None:
    row = a_row(durations_ns=(9_871_000,) * 10_000, warm_up=10_000, n=19)
    a_result(row).save(tmp_path / "r.json")
    outcome = run("dump", str(tmp_path / "r.json"), "128x")
    assert_refused(outcome, f"row {row.key!r}: the first 10000 calls are kept, all of them warm-up")
    assert run("dump", str(tmp_path / "r.json"), "128x", "--warm-up").out.count("9871000\n") == 10_000


def test_lists_have_everything(run: Any, tmp_path: Path) -> None:
    out = run("list").out
    for name in (*PROBES, *(chip.name for chip in CHIPS), *PRESETS):
        assert f"\n{name} " in out
    chips = run("list", "chips").out
    assert "stories15m" not in chips
    line = next(line for line in chips.splitlines() if line.startswith("M4 Max "))
    assert line.split()[2:] == ["h16", "-", "1", "-", "38", "int8", "-", "-", "187"]
    path = str(tmp_path / "list.json")
    for _ in range(2):
        run("list", "models", "-o", path)
    assert json.loads(Path(path).read_text())[0] | {"parameters": 0} == {
        "list": "models",
        "name": "stories260k",
        "parameters": 0,
        "dim": 64,
        "hidden": 172,
        "layers": 5,
        "heads": 8,
        "vocab": 512,
        "seq": 512,
    }
    check_output(path, Kind.LIST)
    assert "'phones' is not one of 'probes', 'chips', 'models'" in run("list", "phones").err
