"""The package and the command start without what they do not need yet."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

import aneperf
from aneperf.__main__ import main
from aneperf.system import check_system


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


@pytest.mark.parametrize(
    ("release", "is_old"),
    [("21.6.0", True), ("22.3.0", True), ("22.4.0", False), ("25.0.0", False), ("27.1", False)],
)
def test_a_mac_that_cannot_load_the_package_hears_why(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], release: str, is_old: bool
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))
    if not is_old:
        check_system()
        return
    monkeypatch.delitem(vars(aneperf), "open", raising=False)
    with pytest.raises(ImportError, match=rf"needs macOS 13\.3 .*; this is Darwin {release}$"):
        _ = aneperf.open
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert re.fullmatch(r"aneperf: aneperf needs macOS 13\.3 .*\n", capfd.readouterr().err)


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
