"""Kill ranks and workers of a run on several ranks at random times, resume each run, and compare its end.

Each row is a run on 2 or 4 ranks of which one process is killed: a rank, a rank by SIGSTOP, a worker, or the
launcher by SIGINT and SIGTERM. A run that ended is resumed. The last checkpoint must have the same bits as
that of a run that nobody disturbed, no process may be left, nothing in shared memory and no temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHAPE = ["--dim", "64", "--hidden", "128", "--layers", "2", "--heads", "4", "--vocab", "256", "--seq", "32"]
STEPS = 400
KINDS = {
    "rank": ("rank", signal.SIGKILL),
    "worker": ("worker", signal.SIGKILL),
    "hang": ("rank", signal.SIGSTOP),
    "interrupt": ("launcher", signal.SIGINT),
    "terminate": ("launcher", signal.SIGTERM),
    "terminate-rank": ("rank", signal.SIGTERM),
}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--kills", type=int, default=20, help="of each kind")
    options.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    options.add_argument("--kinds", nargs="+", choices=KINDS, default=["rank", "worker"])
    options.add_argument("--mpiexec", default=str(Path(sys.executable).parent / "mpiexec"))
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    draw = random.Random(asked.seed)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="rank-kills-") as folder:
        for ranks in asked.ranks:
            seconds, expected = undisturbed(asked.mpiexec, ranks, Path(folder) / f"whole-{ranks}")
            print(f"{ranks} ranks: {seconds:.1f} s of updates, arrays {expected[:12]}", flush=True)
            for kind in asked.kinds:
                for number in range(asked.kills):
                    place = Path(folder) / f"{kind}-{ranks}-{number}"
                    row = one(asked.mpiexec, ranks, kind, place, draw.uniform(0, 0.8 * seconds), draw)
                    wrong = row["arrays"] != expected or row["left"]
                    failed += bool(wrong)
                    print(f"{kind} {number}: {'WRONG' if wrong else 'ok'} {json.dumps(row)}", flush=True)
                    shutil.rmtree(place, ignore_errors=True)
    print("failed:", failed)
    return bool(failed)


def undisturbed(mpiexec: str, ranks: int, place: Path) -> tuple[float, str]:
    """Run to the end; return the seconds from the first update, and the digest of the last checkpoint."""
    place.mkdir()
    run = subprocess.Popen(command(mpiexec, ranks, place), env=environment(place), stdout=subprocess.DEVNULL)
    wait_for(lambda: updates(place) > 0)
    begin = time.monotonic()
    assert run.wait() == 0
    return time.monotonic() - begin, last(place)[1]


def one(
    mpiexec: str, ranks: int, kind: str, place: Path, delay: float, draw: random.Random
) -> dict[str, object]:
    """Run, kill, and resume."""
    place.mkdir()
    victim, number = KINDS[kind]
    run = subprocess.Popen(
        command(mpiexec, ranks, place),
        env=environment(place),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    wait_for(lambda: updates(place) > 0)
    time.sleep(delay)
    if run.poll() is not None:
        return {"ended": "before the kill", "arrays": last(place)[1], "left": left(place)}
    killed = run.pid if victim == "launcher" else draw.choice(processes(run.pid)[victim] or [run.pid])
    at = time.monotonic()
    os.kill(killed, number)
    said = run.communicate(timeout=120)[1].decode()
    ended = time.monotonic() - at
    wait_for(lambda: not mine(place))
    gone = time.monotonic() - at
    step = last(place)[0] if checkpoints(place) else None
    seen = updates(place)
    if step != STEPS:
        again = [*command(mpiexec, ranks, place), "--resume"]
        resumed = subprocess.run(again, env=environment(place), capture_output=True, text=True)
        assert resumed.returncode == 0, resumed.stderr
    return {
        "code": run.returncode,
        "launcher_s": round(ended, 2),
        "all_s": round(gone, 2),
        "saved": step,
        "updates_told": seen,
        "arrays": last(place)[1],
        "left": left(place),
        "said": [line for line in said.splitlines() if line.startswith("aneperf")],
        "lines": len(said.splitlines()),
    }


def command(mpiexec: str, ranks: int, place: Path) -> list[str]:
    run = [mpiexec, "--oversubscribe", "-n", str(ranks), sys.executable, "-m", "aneperf", "train", *SHAPE]
    run += ["--device", "emulator", "--steps", str(STEPS), "--accumulation", "2"]
    return [*run, "--checkpoints", str(place / "checkpoints"), "--telemetry", str(place / "telemetry.jsonl")]


def environment(place: Path) -> dict[str, str]:
    temporary = place / "tmp"
    temporary.mkdir(exist_ok=True)
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "ANEPERF_THREADS": "1"}
    return {**os.environ, **allowed, "TMPDIR": str(temporary)}


def processes(launcher: int) -> dict[str, list[int]]:
    """Find the ranks that a launcher started, and the workers of these."""
    ranks = [pid for pid in children(launcher) if b"aneperf" in arguments(pid)]
    workers = [child for rank in ranks for child in children(rank) if b"worker:serve" in arguments(child)]
    return {"rank": ranks, "worker": workers}


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def arguments(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def mine(place: Path) -> list[str]:
    """List the processes of a run, by their folder of temporary files."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(place).encode() in (process / "environ").read_bytes():
                found.append(f"{process.name} {arguments(int(process.name))[:200]!r}")
        except OSError:
            continue
    return found


def left(place: Path) -> list[str]:
    """List what a run has left: processes, shared memory, temporary files, locks."""
    files = [str(path.relative_to(place)) for path in (place / "tmp").rglob("*") if not path.is_dir()]
    folders = [path.name for path in (place / "tmp").glob("aneperf-*")]
    shared = [path.name for path in Path("/dev/shm").glob("*") if "aneperf" in path.name]
    locks = [path.name for path in (place / "checkpoints").glob(".*")]
    return [*mine(place), *files, *folders, *shared, *locks]


def updates(place: Path) -> int:
    try:
        return (place / "telemetry.jsonl").read_text().count('"type":"batch"')
    except OSError:
        return 0


def checkpoints(place: Path) -> list[Path]:
    return sorted((place / "checkpoints").glob("step-*"))


def last(place: Path) -> tuple[int, str]:
    record = json.loads((checkpoints(place)[-1] / "checkpoint.json").read_text())
    return record["step"], record["sha256"]


def wait_for(condition: object, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
