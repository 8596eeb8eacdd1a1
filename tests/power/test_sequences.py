"""Figures of power where its sources fail in some way: the right watts, or the reason why there are none."""

from collections.abc import Callable
from typing import Any

import pytest

from aneperf.power import EnergyModel, PowerError, ProviderMeter, Unavailable, choose_meter, reading
from support.power_machine import BATCH_S, PHASES, Change, PowerMachine

THOUSAND, MILLION = 10**3, 10**6


def later(change: Change, phase: str = "load", after: float = 0.0) -> Change:
    """Return a change that begins some seconds after a phase does."""

    def changed(machine: PowerMachine, value: Any) -> Any:
        since = (PHASES.index(machine.phase), machine.since)
        return change(machine, value) if since >= (PHASES.index(phase), after) else value

    return changed


def stuck(phase: str = "load", after: float = 0.0) -> Change:
    kept: list[Any] = []

    def keep(machine: PowerMachine, value: Any) -> Any:
        kept.append(value)
        return kept[0]

    return later(keep, phase, after)


def times(factor: float) -> Change:
    return lambda machine, value: value * factor


def always(value: Any) -> Change:
    return lambda machine, ignored: value


def fail(error: Exception) -> Change:
    def changed(machine: PowerMachine, value: Any) -> Any:
        raise error

    return changed


def asleep(seconds: float, phase: str = "load", after: float = 3.0) -> Change:
    return later(lambda machine, now: now + seconds, phase, after)


def wrap(size: int, start: int = 0) -> Change:
    return lambda machine, mj: (mj + start) % size


def with_channel(subgroup: str, name: str) -> Change:
    return lambda machine, channels: [*channels, (subgroup, name, (0, 0, 0, int(machine.now * 1e6)))]


def check(machine: PowerMachine, method: str, monkeypatch: Any, *sources: str, seconds: float = 0.0) -> None:
    """Check the figure of a method against the power that the machine has."""
    meter, energy = machine.metered(monkeypatch, *sources, seconds=seconds)
    assert (energy.method, energy.reason) == (method, None)
    watts = machine.engine[2] + (machine.rest[2] - machine.rest[0] if meter.is_whole else 0)
    metrics = energy.metrics()
    each = {"power_w": watts, "mj_per_eval": watts * BATCH_S * 10, "pj_per_op": watts * BATCH_S * 5}
    for name, right in each.items():
        assert metrics[f"{name}_low"] <= right <= metrics[f"{name}_high"]
    assert metrics["power_w"] == pytest.approx(watts, abs=0.3)


