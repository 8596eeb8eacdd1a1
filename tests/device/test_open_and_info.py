import platform
from typing import Any

import pytest

import aneperf
from aneperf import device as devices
from aneperf.errors import ArgumentError, DeviceUnavailable


class Engine:
    """Stands where the Neural Engine would be."""

    def __init__(self, budget: Any, *, client: bool) -> None:
        self.compile_budget = budget
        self.route = "client" if client else "memory"

    def info(self) -> dict[str, str]:
        return {"kind": "ane", "chip": "Apple M4 Max", "subtype": "h16", "route": self.route}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEVICE", "CHIP", "ROUTE"):
        monkeypatch.delenv(f"ANEPERF_{name}", raising=False)


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_is_apple_silicon", lambda: True)
    monkeypatch.setattr(devices, "open_neural_engine", Engine)


@pytest.fixture
def mac_without_service(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(budget: Any, *, client: bool) -> None:
        raise DeviceUnavailable("class _ANEInMemoryModel is missing")

    monkeypatch.setattr(devices, "_is_apple_silicon", lambda: True)
    monkeypatch.setattr(devices, "open_neural_engine", refuse)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_is_apple_silicon", lambda: False)


def opened(*args: Any, **kwargs: Any) -> dict[str, str]:
    return aneperf.open(*args, **kwargs).info()


@pytest.mark.usefixtures("elsewhere")
def test_the_emulator_is_the_default_without_an_engine() -> None:
    facts = opened()
    assert (facts["kind"], facts["chip"]) == ("emulator", "h16")
    assert aneperf.info().device_note is None


@pytest.mark.usefixtures("mac")
def test_the_engine_is_the_default_on_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened()["kind"] == "ane"
    assert opened("emulator")["kind"] == "emulator"
    assert opened(chip="none")["chip"] == "none"
    monkeypatch.setenv("ANEPERF_CHIP", "none")
    assert opened()["kind"] == "ane"


@pytest.mark.usefixtures("mac_without_service")
def test_a_mac_without_its_engine_says_why() -> None:
    assert aneperf.info().device_note == (
        "The emulator stands in, since the Neural Engine did not open: class _ANEInMemoryModel is missing"
    )
    assert aneperf.info("emulator").device_note is None
    with pytest.raises(DeviceUnavailable, match="_ANEInMemoryModel is missing"):
        aneperf.open("ane")


def test_no_engine_is_an_error_if_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, engine_opens: bool
) -> None:
    if engine_opens:
        pytest.skip("this build opens a Neural Engine or its stand-in")
    with pytest.raises(DeviceUnavailable, match="no Neural Engine on this machine"):
        aneperf.open("ane")
    monkeypatch.setenv("ANEPERF_DEVICE", "ane")
    with pytest.raises(DeviceUnavailable):
        aneperf.open()


@pytest.mark.usefixtures("mac")
def test_environment_variables_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANEPERF_DEVICE", "emulator")
    assert opened()["chip"] == "h16"
    monkeypatch.setenv("ANEPERF_CHIP", "none")
    assert opened()["chip"] == "none"
    assert opened(chip="h16")["chip"] == "h16"
    assert opened("emulator:h16")["chip"] == "h16"
    assert opened("ane")["kind"] == "ane"
    monkeypatch.delenv("ANEPERF_CHIP")
    monkeypatch.setenv("ANEPERF_DEVICE", "emulator:none")
    assert opened()["chip"] == "none"
    monkeypatch.setenv("ANEPERF_DEVICE", "")
    assert opened()["kind"] == "ane"
    monkeypatch.setenv("ANEPERF_DEVICE", "tpu")
    with pytest.raises(ArgumentError, match="ANEPERF_DEVICE=tpu: no device is called 'tpu'"):
        aneperf.open()


