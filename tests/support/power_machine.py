"""A machine whose power is known, and whose sources of power can be made to fail in some way."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from aneperf.power import Energy, EnergyModel, Meter, Provider, RailMinusCpu, WholeMac, choose_meter, reading

BATCH_S = 0.075
TICKS_PER_S = 24_000_000
PHASES = ("idle", "known", "load")
Change = Callable[["PowerMachine", Any], Any]  # of what a source reads, to what it is made to read


@dataclass
class PowerMachine:
    """Lets time pass in `sleep` and `run` alone. `engine` and `rest` are the W of each phase."""

    engine: tuple[float, float, float] = (0.0, 5.1, 1.52)
    rest: tuple[float, float, float] = (7.9, 9.2, 8.7)  # of all but the engine
    noise: float = 0.05  # W
    changes: dict[str, Change] = field(default_factory=dict)  # by source: model, rail, whole, bins, clock
    phase: str = "idle"
    now: float = 0.0
    since: float = 0.0  # s in the phase

    def __post_init__(self) -> None:
        self._random = random.Random(7)
        self._joules = 918.4
        self._ticks = [0.0] * 4
        self._sensors: dict[str, float] = {}
        self._fresh = -1.0

    def clock(self) -> float:
        return float(self.changed("clock", self.now))

    def sleep(self, seconds: float) -> None:
        place = PHASES.index(self.phase)
        watts = self.engine[place]
        self._joules += seconds * (max(0.0, watts + self._random.gauss(0, self.noise)) if watts else 0.0)
        cpu = 0.35 + 0.2 * place
        self._ticks[0] += seconds * TICKS_PER_S * (1 - cpu)
        self._ticks[1] += seconds * TICKS_PER_S * cpu
        self.now += seconds
        self.since += seconds
        if self.now - self._fresh >= 1.0:  # sensors change about once a second
            self._fresh = self.now
            noise = [self._random.gauss(0, 3 * self.noise) for _ in range(2)]
            self._sensors = {
                "PP0b": self.engine[place] + cpu - 1.15 + 1.3 + noise[0],
                "PSTR": self.engine[place] + self.rest[place] + noise[1],
            }

    def enter(self, phase: str) -> None:
        self.phase, self.since = phase, 0.0

    def run(self, seconds: float, poll: Callable[[], None]) -> int:
        start, calls = self.clock(), 0
        while self.clock() - start < seconds:
            self.sleep(BATCH_S)
            calls += 100
            poll()
            assert self.since < 1e5
        return calls

    def known_load(self, seconds: float, poll: Callable[[], None]) -> None:
        self.enter("known")
        self.run(seconds, poll)

    def providers(self, monkeypatch: Any) -> tuple[Provider, ...]:
        """Return aneperf's own providers, with this machine in the place of libraries and of the kernel."""
        library = SimpleNamespace(
            AppleEnergyMonitor=lambda: SimpleNamespace(
                get_cumulative_energy=lambda: SimpleNamespace(
                    ane_mj=self.changed("model", int(self._joules * 1e3))
                )
            )
        )
        monkeypatch.setitem(sys.modules, "zeus_apple_silicon", library)
        return EnergyModel(), RailMinusCpu(self._sensor, self._channels), WholeMac(self._sensor)

    def metered(self, monkeypatch: Any, *sources: str, seconds: float = 0.0) -> tuple[Meter, Energy]:
        """Choose a meter, of these sources alone if some are given, and meter the load."""
        names = ("model", "rail", "whole")
        given = zip(names, self.providers(monkeypatch), strict=True)
        with reading(*(provider for name, provider in given if not sources or name in sources)):
            meter = choose_meter("ane", self.known_load, clock=self.clock, sleep=self.sleep)
        self.enter("load")
        meter.begin()
        calls = self.run(max(seconds, meter.span_s), meter.poll)
        meter.end()
        return meter, meter.energy(max(calls, 1), gflop=2.0)

    def changed(self, source: str, value: Any) -> Any:
        return self.changes.get(source, lambda _, same: same)(self, value)

    def _sensor(self, key: str) -> float:
        return float(self.changed({"PP0b": "rail", "PSTR": "whole"}[key], self._sensors.get(key, 0.0)))

    def _channels(self) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        ticks = tuple(map(int, self._ticks))
        yield from self.changed("bins", [("Energy", "PACC0", ticks), ("DCS BW", "AMCC0 RD", (5, 4, 3))])
