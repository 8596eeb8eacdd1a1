"""Keep tests apart: what they share lies in support."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("test_*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_no_test_imports_a_test(file: Path) -> None:
    """Check also code that a test hands to another process as a string."""
    imports = [line for line in file.read_text().splitlines() if re.match(r"\W*(import|from) ", line)]
    assert not {path.stem for path in FILES} & set(re.findall(r"\w+", "\n".join(imports)))