def test_a_refused_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANEPERF_DEVICE", "emulator:zzz")
    with pytest.raises(ArgumentError, match=r"^ANEPERF_DEVICE=emulator:zzz: .*zzz"):
        aneperf.open()
    monkeypatch.setenv("ANEPERF_DEVICE", "emulator")
    monkeypatch.setenv("ANEPERF_CHIP", "zzz")
    with pytest.raises(ArgumentError, match=r"^ANEPERF_CHIP=zzz: .*zzz"):
        aneperf.open()
    with pytest.raises(ArgumentError) as refusal:
        aneperf.open(chip="yyy")
    assert "ANEPERF" not in str(refusal.value)


@pytest.mark.parametrize(
    ("device", "chip", "profile"),
    [
        ("emulator:M4", None, "h16"),
        ("emulator:m3 max", None, "h15"),
        ("emulator:H13G", None, "h13"),
        ("emulator", "Apple M5 Max", "h17"),
        ("emulator", "M6", "h18g"),
        ("emulator", "A19 Pro", "h18"),
        ("emulator:H18G", None, "h18g"),
        ("emulator:h17s", None, "h17"),
        ("emulator", "a20 pro", "h19"),
        (None, "M2", "h14"),
        ("emulator:h16", "M4 Max", "h16"),
    ],
)
def test_a_chip_is_its_generation(device: str | None, chip: str | None, profile: str) -> None:
    assert opened(device, chip=chip)["chip"] == profile


@pytest.mark.parametrize(
    ("device", "chip", "imitated"),
    [
        ("emulator", "A19", "A19"),
        ("emulator:apple m4", None, "M4"),
        ("emulator:h16", "m4max", "M4 Max"),
        ("emulator", "h16g", "M4"),
        ("emulator", "h18", None),
        ("emulator", "h17s", None),
        ("emulator", "none", None),
        ("emulator", None, None),
    ],
)
def test_info_names_the_chip_that_was_asked_for(device: str, chip: str | None, imitated: str | None) -> None:
    assert devices.info(aneperf.open(device, chip=chip)).properties.get("imitates") == imitated


@pytest.mark.parametrize(
    "variable", ["ANEPERF_DEVICE", "ANEPERF_CHIP", "ANEPERF_ROUTE", "ANEPERF_COMPILE_TIMEOUT"]
)
def test_a_message_is_not_as_long_as_the_value_that_it_refuses(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, 100_000 * "1")
    with pytest.raises(ArgumentError) as refused:
        aneperf.open()
    assert str(refused.value).startswith(f"{variable}=111")
    assert len(str(refused.value)) < 500


def test_the_variable_may_name_a_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANEPERF_CHIP", "M1 Ultra")
    assert opened("emulator")["chip"] == "h13"


