import platform
import pwd
import re
import subprocess
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


def test_sensors_on_linux(tmp_path: Path) -> None:
    """Take the fastest core and the CPU's warmest zone; what the system does not tell is missing, not 0."""
    assert machine.sensors(tmp_path) == {}
    for cpu, (frequency, governor) in {
        "cpu0": ("1500000", "powersave"),
        "cpu1": ("3200000", "performance"),
    }.items():
        folder = tmp_path / "devices" / "system" / "cpu" / cpu / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(frequency)
        (folder / "scaling_governor").write_text(governor + "\n")
    zones = tmp_path / "class" / "thermal"
    zones.mkdir(parents=True)
    supply(zones, "thermal_zone0", type="x86_pkg_temp", temp="51000")
    supply(zones, "thermal_zone1", type="iwlwifi_1", temp="80000")
    supply(zones, "thermal_zone2", type="acpitz", temp="0")
    assert machine.sensors(tmp_path) == {"frequency_mhz": 3200.0, "temperature_c": 51.0}
    assert machine.linux_governor(tmp_path) == "performance, powersave"


def test_the_model_on_linux(tmp_path: Path) -> None:
    assert machine.linux_model(tmp_path) == machine.linux_governor(tmp_path) == "unavailable"
    (tmp_path / "firmware" / "devicetree" / "base").mkdir(parents=True)
    (tmp_path / "firmware" / "devicetree" / "base" / "model").write_text("Raspberry Pi 5\0")
    assert machine.linux_model(tmp_path) == "Raspberry Pi 5"


def test_the_commit_of_the_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run no program that a repository's settings name."""
    monkeypatch.chdir(tmp_path)
    assert machine.describe_machine()["commit"] == "unavailable"
    git = ["git", "-c", "user.name=n", "-c", "user.email=n@example.com"]
    (tmp_path / "file").write_text("1")
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *arguments], check=True)
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    subprocess.run(["git", "config", "core.fsmonitor", str(hook)], check=True)
    clean = machine.describe_machine()["commit"]
    assert re.fullmatch("[0-9a-f]{12}", clean)
    (tmp_path / "file").write_text("22")
    assert machine.describe_machine()["commit"] == f"{clean}-dirty"
    assert not (tmp_path / "ran").exists()
