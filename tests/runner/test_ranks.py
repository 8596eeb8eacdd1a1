"""The ranks of a run: where they are, and the engines that they share."""

from typing import Any

import pytest

from aneperf.baselines import baseline_name
from aneperf.runner.ranks import Ranks
from support.fakes import a_result, an_environment


def engine(engines: str, chip: str = "M4") -> dict[str, Any]:
    return {"device": "ane", "chip": chip, "properties": {"engines": engines}}


def ranks(*machines: tuple[str, dict[str, Any]]) -> Ranks:
    hosts = tuple(host for host, _ in machines)
    return Ranks(hosts, tuple(an_environment(**facts) for _, facts in machines), "Open MPI v5.0.11")


@pytest.mark.parametrize(
    ("machines", "lines"),
    [
        ([("a", engine("1")), ("b", engine("1"))], ["2 ranks on 2 hosts (a, b), Open MPI v5.0.11"]),
        (
            [("a", engine("1"))] * 2,
            [
                "2 ranks on 1 host (a), Open MPI v5.0.11",
                "a: 2 ranks share 1 engine: they take turns",
            ],
        ),
        (
            [("a", engine("2", "M6"))] * 2,
            [
                "2 ranks on 1 host (a), Open MPI v5.0.11",
                "a: 2 ranks, 2 engines; aneperf engines measures whether two programs use both",
            ],
        ),
        (
            [("a", engine("2", "M6"))] * 3 + [("b", engine("2", "M6"))],
            [
                "4 ranks on 2 hosts (a, b), Open MPI v5.0.11",
                "a: 3 ranks share 2 engines: some take turns",
                "b: 1 rank, 2 engines; aneperf engines measures whether two programs use both",
            ],
        ),
        (
            [("a", engine("unavailable", "M99"))] * 2 + [("b", engine("unavailable", "M99"))],
            ["3 ranks on 2 hosts (a, b), Open MPI v5.0.11", "a: 2 ranks; engines: unavailable"],
        ),
        (
            [("a", engine("1", "M6"))] * 2 + [("b", engine("unavailable", "M6"))] * 2,
            [
                "4 ranks on 2 hosts (a, b), Open MPI v5.0.11",
                "a: 2 ranks share 1 engine (2 published for M6): they take turns",
                "b: 2 ranks; engines: unavailable (2 published for M6)",
            ],
        ),
        (
            [(host, {}) for host in "aabbccdd"] + [("e", {"chip": "h17"})],
            [
                "9 ranks on 5 hosts (a, b, c, 2 more), Open MPI v5.0.11",
                "a, b, c, 1 more: 2 ranks share the CPU; the emulator has no engines",
                "Chips differ: h16, h17; every update waits for the slowest rank",
            ],
        ),
    ],
)
def test_the_lines_of_a_start(machines: list[tuple[str, dict[str, Any]]], lines: list[str]) -> None:
    assert list(ranks(*machines).lines()) == lines


def test_a_result_names_no_host_and_tells_its_layout() -> None:
    even = ranks(("studio.local", {}), ("mini.local", {})).environment()
    assert even.cluster == {"ranks": "2", "hosts": "2", "mpi": "Open MPI v5.0.11"}
    assert even.label == "software emulator on AMD EPYC, 2 ranks on 2 hosts; not a Neural Engine measurement"
    uneven = ranks(*[("a", {})] * 3, ("b", {"chip": "h17"})).environment()
    assert uneven.cluster["ranks by host"] == "3, 1"
    assert uneven.cluster["chips"] == "h16, h17"
    assert an_environment().layout == ""


def test_layouts_are_told_apart() -> None:
    alone, one, two = (
        a_result(environment=environment, probe="train")
        for environment in (
            an_environment(),
            ranks(*[("a", {})] * 2).environment(),
            ranks(("a", {}), ("b", {})).environment(),
        )
    )
    names = [baseline_name(result) for result in (alone, one, two)]
    assert len(set(names)) == 3
    assert "2-ranks-on-1-host" in names[1]
    differences = one.compare(two).differences
    assert [(fact.fact, fact.first, fact.second) for fact in differences] == [("hosts", "1", "2")]
    assert [fact.fact for fact in alone.compare(one).differences] == ["ranks", "hosts", "mpi"]


def test_the_cores_that_a_launcher_leaves_are_told() -> None:
    environments = (an_environment(), an_environment())
    told = Ranks(("a", "b"), environments, "Open MPI v5.0.11", "a: the launcher binds a rank to 1 of 4 cores")
    assert list(told.lines())[-1] == "a: the launcher binds a rank to 1 of 4 cores"
