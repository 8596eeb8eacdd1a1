"""A machine whose power readings come from a file of tests/power/recorded."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aneperf.power import ENERGY_MODEL, EnergyModel, PowerError, Provider, RailMinusCpu, WholeMac, rest

FOLDER = Path(__file__).parents[1] / "power" / "recorded"
BATCH_S = 0.075


class RecordedMachine:
    """Reads what the file has for the time since the phase began; only `sleep` and `run` let time pass."""

    def __init__(self, name: str) -> None:
        with open(FOLDER / f"{name}.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self._rows = {
            phase: [row for row in rows if row["phase"] == phase] for phase in ("idle", "known", "load")
        }
        self.now = 0.0
        self._phase, self._began = "idle", 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def enter(self, phase: str) -> None:
        self._phase, self._began = phase, self.now

    def run(self, seconds: float, poll: Callable[[], None]) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += BATCH_S
            poll()

    def known_load(self, seconds: float, poll: Callable[[], None]) -> None:
        self.enter("known")
        self.run(seconds, poll)

    def providers(self, monkeypatch: Any) -> tuple[Provider, ...]:
        """Return aneperf's own providers, with this machine in the place of libraries and of the kernel."""
        library = SimpleNamespace(
            AppleEnergyMonitor=lambda: SimpleNamespace(get_cumulative_energy=self._model)
        )
        monkeypatch.setitem(sys.modules, "zeus_apple_silicon", library)
        return EnergyModel(), RailMinusCpu(self.sensor, self.channels), WholeMac(self.sensor)

    def sensor(self, key: str) -> float:
        if (cell := self._cell(key)) is None:
            raise PowerError(f"this machine has no sensor {key}")
        if cell == "refused":
            raise PowerError("AppleSMC refuses: it is not permitted (0xe00002e2)")
        return float(cell)

    def channels(self) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        cells = [cell for at in range(4) if (cell := self._cell(f"bin{at}")) is not None]
        if "refused" in cells or not cells:
            raise PowerError("IOReport shows no channel of the group PMP to this process")
        ticks = tuple(map(int, cells))
        yield "DCS BW", "AMCC0 RD", (5, 4, 3)
        yield "Energy", "PACC0", ticks
        yield "Energy", "PACC0", tuple(tick // 2 for tick in ticks)  # listed twice, and read at another time

    def _model(self) -> Any:
        cell = self._cell("ane_mj")
        if cell == "refused":
            raise RuntimeError("Failed to create IOReport subscription.")
        return SimpleNamespace(ane_mj=int(cell) if cell else None)

    def _cell(self, column: str) -> str | None:
        since = self.now - self._began
        rows = self._rows[self._phase]
        return [row for row in rows if float(row["time_s"]) <= since][-1].get(column)


class SteadyPower:
    """A provider of constant power: some while nothing runs on purpose, more at any other time.

    Each reading ends a slice, so that a figure depends on no time.
    """

    def __init__(self, monkeypatch: Any, idle_w: float = 1.0, busy_w: float = 6.0) -> None:
        self.method = replace(ENERGY_MODEL, kind="gauge", settle_s=0.0, slices=2, slice_s=1e-9)
        self._idle_w, self._busy_w = idle_w, busy_w
        self._rests, self._last = False, False

        def rest_quietly(*args: Any, **options: Any) -> None:
            self._rests = True
            rest(*args, **options)
            self._rests, self._last = False, True

        monkeypatch.setattr("aneperf.power.choice.rest", rest_quietly)

    def read(self) -> float:
        if self._rests or self._last:  # the recorder reads once more when a rest has ended
            self._last = False
            return self._idle_w
        return self._busy_w
