import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import aneperf
from aneperf.probes import peak
from aneperf.results import Result
from support.command import Outcome
from support.fakes import FakeDevice, FakeStack, in_this_process
from support.parameters import thorough
from support.terminals import AsTerminal

STACKS = tuple(FakeStack(channels=4, depth=depth, width=4) for depth in (1, 2, 3))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    """Offer the device that `open` gives, and three small configurations in the published ones' place."""
    device = FakeDevice()
    in_this_process(monkeypatch)
    monkeypatch.setattr("aneperf.device.open", lambda *args, **kwargs: device)
    monkeypatch.setattr(peak, "PUBLISHED", STACKS)
    monkeypatch.setattr(peak, "peak", functools.partial(peak.peak, clock=device.clock))
    return device


def test_peak_prints_its_table(device: FakeDevice, run: Any) -> None:
    outcome = run("peak")
    assert outcome.code == 0
    assert "3x conv 4ch sp4" in outcome.out
    assert "not a Neural Engine measurement" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert "\x1b" not in outcome.out
    assert outcome.err == ""


def test_peak_saves_its_result(device: FakeDevice, run: Any, tmp_path: Path) -> None:
    assert run("peak", "--ports", "fp16", "-o", str(tmp_path / "r.json")).code == 0
    result = Result.load(tmp_path / "r.json")
    assert [row.key for row in result] == [f"peak/conv4x{depth}/sp4/fp16-ports" for depth in (1, 2, 3)]


