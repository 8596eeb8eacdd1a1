"""PyTorch for ratios.py: its environment, its settings, and the fastest of its ways to compute a case."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from child import Child, Unavailable

TORCH = "2.13.0"
PASSIVE = {"OMP_WAIT_POLICY": "passive"}
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "8000000000",
    "MALLOC_TRIM_THRESHOLD_": "20000000000",
    "MALLOC_TOP_PAD_": "268435456",
}
# Ways to start PyTorch: variables, and its precision of fp32 products, which chooses their library. Its
# threads sleep or spin briefly between operations: as long as they do by default, they stall a busy machine.
SETTINGS: dict[str, tuple[dict[str, str], str]] = {
    "stock": (PASSIVE, "highest"),
    "tuned": ({**PASSIVE, **MALLOC}, "medium"),
    "tuned, brief spins": ({"GOMP_SPINCOUNT": "10000", **MALLOC}, "medium"),
}
FINALISTS = 3  # of the ways that PyTorch has for a case
HOPELESS = 3  # times as slow as another: not worth a second trial


class Peers:
    """PyTorch with each of its settings, or the reason why there is none."""

    def __init__(self, python: str | None, reason: str, environment: dict[str, str], threads: int) -> None:
        self.reason = reason
        self.facts: dict[str, Any] = {}
        self._children: dict[str, Child] = {}
        if python is None:
            return
        try:
            for name, (variables, precision) in SETTINGS.items():
                child = Child(python, "ratios_torch.py", {**environment, **variables})
                facts = child.ask(do="set up", threads=threads, precision=precision)
                self.facts[name] = {**facts, "variables": variables}
                self._children[name] = child
        except (Unavailable, OSError) as error:
            self._children, self.reason = {}, str(error)

    def fastest(self, case: str, pattern: str, settings: Iterable[str]) -> dict[str, Callable[[], float]]:
        """Return functions that time the ways that were fastest in a few trials, by name.

        Which of them is the fastest only the rounds tell: a trial may have met the machine at a bad moment.
        """
        if not self._children:
            raise Unavailable(self.reason)
        trials: dict[tuple[str, str], float] = {}
        reasons = []
        for setting in settings:
            try:
                for way in self._children[setting].ask(do="list", case=case):
                    if not fnmatch(way, pattern):
                        continue
                    seconds = self._seconds(setting, case, way)
                    if seconds < HOPELESS * min(trials.values(), default=seconds):
                        seconds = min(seconds, self._seconds(setting, case, way))
                    trials[setting, way] = seconds
            except Unavailable as error:
                reasons.append(str(error))
        if not trials:
            raise Unavailable(reasons[0] if reasons else f"PyTorch has no way called {pattern}")
        return {
            f"{way}; {setting}": partial(self._seconds, setting, case, way)
            for setting, way in sorted(trials, key=lambda key: trials[key])[:FINALISTS]
        }

    def _seconds(self, setting: str, case: str, way: str) -> float:
        return float(self._children[setting].ask(do="measure", case=case, way=way))

    def forget(self) -> None:
        for child in self._children.values():
            with contextlib.suppress(Unavailable):  # said before, in the rows that it left empty
                child.ask(do="forget")

    def close(self) -> None:
        for child in self._children.values():
            child.close()


@contextlib.contextmanager
def installed(folder: str | None) -> Iterator[tuple[str | None, str]]:
    """Find the interpreter that has PyTorch, in `folder` or a temporary one; or None and the reason."""
    with contextlib.ExitStack() as stack:
        folder = folder or stack.enter_context(tempfile.TemporaryDirectory())
        try:
            found: tuple[str | None, str] = install(Path(folder)), ""
        except (OSError, subprocess.CalledProcessError) as error:
            lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            found = None, f"PyTorch {TORCH} was not installed: {lines[-1]}"
        yield found


def install(folder: Path) -> str:
    """Install PyTorch in a virtual environment unless it is there."""
    python = folder / "bin" / "python"
    has_torch = f"import importlib.metadata as m; assert m.version('torch').split('+')[0] == '{TORCH}'"
    if python.exists() and subprocess.run([python, "-c", has_torch], capture_output=True).returncode == 0:
        return str(python)
    print(f"installing PyTorch {TORCH} into {folder} ...", file=sys.stderr, flush=True)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", f"torch=={TORCH}"],
    ):
        subprocess.run(command, check=True, capture_output=True, text=True)
    return str(python)
