"""The table of probes: what the command has verbs for, and what a suite runs, in this order."""

from collections.abc import Callable
from dataclasses import dataclass

from ..results import Result
from .compat import compat
from .counters import counters
from .dispatch import dispatch
from .int8 import int8
from .latency import latency
from .limits import limits
from .parity import parity
from .peak import peak
from .ports import ports
from .qos import qos
from .sram import sram
from .sustained import sustained
from .sweep import sweep
from .weights import weights


@dataclass(frozen=True)
class Probe:
    """A probe: `run(device, budget=..., progress=...)`.

    `share` weighs its part of a suite's budget. `in_child`: a suite gives it a process, since it spends
    compiles, may hang, or must not meet what another left; the others start their own.
    """

    run: Callable[..., Result]
    share: float
    in_child: bool = True

    @property
    def name(self) -> str:
        """What the verb and the result are called."""
        return self.run.__name__

    @property
    def summary(self) -> str:
        """The first line of its documentation."""
        return (self.run.__doc__ or self.name).partition("\n")[0]


# What is cheap and tells whether the rest makes sense comes first. Compiles that fail, as some of compat do,
# are reported to slow down the engine's compiler for a while. The largest programs come last: a few
# evaluations of them can take the emulator longer than the share of int8.
_PROBES = (
    Probe(counters, 0.2),
    Probe(weights, 0.3),
    Probe(limits, 2, in_child=False),
    Probe(parity, 2, in_child=False),
    Probe(dispatch, 1),
    Probe(latency, 1.5),
    Probe(ports, 1.5),
    Probe(qos, 1.5),
    Probe(peak, 4),
    Probe(sweep, 4),
    Probe(sram, 4),
    Probe(sustained, 3),
    Probe(compat, 2, in_child=False),
    Probe(int8, 3),
)
PROBES = {probe.name: probe for probe in _PROBES}