def test_peak_prints_json(
    device: FakeDevice, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run("peak", "-o", "-")
    assert outcome.code == 0
    (tmp_path / "r.json").write_text(outcome.out)
    assert len(Result.load(tmp_path / "r.json")) == 3
    assert "TFLOPS" in outcome.err
    assert os.listdir(tmp_path) == ["r.json"]


def test_peak_measures_the_chosen_configurations(device: FakeDevice, run: Any) -> None:
    outcome = run("peak", "--config", "3x conv 4ch sp4", "--config", "1x conv 4ch sp4")
    assert outcome.code == 0
    lines = [line.split()[0] for line in outcome.out.splitlines() if "x conv 4ch sp4" in line]
    assert lines == ["3x", "1x"]


def test_a_measurement_that_cannot_be_saved_is_still_printed(
    device: FakeDevice, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    outcome = run("peak", "-o", str(tmp_path / "r.json"))
    assert outcome.code == 2
    assert "3x conv 4ch sp4" in outcome.out
    assert outcome.err.endswith("r.json: cannot write: No space left on device\n")


ON_A_FAKE_DEVICE = """
import functools
from aneperf import device
from aneperf.cli.main import main
from aneperf.probes import peak
from support.fakes import FakeDevice, FakeStack, in_this_process
fake = FakeDevice()
device.open = lambda *args, **kwargs: fake
peak.PUBLISHED = [FakeStack(channels=4, depth=1, width=4)]
peak.peak = functools.partial(peak.peak, clock=fake.clock)
main()
"""


def with_output(kind: str, *arguments: str) -> Outcome:
    """Run the command in a process of its own, whose standard output is closed, full or without a reader."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("PYTHONUNBUFFERED", None)
    command = [sys.executable, "-c", ON_A_FAKE_DEVICE, *arguments]
    if kind == "closed":
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    reader, output = os.pipe()
    os.close(reader)
    if kind == "full":
        os.close(output)
        output = os.open("/dev/full", os.O_WRONLY)
    try:
        run = subprocess.run(
            command,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
            env=environment,
        )
    finally:
        os.close(output)
    return Outcome(run.returncode, "", run.stderr)


CLOSED = "cannot write the output: standard output is closed"
OUTPUTS = [
    ("pipe", 141, []),
    pytest.param(
        "full",
        2,
        ["cannot write the output: No space left on device"],
        marks=pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here"),
    ),
]


@pytest.mark.parametrize(("kind", "code", "messages"), OUTPUTS)
def test_output_that_cannot_be_written_loses_no_measurement(
    tmp_path: Path, kind: str, code: int, messages: list[str]
) -> None:
    outcome = with_output(kind, "peak", "--processes", "1", "-o", str(tmp_path / "r.json"))
    assert outcome.code == code
    assert outcome.err.splitlines() == [f"aneperf: {message}" for message in messages]
    assert len(Result.load(tmp_path / "r.json")) == 1


def test_a_file_is_all_that_is_asked_for_where_standard_output_is_closed(tmp_path: Path) -> None:
    path = str(tmp_path / "r.json")
    for arguments in (
        ["peak", "--processes", "1", "-o", path],
        ["show", path, "-o", str(tmp_path / "r.md")],
        ["compare", path, path, "-o", str(tmp_path / "c.json")],
    ):
        outcome = with_output("closed", *arguments)
        assert outcome.code == 0
        assert outcome.err.startswith("aneperf ")
        assert "peak" in outcome.err
    assert sorted(os.listdir(tmp_path)) == ["c.json", "r.json", "r.md"]


@pytest.mark.parametrize(("kind", "code", "messages"), [*OUTPUTS, ("closed", 2, [CLOSED])])
@pytest.mark.parametrize(
    "arguments",
    [
        ["peak", "--processes=1"],
        ["--version"],
        *thorough(["peak", "--processes=1", "-o", "-"], ["info"], ["validate", "--schema"]),
    ],
    ids=" ".join,
)
def test_output_that_cannot_be_written_is_one_line(
    arguments: list[str], kind: str, code: int, messages: list[str]
) -> None:
    outcome = with_output(kind, *arguments)
    assert outcome.code == code
    errors = [line for line in outcome.err.splitlines() if line.startswith("aneperf: ")]
    if arguments[0] == "peak" and kind == "closed":
        messages = ["standard output is closed: there is nowhere to write the result"]
    assert errors == [f"aneperf: {message}" for message in messages]
    assert "Traceback" not in outcome.err
    assert "Exception ignored" not in outcome.err


def test_help_for_a_reader_that_is_gone() -> None:
    outcome = with_output("pipe", "peak", "--help")
    assert (outcome.code, outcome.err) == (141, "")


def test_a_row_in_error_is_exit_code_1(device: FakeDevice, run: Any) -> None:
    device.outcomes = {"2x conv 4ch sp4": 1.5}
    outcome = run("peak")
    assert outcome.code == 1
    assert "wrong output" in outcome.out


def test_an_unsupported_row_is_no_failure_but_nothing_measured_is(device: FakeDevice, run: Any) -> None:
    refusal = aneperf.CompileError("[compile] CompilationFailure: too wide")
    device.outcomes = {"2x conv 4ch sp4": refusal}
    assert run("peak").code == 0
    device.outcomes = {stack.name: refusal for stack in STACKS}
    outcome = run("peak")
    assert outcome.code == 1
    assert "too wide" in outcome.out


def test_an_interrupt_keeps_what_was_finished(device: FakeDevice, run: Any, tmp_path: Path) -> None:
    device.outcomes = {"3x conv 4ch sp4": KeyboardInterrupt()}
    outcome = run("peak", "-o", str(tmp_path / "r.json"))
    assert outcome.code == 130
    assert outcome.err == "aneperf: interrupted\n"
    assert "2x conv 4ch sp4" in outcome.out
    assert "3x conv 4ch sp4" not in outcome.out
    result = Result.load(tmp_path / "r.json")
    assert len(result) == 2
    assert "Interrupted" in result.notes[0]


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 2, "MemoryError"),
        (OSError(5, "Input/output error"), 2, "[Errno 5] Input/output error"),
    ],
)
def test_no_failure_shows_a_traceback(
    run: Any, monkeypatch: pytest.MonkeyPatch, failure: BaseException, code: int, message: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise failure

    monkeypatch.setattr("aneperf.device.open", fail)
    assert run("info") == Outcome(code, "", f"aneperf: {message}\n")


def test_an_interrupt_before_the_first_row(device: FakeDevice, run: Any) -> None:
    device.outcomes = {"1x conv 4ch sp4": KeyboardInterrupt()}
    assert run("peak").code == 130


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "gpu"], "no device is called 'gpu': choose ane, emulator"),
        (["--device", ""], "no device is called ''"),
        (["--device", "emulator:"], "no device is called 'emulator:'"),
        (["--device", "emulator:h16", "--chip", "h13"], "name two chips"),
        (["--device", "ane", "--chip", "h13"], "a chip is for the emulator"),
        (["--device", "emulator", "--chip", "m9"], "no chip is called 'm9'"),
        (["--config", "1x conv"], "called '1x conv': choose from 32x conv 512ch sp64, 48x conv 512ch sp64,"),
        (["--budget", "0"], "budget must be a positive, finite number, not 0.0"),
        (["--budget", "-1"], "budget must be a positive, finite number"),
        (["--budget", "nan"], "budget must be a positive, finite number"),
        (["--budget", "inf"], "budget must be a positive, finite number"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    run: Any, arguments: list[str], message: str
) -> None:
    outcome = run("peak", *arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert message in outcome.err
    assert outcome.err.startswith("aneperf: ")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("path", ["none/r.json", ".", "pipe/r.json"])
def test_an_unwritable_file_is_found_before_measuring(
    device: FakeDevice, run: Any, tmp_path: Path, path: str
) -> None:
    (tmp_path / "pipe").write_text("")
    outcome = run("peak", "-o", str(tmp_path / path))
    assert outcome.code == 2
    assert outcome.err.startswith("aneperf: ")
    assert outcome.err.count("\n") == 1
    assert device.programs == []


def test_info(device: FakeDevice, run: Any) -> None:
    outcome = run("info")
    assert outcome.code == 0
    assert "software emulator" in outcome.out.lower()
    facts = json.loads(run("info", "-o", "-").out)
    assert facts["device"] == "emulator"
    assert facts["properties"] == {"threads": "4"}


def test_lint(run: Any, tmp_path: Path) -> None:
    b = aneperf.mil.Builder()
    b.output("y", aneperf.mil.sin(aneperf.mil.tile(b.input("x", (1, 8, 1, 32)), [1, 1, 1, 2])))
    path = tmp_path / "p.mil"
    path.write_text(b.build().text)
    outcome = run("lint", str(path))
    assert outcome.code == 0
    assert outcome.out.startswith(f"{path}:")
    assert ": wrong numbers: tile: " in outcome.out
    for chip in ("h13", "M1", "m1 max"):
        outcome = run("lint", str(path), "--chip", chip)
        assert outcome.code == 1
        assert ":7:41: fails: sin: " in outcome.out
    assert run("lint", str(path), "--chip", "M9").err.startswith("aneperf: no chip is called 'M9': choose ")
    assert "no known problem on none" in run("lint", str(path), "--chip", "none").out


def test_lint_with_an_assumed_size_of_activations(run: Any, tmp_path: Path) -> None:
    b = aneperf.mil.Builder()
    b.output("y", aneperf.mil.matmul(b.input("a", (32, 32)), b.input("b", (32, 32))))
    path = tmp_path / "p.mil"
    path.write_text(b.build().text)
    assert "no known problem" in run("lint", str(path)).out
    for deviation, severity in (("0.001", "inexact"), ("1000", "wrong numbers")):
        outcome = run("lint", str(path), "--activations", deviation)
        assert outcome.code == 0
        assert f": {severity}: matmul: assuming normal activations of standard deviation" in outcome.out
    assert "activations must be a positive" in run("lint", str(path), "--activations", "0").err


def test_lint_of_a_program_as_fp16(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "p.mil"
    body = """
        tensor<fp32, [1, 16]> a = relu(x = x);
        tensor<fp32, [1, 32]> y = tile(x = a, reps = tensor<int32, [2]>([1, 2]));"""
    info = '[buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]'
    path.write_text(
        f"program(1.3)\n{info}\n{{\nfunc main<ios18>(tensor<fp32, [1, 16]> x) {{{body}\n}} -> (y);\n}}\n"
    )
    outcome = run("lint", str(path), "--fp16")
    assert outcome.code == 0
    assert outcome.out.startswith(f"{path}: 2 operations and 0 constants to fp16; 2 casts added and 0 ")
    assert f"{path}:6: wrong numbers: tile: " in outcome.out
    assert f"{path}:4: slow: port: " in outcome.out
    path.write_text("program(1.3")
    outcome = run("lint", str(path), "--fp16")
    assert outcome.code == 1
    assert outcome.out.startswith(f"{path}:1:12: fails: program: ")


def test_lint_of_what_it_cannot_read(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "p.mil"
    path.write_bytes(b"\xff\xfe")
    outcome = run("lint", str(path))
    assert outcome.code == 2
    assert "cannot read" in outcome.err
    assert run("lint", str(tmp_path / "none.mil")).code == 2


def test_a_terminal_gets_a_progress_bar(
    device: FakeDevice, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = AsTerminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    outcome = run("peak")
    assert outcome.code == 0
    assert "0/3" in terminal.getvalue()
    assert "3/3" not in outcome.out


def test_python_m_aneperf() -> None:
    arguments = [sys.executable, "-m", "aneperf", "info", "--device", "emulator", "-o", "-"]
    run = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(run.stdout)["aneperf"] == aneperf.__version__
    assert run.stderr == ""