@pytest.mark.parametrize("variable", ["ane", "emulator:none", "tpu"])
def test_a_chip_asks_for_the_emulator_whatever_the_variable_says(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv("ANEPERF_DEVICE", variable)
    facts = opened(chip="h16")
    assert (facts["kind"], facts["chip"]) == ("emulator", "h16")


@pytest.mark.parametrize(
    ("device", "chip"),
    [
        ("gpu", None), ("", None), ("emulator:", None), ("ane:h16", None), ("ANE", None), (7, None),
        (b"ane", None), ("ane", "h16"), ("emulator:h16", "h13"), ("emulator", 16), ("emulator", "m9"),
        (None, "m9"), (None, ""), ("emulator", ""),
    ],
)  # fmt: skip
def test_open_refuses(device: Any, chip: Any) -> None:
    with pytest.raises(ArgumentError):
        aneperf.open(device, chip=chip)


@pytest.mark.usefixtures("mac")
def test_a_route_is_chosen_by_argument_then_name_then_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened()["route"] == "memory"
    assert opened("ane:client")["route"] == "client"
    assert opened("ane:client", route="client")["route"] == "client"
    monkeypatch.setenv("ANEPERF_DEVICE", "emulator")
    assert opened(route="client")["route"] == "client"
    monkeypatch.setenv("ANEPERF_DEVICE", "ane:client")
    assert opened()["route"] == "client"
    monkeypatch.setenv("ANEPERF_ROUTE", "client")
    assert opened("ane")["route"] == "client"
    assert opened("ane:memory")["route"] == opened("ane", route="memory")["route"] == "memory"
    assert opened("emulator")["kind"] == "emulator"
    for route in ("memory", "client"):  # so that a child has its parent's, whatever the variable says
        assert devices.name_of(aneperf.open("ane", route=route)) == f"ane:{route}"


@pytest.mark.usefixtures("mac")
@pytest.mark.parametrize(
    ("device", "route", "message"),
    [
        ("ane", "kernel", "no route is called 'kernel': choose memory or client"),
        ("ane:kernel", None, "no route is called 'kernel': choose memory or client"),
        ("ane", "", "no route is called '': choose memory or client"),
        ("ane", 1, "route must be a name or None"),
        ("ane:client", "memory", "device 'ane:client' and 'memory' name two routes"),
        ("emulator", "client", "a route is for the Neural Engine; the emulator has none"),
    ],
)
def test_a_route_is_refused(device: str, route: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        aneperf.open(device, route=route)


def test_a_refused_route_of_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANEPERF_ROUTE", "kernel")
    with pytest.raises(ArgumentError, match=r"^ANEPERF_ROUTE=kernel: .*choose memory or client"):
        aneperf.open("emulator")
    monkeypatch.setenv("ANEPERF_ROUTE", "")
    assert opened("emulator")["kind"] == "emulator"


@pytest.mark.own_budget
def test_budget_of_the_emulator() -> None:
    for given, soft, hard in [
        (None, 100, 119),
        (5, 5, 119),
        (500, 500, 500),
        (aneperf.CompileBudget(2, 3), 2, 3),
    ]:
        budget = aneperf.open("emulator", compile_budget=given).compile_budget
        assert (budget.soft, budget.hard) == (soft, hard)


def test_tests_share_no_budget() -> None:
    """Let a test that opens the emulator itself run after any number of others."""
    assert aneperf.open("emulator").compile_budget.soft == 10**9
    assert aneperf.open("emulator:h13", compile_budget=7).compile_budget.soft == 7


@pytest.mark.usefixtures("mac")
def test_budget_of_the_engine() -> None:
    assert aneperf.open("ane", compile_budget=119).compile_budget.soft == 119
    with pytest.raises(ArgumentError, match="500 is more than the 119"):
        aneperf.open("ane", compile_budget=500)


@pytest.mark.parametrize("budget", [0, -1, 1.5, "9", True])
def test_bad_budgets(budget: Any) -> None:
    with pytest.raises(ArgumentError, match="compile_budget must be an integer of at least 1"):
        aneperf.open("emulator", compile_budget=budget)


def test_info_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("ANEPERF_NOTE", "\udcff")
    monkeypatch.setenv("HOME_ADDRESS", "private")
    facts = aneperf.info("emulator")
    assert facts.aneperf == aneperf.__version__
    assert facts.device == "emulator"
    assert facts.python == platform.python_version()
    assert facts.cpu
    assert facts.cores >= 1
    assert facts.memory_bytes is None or facts.memory_bytes > 2**26
    assert facts.variables["OPENBLAS_CORETYPE"] == "Haswell"
    assert facts.variables["ANEPERF_NOTE"] == "?"
    assert "HOME_ADDRESS" not in facts.variables
    assert facts.started.endswith("+00:00")
    assert facts.to_dict()["cpu"] == facts.cpu
    assert "cpu" not in facts.properties
    assert str(facts).count("\ncpu ") == 1
    assert facts.cpu in " ".join(str(facts).split())


@pytest.mark.usefixtures("mac")
def test_info_of_an_engine() -> None:
    facts = aneperf.info(Engine(None, client=True))  # type: ignore[arg-type]
    assert (facts.chip, facts.subtype, facts.properties) == ("Apple M4 Max", "h16", {"route": "client"})
    assert not facts.is_software
