"""Programs from a file of Python."""

import sys
from pathlib import Path

import pytest

from aneperf import ArgumentError, CompileError, ResultFileError, mil
from aneperf.errors import ProgramError
from aneperf.mil.template import load_template

GOOD = """
from dataclasses import dataclass
from aneperf import mil
from aneperf.mil import relu

@dataclass
class Size:
    width: int

def _helper(b, n):
    return b.input("x", (1, n, 1, 32))

def net(n, scale=1.0):
    print("made")
    b = mil.Builder()
    b.output("y", relu(_helper(b, n)) * scale)
    return b
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "net.py"


def test_the_only_public_function_makes_the_programs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD)
    template = load_template(file)
    assert template.name == "net.py:net"
    assert template.program(n=8).inputs["x"].shape == (1, 8, 1, 32)
    assert template.program(n=16, scale=2.0).inputs["x"].shape == (1, 16, 1, 32)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "made\nmade\n")
    assert list(file.parent.iterdir()) == [file]


def test_several_functions_are_chosen_from(file: Path) -> None:
    file.write_text(GOOD + "def other():\n    return net(4).build()\n")
    with pytest.raises(ArgumentError, match=r"net\.py: has 2 functions: choose one with .*net\.py:net$"):
        load_template(file)
    assert load_template(file, "other").program().inputs["x"].shape == (1, 4, 1, 32)
    with pytest.raises(ArgumentError, match=r"has no function .third.: it has net, other$"):
        load_template(file, "third")


def test_nothing_beside_the_file_is_imported(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent / "beside_the_template.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(file.parent)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])
    file.write_text("import beside_the_template\n")
    with pytest.raises(ProgramError, match=r"net\.py: line 1: ModuleNotFoundError: .*beside_the_template"):
        load_template(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (", "line 1: SyntaxError: '(' was never closed"),
        ("\nraise ValueError('a\\nb')", "line 2: ValueError: a b"),
        ("import sys\nsys.exit(3)", "line 2: SystemExit: 3"),
    ],
)
def test_a_file_that_fails_is_one_line(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(ProgramError) as caught:
        load_template(file)
    assert str(caught.value) == f"{file}: {message}"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("# nothing\n", ArgumentError, "has no function that makes a program"),
        ("", ArgumentError, "has no function"),
        ("\x00" * 40, ProgramError, "SyntaxError: source code string cannot contain null bytes"),
        ("PK\x03\x04" * 40, ResultFileError, "is a zip archive, not text: unpack it first"),
    ],
)
def test_a_file_without_a_template_is_refused(
    file: Path, text: str, error: type[Exception], message: str
) -> None:
    file.write_text(text)
    with pytest.raises(error, match=message):
        load_template(file)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 3", r"net\.py:net returned 3: it must return a mil\.Builder or mil\.Program"),
        ("return n / 0", r"net\.py: line 3: ZeroDivisionError: division by zero"),
        ("return mil.Builder()", r"net\.py: the program has no outputs"),
        ("return mil.Builder().input('x', 'a')", r"net\.py: line 3: shape 'a' is not a sequence"),
    ],
)
def test_a_function_that_fails_names_its_line(file: Path, body: str, message: str) -> None:
    file.write_text(f"from aneperf import mil\ndef net(n=1):\n    {body}\n")
    with pytest.raises(ProgramError, match=message):
        load_template(file).program()


def test_what_the_engine_does_not_take_is_a_compile_error(file: Path) -> None:
    file.write_text(
        "import numpy as np\nfrom aneperf import mil\n"
        "def net():\n    mil.conv(mil.Builder().input('x', (1, 8, 1, 32)), np.ones((8, 9, 1, 1)))\n"
    )
    with pytest.raises(CompileError, match="conv"):
        load_template(file).program()


def test_axes_are_parameters(file: Path) -> None:
    file.write_text(GOOD)
    template = load_template(file)
    template.check_axes(["n", "scale"])
    with pytest.raises(ArgumentError, match=r"no parameter 'm' for an axis: it has n, scale$"):
        template.check_axes(["n", "m"])
    with pytest.raises(ArgumentError, match=r"net\.py:net needs a value of n: --axis n=64,128$"):
        template.check_axes(["scale"])


def test_a_program_is_taken_as_it_is(file: Path) -> None:
    file.write_text(GOOD + "program = net(8).build()\ndef _net():\n    return program\n")
    assert isinstance(load_template(file, "net").program(n=8), mil.Program)