@pytest.mark.parametrize(
    ("model", "method"),
    [
        (None, "energy-model"),
        (wrap(2**16), "energy-model"),
        (wrap(2**32, 2**32 - 1_016_000), "energy-model"),  # in the load
        (later(lambda machine, mj: mj - 900_000), "energy-model"),  # began anew before the load
        (always(0), "smc-minus-cpu"),
        (always(918_412), "smc-minus-cpu"),
        (always(None), "smc-minus-cpu"),
        (always(float("nan")), "smc-minus-cpu"),
        (times(2), "smc-minus-cpu"),
        (times(MILLION), "smc-minus-cpu"),
        (times(1 / MILLION), "smc-minus-cpu"),
        (lambda machine, mj: mj * MILLION % 2**32 // MILLION, "smc-minus-cpu"),  # nJ of 32 bits
        (lambda machine, mj: mj - hash(machine.now) % 4000, "smc-minus-cpu"),
        (lambda machine, mj: None if machine.phase == "idle" else mj, "smc-minus-cpu"),
        (lambda machine, mj: mj if machine.now > 24 else 0, "smc-minus-cpu"),  # late, in the known load
        (later(times(1 / MILLION), "known", 8), "smc-minus-cpu"),
        (stuck("known", 8), "smc-minus-cpu"),
    ],
)
def test_a_channel_of_the_energy_model(
    model: Change | None, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(PowerMachine(changes={"model": model} if model else {}), method, monkeypatch)


@pytest.mark.parametrize(
    ("source", "change", "reason"),
    [
        ("model", later(times(THOUSAND)), "J between two loads: its unit may have changed"),
        ("model", later(times(1 / THOUSAND)), "J between two loads: its unit may have changed"),
        ("model", later(times(MILLION), after=3), "W, which is more than anything of its kind takes"),
        ("model", later(times(1 / MILLION), after=4), "its counter went back, and did not go on as before"),
        ("model", later(lambda machine, mj: mj + 2**32, after=3), "more than anything of its kind takes"),
        ("model", wrap(3000), "its counter went back 5 times"),
        ("model", stuck(after=5), "its channel stood still under the load"),
        ("model", stuck(), "its channel stood still under the load"),
        ("model", later(always(float("inf")), after=3), "it reads inf"),
        ("model", later(always(None), after=3), "this system's Energy Model has no channel of the engine"),
        ("model", later(always("x"), after=3), "zeus-apple-silicon cannot read it: could not convert"),
        ("model", later(fail(AttributeError("no ane_mj")), after=3), "cannot read it: no ane_mj"),
        ("model", later(fail(PowerError("refused")), after=3), "energy-model: refused"),
        ("rail", stuck("known", 8), "the sensor PP0b stands still at"),
        ("rail", stuck(), "the sensor PP0b stands still at"),
        ("rail", later(always(float("nan")), after=8), "it reads nan"),
        ("rail", later(times(THOUSAND), after=8), "W, which is more than anything of its kind takes"),
        ("rail", later(times(1 / THOUSAND)), "the load takes less than can be told"),
        ("rail", always(1.0), "so its channel is dead on this system"),
        ("rail", times(-1), "so its channel is dead on this system"),
        ("rail", fail(PowerError("this machine has no sensor PP0b")), "this machine has no sensor PP0b"),
        ("whole", stuck("known", 8), "the sensor PSTR stands still at"),
        ("whole", later(times(THOUSAND), after=8), "W, which is more than anything of its kind takes"),
        ("whole", always(0.0), "so its channel is dead on this system"),
        ("whole", lambda machine, watts: 8 + 0.04 * machine.now, "its interval does not exclude 0"),
    ],
)
def test_one_source_that_fails(
    source: str, change: Change, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    energy = PowerMachine(changes={source: change}).metered(monkeypatch, source)[1]
    assert energy.metrics() == {}
    assert reason in str(energy.reason)


@pytest.mark.parametrize(
    ("bins", "reason"),
    [
        (stuck(), "readings gave no value"),
        (always([("Energy", "PACC0", (5, 0))]), "readings gave no value"),
        (always([]), "IOReport has no power of the performance cores in its group PMP"),
        (later(with_channel("Energy", "PACC1")), "the channels of the performance cores' power are others"),
        (with_channel("SOC Floor", "PACC0"), None),
        (lambda machine, channels: channels + channels, None),
    ],
)
def test_the_bins_of_the_cpu(bins: Change, reason: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = PowerMachine(changes={"bins": bins})
    if reason is None:
        check(machine, "smc-minus-cpu", monkeypatch, "rail")
    else:
        assert reason in str(machine.metered(monkeypatch, "rail")[1].reason)


def test_ticks_that_begin_anew_have_no_power_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def anew(machine: PowerMachine, channels: Any) -> Any:
        (subgroup, name, ticks), *_ = channels
        return [(subgroup, name, (ticks[0] - 500_000_000, ticks[1] - 1_000_000, 0, 0))]

    machine = PowerMachine(changes={"bins": later(anew, after=6)})
    check(machine, "smc-minus-cpu", monkeypatch, "rail", "whole")


@pytest.mark.parametrize("source", ["model", "rail", "whole"])
@pytest.mark.parametrize(
    ("clock", "reason"),
    [
        (asleep(3600.0), "nothing ran for 3.6e+03 s meanwhile: did the machine sleep?"),
        (asleep(3600.0, "idle"), "nothing ran for 3.6e+03 s meanwhile: did the machine sleep?"),
        (asleep(60.0, after=20), "nothing ran for 60"),
        (asleep(-6.0), "the clock went back by 5.9"),
        (asleep(-6.0, "known"), "the clock went back by 5.9"),
    ],
)
def test_a_clock_that_jumps(source: str, clock: Change, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    energy = PowerMachine(changes={"clock": clock}).metered(monkeypatch, source, seconds=100)[1]
    assert energy.metrics() == {}
    assert reason in str(energy.reason)


def test_a_sleep_between_two_loads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    check(PowerMachine(changes={"clock": asleep(3600.0, after=0)}), "energy-model", monkeypatch)


@pytest.mark.parametrize("engine_w", [1.0, 1.2, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("rest_w", [0.3, 1.3, 1.8])
@pytest.mark.parametrize("sources", [("model", "whole"), ("model", "rail", "whole")])
def test_a_doubled_channel_of_a_small_engine(
    engine_w: float, rest_w: float, sources: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def machine(factor: int) -> PowerMachine:
        load = (0.0, engine_w, engine_w * 0.7)
        rest = (7.9, 7.9 + rest_w, 7.9 + 0.7 * rest_w)
        return PowerMachine(load, rest, changes={"model": times(factor)})

    meter = machine(2).metered(monkeypatch, *sources)[0]
    assert isinstance(meter, ProviderMeter)
    check(machine(2), meter.method.name, monkeypatch, *sources)
    assert meter.method.name != "energy-model"
    if engine_w < 2 or len(sources) == 3:  # half of less than 2 W is no power of a known load
        check(machine(1), "energy-model", monkeypatch, *sources)


def test_methods_that_contradict_each_other_are_both_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(machine: PowerMachine, watts: float) -> float:
        return watts - 0.6 * machine.engine[PHASES.index(machine.phase)]

    meter, energy = PowerMachine(changes={"rail": half}).metered(monkeypatch, "model", "rail")
    assert isinstance(meter, Unavailable)
    assert "smc-minus-cpu: it reads 2.1" in str(energy.reason)
    assert "of the known load, but energy-model 5.1" in str(energy.reason)


@pytest.mark.parametrize("whole", [always(0.0), stuck("idle", 8)])
def test_a_dead_sensor_of_the_whole_mac_refuses_no_other(
    whole: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = PowerMachine(changes={"whole": whole})
    meter = machine.metered(monkeypatch, "model", "whole")[0]
    assert "not compared with the whole Mac" in meter.label
    check(PowerMachine(changes={"whole": whole}), "energy-model", monkeypatch)


def test_a_known_load_that_is_hardly_read_has_no_power(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = PowerMachine()
    with reading(*machine.providers(monkeypatch)):
        meter = choose_meter("ane", lambda *_: machine.sleep(60), clock=machine.clock, sleep=machine.sleep)
    assert isinstance(meter, Unavailable)
    assert meter.label.count("it was read too seldom under a known load") == 3


NAMES: list[tuple[list[str], bool]] = [
    (["PCPU", "GPU Energy", "ANE"], True),
    (["ANE0", "DRAM"], True),
    (["ANE0_0", "ANE0_1"], True),
    (["DIE_0_ANE", "DIE_1_ANE"], True),
    (["ANE", "ANE0"], False),  # the first may be the sum
    (["ANE0", "LANES"], False),  # the library adds the second up too
    (["PCPU"], False),
]


def test_the_names_of_the_channels_tell_what_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def model(names: Callable[[], list[str]]) -> EnergyModel:
        PowerMachine().providers(monkeypatch)
        model = EnergyModel(names)
        model.read()
        return model

    for names, once in NAMES:
        assert model(lambda names=names: names).counts_once is once
    with pytest.raises(PowerError, match="the channel ANE is listed twice, and the library adds it up twice"):
        model(lambda: ["ANE", "PCPU", "ANE"])

    def refuse() -> list[str]:
        raise PowerError("IOReport does not load")

    assert not model(refuse).counts_once
