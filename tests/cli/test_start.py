"""The package and the command start without what they do not need yet."""

import subprocess
import sys

import pytest

import aneperf


@pytest.mark.parametrize("statement", ["import aneperf", "from aneperf import AneError, __version__"])
def test_an_import_is_light(statement: str) -> None:
    program = f"import sys; {statement}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = run.stdout.split()
    assert "aneperf" in modules
    assert not {"numpy", "rich", "msgspec"} & set(modules)


def test_every_public_name_is_there() -> None:
    assert {"open", "peak", "train", "mil", "measure", "training", "Result", "__version__"} <= set(
        aneperf.__all__
    )
    assert set(aneperf.__all__) <= set(dir(aneperf))
    for name in aneperf.__all__:
        assert getattr(aneperf, name) is not None
    with pytest.raises(AttributeError, match="module 'aneperf' has no attribute 'pique'"):
        aneperf.pique  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_the_command_starts_light(argument: str) -> None:
    program = f"""
import sys
from aneperf.cli.main import main
sys.argv = ["aneperf", {argument!r}]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout
    assert not {"numpy", "rich", "msgspec"} & set(run.stderr.split())
