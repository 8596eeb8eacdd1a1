"""Which method is chosen on machines whose readings were written down, and what it then tells of a load."""

import sys
from typing import Any

import pytest

from aneperf.power import Energy, Meter, ProviderMeter, Unavailable, choose_meter, own_providers, reading
from support.recorded_power import RecordedMachine

KNOWN_W, LOAD_W = 5.1, 1.52  # of the engine, in every file


def choose(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[RecordedMachine, Meter]:
    machine = RecordedMachine(name)
    with reading(*machine.providers(monkeypatch)):
        meter = choose_meter("ane", machine.known_load, clock=machine.clock, sleep=machine.sleep)
    return machine, meter


def metered(machine: RecordedMachine, meter: Meter, **options: Any) -> Energy:
    machine.enter("load")
    meter.begin()
    machine.run(meter.span_s, meter.poll)
    meter.end()
    return meter.energy(1000, **{"gflop": 2.0, **options})


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("energy_model_live", "energy-model"),
        ("energy_model_wraps", "energy-model"),
        ("energy_model_dead", "smc-minus-cpu"),
        ("energy_model_absent", "smc-minus-cpu"),
        ("energy_model_doubled", "smc-minus-cpu"),
    ],
)
def test_the_engine_alone(name: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, meter = choose(name, monkeypatch)
    assert isinstance(meter, ProviderMeter)
    assert meter.method.name == method
    assert meter.known.value == pytest.approx(KNOWN_W, abs=0.3)
    energy = metered(machine, meter)
    assert (energy.method, energy.reason) == (method, None)
    metrics = energy.metrics()
    assert metrics["power_w"] == pytest.approx(LOAD_W, abs=0.2)
    assert metrics["power_w_low"] <= LOAD_W <= metrics["power_w_high"]
    assert metrics["power_w_high"] - metrics["power_w"] >= meter.method.doubt_w
    assert metrics["mj_per_eval"] == pytest.approx(metrics["power_w"] * energy.seconds)
    assert energy.seconds == pytest.approx(meter.span_s, abs=0.6)
    assert metrics["pj_per_op"] == pytest.approx(metrics["mj_per_eval"] / 2)


def test_the_whole_mac_where_the_engine_alone_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, meter = choose("rail_missing", monkeypatch)
    assert meter.is_whole
    metrics = metered(machine, meter).metrics()
    assert metrics["power_w_low"] < 2.3 < metrics["power_w_high"]  # engine, memory and host
    assert metrics["power_w_high"] - metrics["power_w_low"] > 2
    assert metrics["idle_w"] == pytest.approx(7.9, abs=0.2)


def test_a_dead_channel_and_a_missing_sensor_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = RecordedMachine("rail_missing")
    with reading(*machine.providers(monkeypatch)[:2]):  # without the sensor of the whole Mac
        meter = choose_meter("ane", machine.known_load, clock=machine.clock, sleep=machine.sleep)
    energy = metered(machine, meter)
    assert energy.metrics() == {}
    assert energy.label == f"unavailable: {energy.reason}"
    assert "smc-minus-cpu: this machine has no sensor PP0b" in str(energy.reason)
    assert "energy-model: it reads 0 W of a load that takes 1 W at least" in str(energy.reason)


def test_a_channel_that_counts_twice_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = RecordedMachine("energy_model_doubled")
    model, _, whole = machine.providers(monkeypatch)
    with reading(model, whole):
        meter = choose_meter("ane", machine.known_load, clock=machine.clock, sleep=machine.sleep)
    assert meter.is_whole
    with reading(model):  # alone, there is nothing to compare it with
        machine.enter("idle")
        meter = choose_meter("ane", machine.known_load, clock=machine.clock, sleep=machine.sleep)
    assert isinstance(meter, ProviderMeter)
    assert meter.known.value == pytest.approx(2 * KNOWN_W, abs=0.5)
    assert "not compared with the whole Mac" in meter.label


def test_nothing_may_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, meter = choose("refused", monkeypatch)
    assert machine.now == 0  # no time was spent on what cannot be read
    assert meter.label == (
        "unavailable: energy-model: zeus-apple-silicon cannot read it: Failed to create IOReport "
        "subscription; smc-minus-cpu: AppleSMC refuses: it is not permitted (0xe00002e2); "
        "whole-mac: AppleSMC refuses: it is not permitted (0xe00002e2)"
    )


def test_a_load_that_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from aneperf.power import PowerError

    def fail(seconds: float, poll: Any) -> None:
        raise PowerError("[compile] no")

    machine = RecordedMachine("energy_model_live")
    with reading(*machine.providers(monkeypatch)):
        meter = choose_meter("ane", fail, clock=machine.clock, sleep=machine.sleep)
    assert meter.label == "unavailable: the known load does not run: [compile] no"


def test_a_short_load_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, meter = choose("energy_model_live", monkeypatch)
    machine.enter("load")
    meter.begin()
    machine.run(2.0, meter.poll)
    meter.end()
    energy = meter.energy(100)
    assert energy.metrics() == {}
    assert str(energy.reason).startswith("energy-model needs 8 s of load, in calls of up to 1.5 s, and has 2")
    assert metered(machine, meter).method == "energy-model"  # the load before is forgotten


def test_a_load_that_takes_nothing_is_not_0_w(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, meter = choose("energy_model_live", monkeypatch)
    machine.enter("idle")
    meter.begin()
    machine.run(meter.span_s, meter.poll)
    meter.end()
    energy = meter.energy(100)
    assert energy.method is None
    assert "the load takes less than can be told" in str(energy.reason)


def test_parts_of_a_load_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, meter = choose("energy_model_live", monkeypatch)
    machine.enter("load")
    for part in range(5):
        meter.begin(settles=False)
        machine.run(1.5, meter.poll)
        meter.end() if part != 2 else meter.drop()
        machine.run(0.5, meter.poll)  # between the parts
    energy = meter.energy(64, gflop=0.1, per="token", busy=True)
    assert sum(energy.load_s) == pytest.approx(6, abs=0.3)
    metrics = energy.metrics()
    assert metrics["mj_per_token"] == pytest.approx(metrics["power_w"] * 1e3 * energy.seconds / 64)
    assert energy.seconds == pytest.approx(6, abs=0.4)
    assert "mj_per_eval" not in metrics


def test_a_busy_cpu_widens_the_interval_of_the_rail(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []
    for busy in (False, True):
        machine, meter = choose("energy_model_dead", monkeypatch)
        metrics = metered(machine, meter, busy=busy).metrics()
        widths.append(metrics["power_w_high"] - metrics["power_w"])
    assert widths[1] - widths[0] == pytest.approx(0.5)


def test_what_this_machine_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(seconds: float, poll: Any) -> None:
        raise AssertionError("nothing can be read, so nothing is to run")

    meter = choose_meter("emulator", load)
    assert isinstance(meter, Unavailable)
    assert meter.energy(1).reason == (
        "the emulator computes on the CPU: there is no engine whose power could be read"
    )
    monkeypatch.setattr(sys, "platform", "linux")
    assert choose_meter("ane", load).label == "unavailable: power is read on macOS alone"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert [provider.method.name for provider in own_providers("ane")] == [
        "energy-model",
        "smc-minus-cpu",
        "whole-mac",
    ]


def test_the_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zeus_apple_silicon", None)
    from aneperf.power import EnergyModel, PowerError

    with pytest.raises(PowerError, match=r"needs zeus-apple-silicon: pip install '\.\[energy\]'"):
        EnergyModel().read()
