"""Describe the machine that a measurement runs on, as far as the operating system tells."""

import contextlib
import getpass
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

UNAVAILABLE = "unavailable"


def describe_machine() -> dict[str, Any]:
    """Return the fields of a result's `Environment` that describe the machine and this process."""
    facts = _describe_mac() if platform.system() == "Darwin" else _describe_linux()
    return {
        **facts,
        "cpu": facts["cpu"] or platform.processor() or platform.machine(),
        "cores": _cores(),
        "python": platform.python_version(),
        "variables": _speed_variables(),
        "commit": _commit(),
        **sensors(),
    }


def sensors(system: Path = Path("/sys")) -> dict[str, float]:
    """Return the CPU's highest frequency now, in MHz, and its highest temperature in Celsius, if known.

    Linux tells where the hardware does. A Mac tells neither to a user.
    """
    cpus = system.glob("devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    frequencies = [int(text) / 1e3 for text in map(_text, cpus) if text.isdecimal()]
    degrees = [
        int(text) / 1e3
        for zone in system.glob("class/thermal/thermal_zone*")
        if _text(zone / "type").startswith(("x86_pkg", "cpu", "soc", "acpitz"))
        for text in [_text(zone / "temp")]
        if text.isdecimal()
    ]
    known = {"frequency_mhz": frequencies, "temperature_c": degrees}
    return {name: most for name, values in known.items() if (most := max(values, default=0.0)) > 0}


def _commit() -> str:
    """Return the commit of the current folder's repository, marked "-dirty" if files differ from it."""
    # A repository's settings could name a program for git to run.
    quiet = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
    return (
        _command("git", *quiet, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
        or UNAVAILABLE
    )


def peak_memory() -> int:
    """Return the most bytes of memory that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _describe_mac() -> dict[str, Any]:
    memory = _command("sysctl", "-n", "hw.memsize")
    # Python built with an SDK before macOS 26 is told that 26 is 16 (python/cpython issue 135675).
    version = _command("sw_vers", "-productVersion") or platform.mac_ver()[0]
    return {
        "os": f"macOS {version}",
        "os_build": _command("sw_vers", "-buildVersion") or None,
        "cpu": _command("sysctl", "-n", "machdep.cpu.brand_string"),
        "model": _command("sysctl", "-n", "hw.model") or UNAVAILABLE,
        "memory_bytes": int(memory) if memory.isdecimal() else None,
        "power": mac_power(_command("pmset", "-g", "batt"), _command("pmset", "-g")),
        "thermal": mac_thermal(_command("pmset", "-g", "therm")),
    }


def _describe_linux() -> dict[str, Any]:
    # On Arm, /proc/cpuinfo has numbers instead of a name; lscpu translates them.
    cpu = _field("model name", _text(Path("/proc/cpuinfo"))) or _field("Model name", _command("lscpu"))
    return {
        "os": _linux_name(),
        "os_build": platform.release(),
        "cpu": cpu,
        "model": linux_model(Path("/sys")),
        "governor": linux_governor(Path("/sys")),
        "memory_bytes": _linux_memory(),
        "power": linux_power(Path("/sys/class/power_supply")),
        "thermal": UNAVAILABLE,
    }


def _linux_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform(terse=True)


def _linux_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _speed_variables() -> dict[str, str]:
    """Return the environment variables that change speed; bytes that are no UTF-8 become question marks."""
    variables = sorted(os.environ.items())
    return {
        name: without_names(value.encode(errors="replace").decode())
        for name, value in variables
        if name.startswith(("ANEPERF_", "GOTO_", "MKL_", "OMP_", "OPENBLAS_", "VECLIB_"))
    }


def without_names(text: str) -> str:
    """Replace folders of users and of temporary files, and the names of this user and this machine."""
    text = _without_temporary_folder(text)
    text = re.sub(r"(/private)?/var/folders/[^\s/]+/[^\s/]+", "/var/folders/...", text)
    text = re.sub(r"/(Users|home|Volumes)/[^\s/:,;'\")]+", r"/\1/...", text)
    machine = platform.node()
    with contextlib.suppress(OSError, KeyError, ImportError):
        text = _without(getpass.getuser(), "(user)", text)
    for name in (os.path.expanduser("~"), machine, machine.partition(".")[0]):
        text = _without(name, "(machine)" if name in machine else "~", text)
    return text


def _without_temporary_folder(text: str) -> str:
    """Replace the temporary folder, with the folder in it that a child process has for its own."""
    with contextlib.suppress(OSError):  # no folder can be written
        folder = tempfile.gettempdir()
        for spelling in sorted({folder, os.path.realpath(folder)}, key=len, reverse=True):
            if len(spelling) > 1:
                own = r"(/aneperf-[0-9a-f]{16}(?!\w))?"
                text = re.sub(rf"(?<![\w.]){re.escape(spelling)}(?!\w){own}", "$TMPDIR", text)
    return text


def _without(name: str, mark: str, text: str) -> str:
    return re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", mark, text) if len(name) > 2 else text


def linux_model(system: Path) -> str:
    """Read the machine's model from its firmware, or "unavailable"."""
    found = _text(system / "class/dmi/id/product_name") or _text(system / "firmware/devicetree/base/model")
    return without_names(found.strip("\0")) or UNAVAILABLE


def linux_governor(system: Path) -> str:
    """Read what chooses the CPU's frequency, such as "performance"; several for cores that differ."""
    governors = system.glob("devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
    return ", ".join(sorted(set(filter(None, map(_text, governors))))) or UNAVAILABLE


def linux_power(folder: Path) -> str:
    """Read the kernel's power supplies in `folder`: "AC power", "battery" or "unavailable"."""
    supplies = [(_text(supply / "type"), supply) for supply in sorted(folder.glob("*"))]
    if any(_text(supply / "status") == "Discharging" for kind, supply in supplies if kind == "Battery"):
        return "battery"
    if any(_text(supply / "online") == "1" for kind, supply in supplies if kind != "Battery"):
        return "AC power"
    return UNAVAILABLE


def mac_power(supply: str, settings: str) -> str:
    """Read `pmset -g batt` and `pmset -g`: "AC Power", "Battery Power, low power mode", "unavailable"."""
    source = re.search(r"drawing from '([^']+)'", supply)
    if not source:
        return UNAVAILABLE
    slow = re.search(r"^\s*lowpowermode\s+1\s*$", settings, re.MULTILINE)
    return f"{source[1]}, low power mode" if slow else source[1]


def mac_thermal(report: str) -> str:
    """Read `pmset -g therm`: "no warning recorded", "CPU speed limit 70 %", "unavailable"."""
    if limit := re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", report):
        return f"CPU speed limit {limit[1]} %"
    return "no warning recorded" if "No thermal warning" in report else UNAVAILABLE


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _command(*arguments: str) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        run = subprocess.run(
            arguments,
            capture_output=True,
            check=False,
            text=True,
            errors="replace",
            timeout=5,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def _field(name: str, text: str) -> str:
    found = re.search(rf"^\s*{name}\s*:[ \t]*(.*?)[ \t]*$", text, re.MULTILINE)
    return found[1] if found else ""
