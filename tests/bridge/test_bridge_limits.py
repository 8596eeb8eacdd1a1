"""The limits of each route, as the probe counts them on the stand-in."""

from typing import Any

import pytest

import aneperf
from support.standin import Standin

pytest_plugins = ["support.standin"]


def test_limits_counts_by_both_routes(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANE_STANDIN_COMPILE_BUDGET", "22")
    result = aneperf.limits("ane", route="both", most=24, budget=600.0)
    found = {row.key: row for row in result}
    assert all(row.status == "ok" for row in result)
    for part in ("kept", "released"):
        memory, client = (found[f"limits/{route}/{part}"] for route in ("memory", "client"))
        assert (memory.metrics["programs"], memory.params["ending"]) == (22, "the next was refused")
        assert (client.metrics["programs"], client.params["ending"]) == (24, "none was refused of 24")
        assert memory.metrics["bytes_each"] >= 0
        assert client.metrics["bytes_each"] >= 0
    assert found["limits/client/load time"].n == 24
    assert found["limits/memory/compile time"].n == 22
    assert len(found) == 8
    assert result.environment.properties["route"] == "memory and client"
    assert {note.partition(":")[0] for note in result.notes} == {"memory/kept", "memory/released"}


def test_limits_says_why_a_route_does_not_open(standin: Standin) -> None:
    with standin.faults("missing_class=_ANEClient"):
        result = aneperf.limits("ane", route="client", most=1)
    assert [row.status for row in result] == ["unsupported"] * 4
    assert all("has no class _ANEClient" in (row.reason or "") for row in result)


@pytest.mark.parametrize("route", ["kernel", "", 1])
def test_limits_refuses_another_route(ane: aneperf.Device, route: Any) -> None:
    with pytest.raises(aneperf.ArgumentError, match="choose memory, client or both"):
        aneperf.limits(ane, route=route)
