"""The ranks of a run, the processes that train together: where they are, and which engines they have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from ..chips import find_chip
from ..errors import ArgumentError
from ..files import one_line
from ..results import Environment

_NAMED = 3  # hosts in a line
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Ranks:
    """The host and the device of each rank, in the order of ranks, and the library that connects them."""

    hosts: tuple[str, ...]
    environments: tuple[Environment, ...]
    library: str  # with its version, such as "Open MPI 5.0.8"
    binding: str | None = None  # what to tell of the cores that the launcher leaves rank 0

    def __len__(self) -> int:
        return len(self.hosts)

    def environment(self) -> Environment:
        """Return the environment of rank 0 with the facts of all ranks, as results have it: without names."""
        ranks = Counter(self.hosts)
        facts = {"ranks": str(len(self)), "hosts": str(len(ranks)), "mpi": self.library}
        if len(set(ranks.values())) > 1:
            facts["ranks by host"] = ", ".join(map(str, ranks.values()))
        if len(chips := dict.fromkeys(environment.chip for environment in self.environments)) > 1:
            facts["chips"] = ", ".join(chips)
        return msgspec.structs.replace(self.environments[0], cluster=facts)

    def lines(self) -> Iterator[str]:
        """Say where the ranks are, and where they share an engine or do not use one."""
        hosts = dict.fromkeys(self.hosts)
        yield f"{self.environment().layout} ({_listed(list(hosts))}), {one_line(self.library, _LONGEST_NAME)}"
        said: dict[str, list[str]] = {}
        for host in hosts:
            (first, *others) = (e for h, e in zip(self.hosts, self.environments, strict=True) if h == host)
            if line := _engines(first, 1 + len(others)):
                said.setdefault(line, []).append(host)
        for line, names in said.items():
            yield f"{_listed(names)}: {line}"
        if self.binding is not None:
            yield one_line(self.binding)
        if chips := self.environment().cluster.get("chips"):
            yield f"Chips differ: {one_line(chips, _LONGEST_NAME)}; every update waits for the slowest rank"


def _engines(environment: Environment, ranks: int) -> str | None:
    """Say how many engines a host is known to have for its ranks; None if one rank has the only one."""
    if environment.device == "emulator":
        return None if ranks == 1 else f"{ranks} ranks share the CPU; the emulator has no engines"
    told, published = environment.properties.get("engines", ""), _published(environment)
    if not told.isdecimal():
        return None if ranks == 1 else f"{ranks} ranks; engines: unavailable{published}"
    engines = int(told)
    named = f"{told} {'engine' if engines == 1 else 'engines'}{published}"
    if ranks > engines:
        return f"{ranks} ranks share {named}: {'they' if engines == 1 else 'some'} take turns"
    if engines == 1:
        return None
    counted = f"{ranks} {'rank' if ranks == 1 else 'ranks'}, {named}"
    return f"{counted}; aneperf engines measures whether two programs use both"


def _published(environment: Environment) -> str:
    """Say how many engines are published for the chip, where that is not what the framework tells."""
    try:
        chip = find_chip(environment.chip)
    except ArgumentError:  # a chip that the table does not have
        return ""
    if chip.engines is None or str(chip.engines) == environment.properties.get("engines"):
        return ""
    return f" ({chip.engines} published for {chip.name})"


def _listed(names: Sequence[str]) -> str:
    shown = [one_line(name, _LONGEST_NAME) for name in names[:_NAMED]]
    return ", ".join([*shown, f"{len(names) - _NAMED} more"] if len(names) > _NAMED else shown)
