import platform
import pwd
import tempfile
from pathlib import Path
from typing import Any

import pytest

from aneperf import machine


def supply(folder: Path, name: str, **files: str) -> None:
    (folder / name).mkdir()
    for file, content in files.items():
        (folder / name / file).write_text(content + "\n")


def test_power_on_linux(tmp_path: Path) -> None:
    assert machine.linux_power(tmp_path / "none") == "unavailable"
    assert machine.linux_power(tmp_path) == "unavailable"
    supply(tmp_path, "AC", type="Mains", online="1")
    assert machine.linux_power(tmp_path) == "AC power"
    supply(tmp_path, "BAT0", type="Battery", status="Charging")
    assert machine.linux_power(tmp_path) == "AC power"
    (tmp_path / "BAT0" / "status").write_text("Discharging\n")
    assert machine.linux_power(tmp_path) == "battery"


def test_names_where_the_user_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as a user of a container: without HOME, and not in the list of users."""

    def unknown(user: int) -> Any:
        raise KeyError(user)

    for variable in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert machine.without_names("at /Users/jdoe/x") == "at /Users/.../x"


def test_the_temporary_folder_is_cut_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Cut the folder in force by both of its names, and the folder in it that a child process has."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "link"))
    for folder in (tmp_path / "link", (tmp_path / "real").resolve()):
        for own in ("", "/aneperf-0123456789abcdef"):
            assert machine.without_names(f"in {folder}{own}/9A2F: no") == "in $TMPDIR/9A2F: no"
        assert machine.without_names(f"in {folder}.") == "in $TMPDIR."
        assert "$TMPDIR" not in machine.without_names(f"in {folder}s")
    monkeypatch.setattr(tempfile, "tempdir", "/")
    assert machine.without_names("1 / 2 at /x") == "1 / 2 at /x"


@pytest.mark.parametrize(("told", "os"), [("27.0.1", "macOS 27.0.1"), ("", "macOS 16.0")])
def test_the_version_of_a_mac(monkeypatch: pytest.MonkeyPatch, told: str, os: str) -> None:
    """Ask a program of the system, since Python may have been built with an older SDK."""
    answers = {("sw_vers", "-productVersion"): told}
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "mac_ver", lambda: ("16.0", ("", "", ""), "arm64"))
    monkeypatch.setattr(machine, "_command", lambda *command: answers.get(command, ""))
    assert machine.describe_machine()["os"] == os


def test_power_on_a_mac() -> None:
    battery = "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t80%; discharging; 5:00 remaining"
    assert machine.mac_power("Now drawing from 'AC Power'\n", " lowpowermode         0\n") == "AC Power"
    assert (
        machine.mac_power(battery, " sleep 1\n lowpowermode         1\n") == "Battery Power, low power mode"
    )
    assert machine.mac_power("", "") == "unavailable"


def test_thermal_state_on_a_mac() -> None:
    calm = "Note: No thermal warning level has been recorded\nNote: No CPU power status has been recorded"
    assert machine.mac_thermal(calm) == "no warning recorded"
    limited = "CPU_Scheduler_Limit \t= 100\n\tCPU_Available_CPUs \t= 8\n\tCPU_Speed_Limit \t= 70\n"
    assert machine.mac_thermal(limited) == "CPU speed limit 70 %"
    assert machine.mac_thermal("") == "unavailable"
