"""Do work in other processes: with other settings, or after a fork."""

import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

from support import environment


def results_with(folder, **variables):
    """Return the varied programs' outputs in a process with these environment variables."""
    path = folder / "results.npz"
    command = [sys.executable, "-m", "support.programs", path]
    subprocess.run(command, check=True, timeout=120, env=environment(**variables))
    with np.load(path) as file:
        return dict(file)


def in_a_fork(work):
    """Return the exit code of a forked child that calls `work`: 0 if it returns, None if it hangs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads are what is tested here
        child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
