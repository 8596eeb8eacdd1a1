"""A case: a kernel to measure, and the row that its measurement becomes."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from .. import mil
from ..errors import ArgumentError
from ..kernels.conv_stack import ConvStack
from ..results import Row

DEFAULT_QOS = 21


class Kernel(Protocol):
    """A program of one input "x" and one output "y", whose weights and reference it makes itself."""

    @property
    def flops(self) -> int:
        """Operations of one evaluation; a multiply-add is two."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, as they are stored."""

    @property
    def tolerance(self) -> float:
        """The largest relative error that the arithmetic explains."""

    def build(self) -> mil.Program:
        """The program."""

    def input(self) -> NDArray[Any]:
        """An array for its input."""

    def check(self, output: NDArray[Any]) -> float:
        """The output's relative error against the reference; infinite if it is not finite."""


@dataclass(frozen=True)
class Case:
    """A kernel and the row that its measurement becomes. `params["config"]` is its name for people.

    `derive` gives further metrics from those of an ok row.
    """

    key: str
    kernel: Kernel
    params: dict[str, int | float | str]
    qos: int = DEFAULT_QOS
    metrics: dict[str, float] = field(default_factory=dict)
    derive: Callable[[dict[str, float]], dict[str, float]] = lambda metrics: {}

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self.params["config"])

    def row(self, *, metrics: dict[str, float] | None = None, **fields: Any) -> Row:
        """The row with these fields. An ok row's metrics are derived here."""
        kernel = self.kernel
        known = {"weights_mb": kernel.weight_bytes / 2**20, "gflop": kernel.flops / 1e9, **self.metrics}
        known.update(metrics or {})
        if fields["status"] == "ok":
            known.update(self.derive(known))
        return Row(key=self.key, params=self.params, metrics=known, **fields)


def stack_case(probe: str, stack: ConvStack, config: str | None = None, **options: Any) -> Case:
    """The case of a stack, called by its own name unless by `config`: "peak/conv512x128/sp64/fp32-ports"."""
    spatial = str(stack.width) if stack.height == 1 else f"{stack.height}x{stack.width}"
    return Case(
        key=f"{probe}/conv{stack.channels}x{stack.depth}/sp{spatial}/{stack.port_dtype}-ports",
        kernel=stack,
        params={
            "config": config or stack.name,
            "channels": stack.channels,
            "depth": stack.depth,
            "height": stack.height,
            "width": stack.width,
            "ports": stack.port_dtype,
        },
        **options,
    )


def check_stacks(configs: object, kind: type[ConvStack]) -> None:
    """Raise ArgumentError unless it is a list or tuple of one or more stacks of that kind."""
    right = isinstance(configs, (list, tuple)) and all(isinstance(config, kind) for config in configs)
    if not right or not configs:
        raise ArgumentError(f"configs must be a list of one or more {kind.__name__}s, not {configs!r}")


def refuse_repetition(cases: Iterable[Case]) -> None:
    """Raise ArgumentError if two cases would have the same key."""
    if twice := [key for key, count in Counter(case.key for case in cases).items() if count > 1]:
        raise ArgumentError(f"configs holds {twice[0]!r} more than once")
