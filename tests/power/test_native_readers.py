"""The readers of sensors and channels, on a replacement of Apple's libraries: what they ask, and refusals."""

import ctypes
import struct
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from aneperf.power import PowerError, RailMinusCpu, WholeMac
from aneperf.power.smc import Message, Smc
from aneperf.power.state_channels import StateChannels

SERVICES = {7: b"AppleSMC", 8: b"AppleSMCKeysEndpoint"}


class FakeKit:
    """IOKit with a controller that has some sensors."""

    this_task = 515

    def __init__(self, sensors: dict[str, bytes], kind: bytes = b"flt ", refusal: int = 0) -> None:
        self.sensors, self.kind, self.refusal = sensors, kind, refusal
        self.left = list(SERVICES)
        self.released: list[int] = []
        self.asked: list[tuple[str, int]] = []

    def IOServiceMatching(self, name: bytes) -> str:  # noqa: N802
        assert name == b"AppleSMC"
        return "matching"

    def IOServiceGetMatchingServices(self, port: int, matching: str, services: Any) -> int:  # noqa: N802
        services._obj.value = 3
        return 0

    def IOIteratorNext(self, services: Any) -> int:  # noqa: N802
        return self.left.pop(0) if self.left else 0

    def IORegistryEntryGetName(self, service: int, name: Any) -> int:  # noqa: N802
        name.value = SERVICES[service]
        return 0

    def IOObjectRelease(self, thing: Any) -> int:  # noqa: N802
        self.released.append(getattr(thing, "value", thing))
        return 0

    def IOServiceOpen(self, service: int, task: int, kind: int, connection: Any) -> int:  # noqa: N802
        assert (service, task, kind) == (8, 515, 0)
        connection._obj.value = 42
        return self.refusal

    def IOConnectCallStructMethod(  # noqa: N802
        self, connection: int, selector: int, given: Any, size: int, answer: Any, answer_size: Any
    ) -> int:
        assert (connection, selector, size, answer_size._obj.value) == (42, 2, 80, 80)
        question, found = given._obj, answer._obj
        key = question.key.to_bytes(4, "big").decode()
        self.asked.append((key, question.command))
        if key not in self.sensors:
            found.result = 132
        elif question.command == 9:
            found.info.size, found.info.kind = 4, int.from_bytes(self.kind, "big")
        else:
            assert (question.command, question.info.size) == (5, 4)
            found.data[:4] = list(self.sensors[key])
        return 0


def test_the_message_has_the_drivers_layout() -> None:
    places = {name: getattr(Message, name).offset for name in ("key", "version", "limits", "info", "result")}
    assert places == {"key": 0, "version": 4, "limits": 12, "info": 28, "result": 40}
    assert (Message.command.offset, Message.index.offset, Message.data.offset) == (42, 44, 48)
    assert ctypes.sizeof(Message) == 80


def test_a_sensor() -> None:
    kit = FakeKit({"PSTR": struct.pack("<f", 8.25)})
    whole = WholeMac(Smc(kit).watts)
    assert [whole.read(), whole.read()] == [8.25, 8.25]
    assert kit.asked == [("PSTR", 9), ("PSTR", 5), ("PSTR", 5)]  # its kind is asked for once
    assert kit.released == [7, 8, 3]


