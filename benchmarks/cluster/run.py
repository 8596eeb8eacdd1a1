"""Run a verb of aneperf on two machines in one: `python benchmarks/cluster/run.py --rate 10gbit allreduce`.

Prints first what the wire gives: iperf3's throughput of one TCP connection, and ping's round trip. Without a
verb, that is all. The ranks are started by the mpiexec beside this interpreter, whose agent for the second
machine is `agent.py` in place of ssh. Each rank has one thread unless ANEPERF_THREADS says otherwise, for the
machines share this one's cores. Needs Linux, root, and the packages iperf3, iproute2, iputils-ping and
util-linux.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from agent import MACHINE
from machines import DEVICE, TEMPORARY, Machine, measure_limit, missing, two_machines

_ALLOWED = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM")


def run_ranks(
    first: Machine, second: Machine, ranks: int, command: Sequence[str], seconds: float
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in ranks on both machines, the first half of them on the first machine."""
    each = -(-ranks // 2)
    agent = f"{sys.executable} {Path(__file__).with_name('agent.py')}"
    launcher = [
        *(str(Path(sys.executable).with_name("mpiexec")), "-n", str(ranks), "--bind-to", "none"),
        *("--host", f"{first.address}:{each},{second.address}:{each}"),
        *("--prtemca", "plm_ssh_agent", agent),
        *("--mca", "btl_tcp_if_include", DEVICE),
    ]
    variables = {
        "ANEPERF_THREADS": "1",
        **os.environ,
        **dict.fromkeys(_ALLOWED, "1"),
        "TMPDIR": TEMPORARY,
        MACHINE: str(second.pid),
    }
    return subprocess.run(
        first.command(*launcher, *command),
        stdin=subprocess.DEVNULL,
        env=variables,
        timeout=seconds,
        check=False,
    )


def main() -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", help="of the wire, as tc writes it: 10gbit; by default as fast as the CPU")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="that the wire adds each way")
    parser.add_argument("--ranks", type=int, default=2, help="in all")
    parser.add_argument("--seconds", type=float, default=900.0, help="after which the verb is ended")
    parser.add_argument("verb", nargs=argparse.REMAINDER, help="of aneperf, with its options")
    arguments = parser.parse_args()
    if reason := missing():
        print(f"no machines: {reason}", file=sys.stderr)
        return 2
    with two_machines(arguments.rate, arguments.delay_ms) as (first, second):
        limit = measure_limit(first, second)
        wire = f"{arguments.rate or 'no limit'}, {arguments.delay_ms:g} ms added each way"
        found = f"{limit.gbit_per_s:.2f} Gbit/s (iperf3), round trip {limit.round_trip_ms:.3g} ms (ping)"
        print(f"wire: {wire}; one TCP connection: {found}", file=sys.stderr, flush=True)
        if not arguments.verb:
            return 0
        command = [sys.executable, "-m", "aneperf", *arguments.verb]
        return run_ranks(first, second, arguments.ranks, command, arguments.seconds).returncode


if __name__ == "__main__":
    sys.exit(main())
