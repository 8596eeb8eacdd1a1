"""Find the terminal behind a launcher of ranks.

Open MPI gives each rank a terminal of its own, without a size, and passes on what the rank writes there: to
the user's terminal, or to a file. Only the launcher's own output tells which.
"""

from __future__ import annotations

import os
import subprocess

_SECONDS = 5.0


def launcher_terminal(launcher: int | None = None) -> os.terminal_size | None:
    """Return the size of the terminal that a launcher, by default this process's parent, writes to.

    None if it writes elsewhere, or if the system does not tell.
    """
    path = _standard_output(os.getppid() if launcher is None else launcher)
    if path is None or not path.startswith("/dev/"):
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return os.get_terminal_size(descriptor)
    except OSError:  # no terminal
        return None
    finally:
        os.close(descriptor)


def _standard_output(process: int) -> str | None:
    """Return the path of a process's standard output."""
    try:
        return os.readlink(f"/proc/{process}/fd/1")
    except OSError:  # a Mac has no such files
        return path_in(_lsof("-a", "-p", str(process), "-d", "1", "-F", "n"))


def path_in(fields: str) -> str | None:
    """Return the path in the fields that lsof prints: lines that begin with a letter each."""
    return next((line[1:] for line in fields.splitlines() if line.startswith("n/")), None)


def _lsof(*arguments: str) -> str:
    try:
        run = subprocess.run(
            ("lsof", *arguments),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return run.stdout