@pytest.mark.parametrize(
    ("sensors", "options", "message"),
    [
        ({}, {}, "this machine has no sensor PSTR"),
        ({"PSTR": b"\0" * 4}, {"kind": b"ui32"}, "PSTR is not a 4-byte float"),
        ({"PSTR": struct.pack("<f", float("nan"))}, {}, "the sensor PSTR reads nan"),
        ({}, {"refusal": 0xE00002E2}, r"AppleSMC refuses: it is not permitted \(0xe00002e2\)"),
        ({}, {"refusal": 0xE00002C1 - (1 << 32)}, r"it needs more rights \(0xe00002c1\)"),
    ],
)
def test_a_sensor_that_cannot_be_read(
    sensors: dict[str, bytes], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(PowerError, match=message):
        Smc(FakeKit(sensors, **options)).watts("PSTR")


def test_a_machine_without_the_controller() -> None:
    kit = FakeKit({})
    kit.left = [7]
    with pytest.raises(PowerError, match="no AppleSMCKeysEndpoint"):
        Smc(kit)


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has Apple's libraries")
def test_another_system_has_none_of_the_libraries() -> None:
    with pytest.raises(PowerError, match="IOKit does not load"):
        WholeMac().read()
    with pytest.raises(PowerError, match="IOReport does not load"):
        StateChannels("PMP")


class FakeReports:
    """CoreFoundation and IOReport with channels of (subgroup, name, ticks); references are objects."""

    def __init__(self, *samples: list[tuple[str, str, tuple[int, ...]]]) -> None:
        self.samples = list(samples)
        self.released: list[Any] = []
        self.subscribed = True

    def CFStringCreateWithCString(self, allocator: None, text: bytes, encoding: int) -> str:  # noqa: N802
        return text.decode()

    def CFStringGetCString(self, string: str, buffer: Any, size: int, encoding: int) -> bool:  # noqa: N802
        buffer.value = string.encode()
        return len(string) < size

    def CFDictionaryGetValue(self, found: Any, key: str) -> Any:  # noqa: N802
        assert key == "IOReportChannels"
        return found.channels

    def CFDictionaryCreateMutableCopy(self, allocator: None, capacity: int, found: Any) -> Any:  # noqa: N802
        return SimpleNamespace(channels=found.channels)

    def CFArrayGetCount(self, array: list[Any]) -> int:  # noqa: N802
        return len(array)

    def CFArrayGetValueAtIndex(self, array: list[Any], place: int) -> Any:  # noqa: N802
        return array[place]

    def CFRelease(self, thing: Any) -> None:  # noqa: N802
        self.released.append(thing)

    def IOReportCopyChannelsInGroup(self, group: str, subgroup: None, *ignored: int) -> Any:  # noqa: N802
        assert group == "PMP"
        return SimpleNamespace(channels=self.samples[0]) if self.samples else None

    def IOReportCreateSubscription(self, first: None, channels: Any, kept: Any, *ignored: Any) -> Any:  # noqa: N802
        return "subscription" if self.subscribed else None

    def IOReportCreateSamples(self, subscription: str, channels: Any, ignored: None) -> Any:  # noqa: N802
        return SimpleNamespace(channels=self.samples.pop(0)) if self.samples else None

    def IOReportChannelGetSubGroup(self, channel: Any) -> str:  # noqa: N802
        return str(channel[0])

    def IOReportChannelGetChannelName(self, channel: Any) -> str:  # noqa: N802
        return str(channel[1])

    def IOReportStateGetCount(self, channel: Any) -> int:  # noqa: N802
        return len(channel[2]) or -1  # of a channel that is no state channel

    def IOReportStateGetResidency(self, channel: Any, place: int) -> int:  # noqa: N802
        return int(channel[2][place])


def channels(cluster: tuple[int, ...], memory: tuple[int, ...]) -> list[tuple[str, str, tuple[int, ...]]]:
    half = tuple(tick // 2 for tick in cluster)
    return [
        ("Energy", "PACC0", half),
        ("Energy", "PACC0", cluster),
        ("Energy", "PACC0 SRAM", memory),
        ("Energy", "EACC0", (9, 9)),
        ("DCS BW", "ANE0 RD", (7, 7, 7)),
        ("Energy", "PACC0", ()),
    ]


def test_the_rail_less_the_bins_of_the_cpu() -> None:
    reports = FakeReports(
        channels((10, 0, 0), (20, 0)), channels((10, 30, 10), (50, 10)), channels((10, 30, 50), (80, 10))
    )
    found = StateChannels("PMP", reports)
    rail = RailMinusCpu(lambda key: {"PP0b": 9.0}[key], found.read)
    assert rail.read() is None
    # The cluster was in bin 1 for 30 of 40 ticks and in bin 2 for 10, its memory in bin 1 for 10 of 40.
    assert rail.read() == 9 - 1.25 - 0.25
    assert rail.read() == 9 - 2 - 0
    with pytest.raises(PowerError, match="IOReport gives no sample"):
        rail.read()
    assert len(reports.released) == 2 + 3  # the name, the channels, and each sample


def test_bins_that_stand_still_or_change() -> None:
    reports = FakeReports(
        channels((1, 1), (1, 1)),
        channels((1, 1), (2, 2)),
        channels((2, 2, 2), (3, 3)),
        [("Energy", "EACC0", (1,))],
    )
    rail = RailMinusCpu(lambda key: 9.0, StateChannels("PMP", reports).read)
    assert [rail.read(), rail.read(), rail.read()] == [None, None, None]
    with pytest.raises(PowerError, match="no power of the performance cores"):
        rail.read()


def test_a_group_without_channels() -> None:
    for reports in (FakeReports(), FakeReports([])):
        with pytest.raises(PowerError, match="shows no channel of the group PMP to this process"):
            StateChannels("PMP", reports)
    reports = FakeReports(channels((1,), (1,)))
    reports.subscribed = False
    with pytest.raises(PowerError, match="refuses a subscription"):
        StateChannels("PMP", reports)
