"""Two machines in one: namespaces of network, host name and processes, and a wire of some rate and delay.

Linux, as root. Nothing has a name outside of the namespaces, so nothing can be left behind: the kernel
removes all of it with the processes, and these die with the process that made them. What runs on the second
machine dies, without a word to its peers, when `Machine.lose` takes that machine away.

The rate is that of the kernel's token bucket (tbf). `relay.py` makes the delay: not every kernel has netem.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

TOOLS = ("ip", "iperf3", "nsenter", "ping", "setpriv", "tc", "unshare")
DEVICE = "wire"  # on both machines
_ADDRESSES = ("198.18.0.1", "198.18.0.2")  # RFC 2544: of benchmarks, never of a network's hosts
_NAMES = ("machine-a", "machine-b")
_MORTAL = ("setpriv", "--pdeathsig", "KILL", "--")
_SPACES = ("--net", "--uts", "--mount")
SPACES_OF_SECOND = (*_SPACES, "--pid")
TEMPORARY = "/var/tmp"  # of each machine, and gone with it, as is its shared memory
_BOOT = (
    'hostname "$1" && ip link set lo up && mount -t tmpfs tmpfs /dev/shm && mount -t tmpfs tmpfs "$2" '
    "&& echo up && exec sleep infinity"
)
_BURST = "256kb"  # of the token bucket: some segments of 64 KB
_QUEUE = "50ms"


def missing() -> str:
    """Say why machines cannot be made here; "" if they can."""
    if not sys.platform.startswith("linux"):
        return "namespaces are Linux's"
    if os.geteuid() != 0:
        return "namespaces need root"
    if absent := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"{', '.join(absent)} not installed"
    return ""


@dataclass(frozen=True)
class Machine:
    """A machine. `pid` is that of its first process, seen from here."""

    name: str
    address: str
    pid: int
    _holder: subprocess.Popen[str]
    _spaces: tuple[str, ...]

    def command(self, *command: str) -> list[str]:
        """Return the command that runs another one on this machine, and kills it when this process ends."""
        enter = ("nsenter", "--target", str(self.pid), *self._spaces, f"--wd={Path.cwd()}", "--")
        return [*_MORTAL, *enter, *command]

    def run(self, *command: str) -> str:
        """Run a command, and return what it prints."""
        done = subprocess.run(
            self.command(*command), check=True, text=True, stdout=subprocess.PIPE, timeout=60
        )
        return done.stdout

    def lose(self) -> None:
        """Take the machine away, as a power cut would: no process ends in order, no packet is sent."""
        self._holder.kill()
        self._holder.wait()


@contextlib.contextmanager
def two_machines(rate: str | None = None, delay_ms: float = 0.0) -> Iterator[tuple[Machine, Machine]]:
    """Make two machines that reach each other and nothing else.

    `rate` is as tc writes it, such as 10gbit; None is as fast as the CPU. `delay_ms` is added each way. The
    first machine shares the process numbers of this one: a launcher runs there, and enters the second.
    """
    with contextlib.ExitStack() as made:
        first = _boot(made, _NAMES[0], _ADDRESSES[0], _SPACES)
        second = _boot(made, _NAMES[1], _ADDRESSES[1], SPACES_OF_SECOND)
        if delay_ms:
            middle = _boot(made, "middle", "", _SPACES)
            for place, machine in enumerate((first, second)):
                _link(machine, middle, f"port{place}")
                middle.run("ip", "link", "set", f"port{place}", "up")
            for source, target in (("port0", "port1"), ("port1", "port0")):
                relay = Path(__file__).with_name("relay.py")
                command = middle.command(sys.executable, str(relay), source, target, str(delay_ms))
                _running(made, command)
        else:
            _link(first, second, DEVICE)
        for machine in (first, second):
            machine.run("ip", "address", "add", f"{machine.address}/30", "dev", DEVICE)
            machine.run("ip", "link", "set", DEVICE, "up")
            if rate is not None:
                bucket = ("rate", rate, "burst", _BURST, "latency", _QUEUE)
                machine.run("tc", "qdisc", "add", "dev", DEVICE, "root", "tbf", *bucket)
        first.run("ping", "-q", "-c", "1", "-w", "10", second.address)
        yield first, second


def _boot(made: contextlib.ExitStack, name: str, address: str, spaces: tuple[str, ...]) -> Machine:
    has_pids = "--pid" in spaces
    own = ("--fork", "--kill-child", "--mount-proc") if has_pids else ()
    holder = _running(made, [*_MORTAL, "unshare", *spaces, *own, "sh", "-c", _BOOT, "sh", name, TEMPORARY])
    assert holder.stdout is not None
    if holder.stdout.readline() != "up\n":
        raise OSError(f"{name} did not start: its namespaces or their tools are refused here")
    children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
    return Machine(name, address, int(children[0]) if has_pids else holder.pid, holder, spaces)


def _running(made: contextlib.ExitStack, command: Sequence[str]) -> subprocess.Popen[str]:
    """Start a process that ends with the machines."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def end() -> None:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

    made.callback(end)
    return process


def _link(first: Machine, second: Machine, far_name: str) -> None:
    """Join two machines by a pair of devices."""
    far = ("peer", "name", far_name, "netns", str(second.pid))
    subprocess.run(
        ["ip", "link", "add", DEVICE, "netns", str(first.pid), "type", "veth", *far], check=True, timeout=60
    )


@dataclass(frozen=True)
class Limit:
    """Rates of a single TCP connection over the wire."""

    gbit_per_s: float
    round_trip_ms: float


def measure_limit(first: Machine, second: Machine, seconds: float = 3.0) -> Limit:
    """Measure throughput by iperf3, and the median time of a small packet there and back by ping."""
    command = second.command("iperf3", "-s", "-1", "--forceflush")
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        while not (line := server.stdout.readline()).startswith("Server listening"):
            if not line:
                raise OSError(f"iperf3 ended before it listened on {second.name}")
        report = json.loads(first.run("iperf3", "-c", second.address, "-t", f"{seconds:g}", "-J"))
    finally:
        server.kill()
        server.communicate()
    pings = first.run("ping", "-c", "50", "-i", "0.02", second.address).splitlines()
    times = sorted(float(line.rpartition("time=")[2].split()[0]) for line in pings if "time=" in line)
    return Limit(report["end"]["sum_received"]["bits_per_second"] * 1e-9, times[len(times) // 2])
