"""A run of only the tests that an option changes leaves none of them out."""

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import TESTS
from support.selection import DEVICE_FIXTURES, REACHES_DEVICE, depends_on_device, depends_on_thorough


def plain() -> None:
    pass


@given(st.booleans())
def random(value: bool) -> None:
    assert isinstance(value, bool)


def partly_random() -> None:
    @given(st.booleans())
    def check(value: bool) -> None:
        assert isinstance(value, bool)

    check()


def item(path: Path, *fixtures: str, test: Any = plain, marker: str = "") -> Any:
    """Return what a selection sees of a test."""
    return SimpleNamespace(
        path=path, fixturenames=fixtures, function=test, get_closest_marker={marker: True}.get
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('aneperf.open("ane")', True),
        ("aneperf.open('ane:client')", True),
        ('run("peak", "--device", "ane")', True),
        ('name = config.getoption("--device")', True),
        ("device = request.getfixturevalue(name)", True),
        ('aneperf.open("emulator")', False),
        ('open_pipeline("static-ane", device)', False),
    ],
)
def test_a_file_that_reaches_a_device_is_known_by_its_text(tmp_path: Path, text: str, expected: bool) -> None:
    (tmp_path / "test_it.py").write_text(text)
    assert depends_on_device(item(tmp_path / "test_it.py")) == expected


def test_a_fixture_or_a_folder_tells_what_a_device_changes(tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.touch()
    assert depends_on_device(item(path, "run", "device_name"))
    assert depends_on_device(item(TESTS / "device" / "test_machine.py"))
    assert not depends_on_device(item(path, "run", "emulator", "plain"))


def test_shared_fixtures_that_reach_a_device_are_known() -> None:
    shared = [*TESTS.rglob("conftest.py"), *(TESTS / "support").glob("*.py")]
    fixtures = [
        node
        for path in shared
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and any("fixture" in ast.unparse(d) for d in node.decorator_list)
    ]
    assert len(fixtures) > 10
    reaching = {node.name for node in fixtures if REACHES_DEVICE.search(ast.unparse(node))}
    assert reaching - {"_within_the_compile_budget"} <= DEVICE_FIXTURES <= {node.name for node in fixtures}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (item(TESTS, marker="thorough"), True),
        (item(TESTS, "tmp_path", "thorough"), True),
        (item(TESTS, test=random), True),
        (item(TESTS, test=partly_random), True),
        (item(TESTS, "tmp_path"), False),
    ],
)
def test_what_thorough_changes(seen: Any, expected: bool) -> None:
    assert depends_on_thorough(seen) == expected
