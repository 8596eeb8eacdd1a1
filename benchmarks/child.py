"""Measurements in a process of their own, asked for and answered in lines of JSON.

Needs the standard library alone, since a peer's environment has little else.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 0.05  # of each measurement
SETTLE = 0.1  # until the threads of a library that spins have gone to sleep


class Unavailable(Exception):
    """Why something cannot be measured here."""


class Child:
    """A script of this folder that runs in `python` and answers one request after the other."""

    def __init__(self, python: str, script: str, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [python, "-W", "ignore", str(Path(__file__).with_name(script))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C is for this process; the child ends when its input does
        )

    def ask(self, **request: Any) -> Any:
        """Return the answer. Raise Unavailable with the reason if there is none."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Unavailable(f"its process ended with status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Unavailable(answer["error"])
        return answer["answer"]

    def close(self) -> None:
        self._process.communicate()


def serve(answer: Callable[..., Any]) -> None:
    """Call answer(**request) for each line of the input."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a library that prints does not get between the answers
    for line in sys.stdin:
        try:
            reply = {"answer": answer(**json.loads(line))}
        except Unavailable as error:
            reply = {"error": str(error)}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(reply), file=replies, flush=True)


def median_time(call: Callable[[], Any]) -> float:
    """Return the seconds of a call."""
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
