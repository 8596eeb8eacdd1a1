"""A case: a kernel to measure, and the key and parameters of its row."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from numpy.typing import NDArray

from .. import mil
from ..checks import shown
from ..errors import ArgumentError
from ..kernels.conv_stack import ConvStack
from ..results import Row
from .measured import Measured, Params

DEFAULT_QOS = 21


class TimedKernel(Protocol):
    """A program with its work."""

    @property
    def flops(self) -> int:
        """Return the operations of one evaluation; a multiply-add counts as two."""

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of all weights, as stored."""

    def build(self) -> mil.Program:
        """Return the program."""


class StackKernel(TimedKernel, Protocol):
    """A program of an input "x" and an output "y", with its reference."""

    @property
    def tolerance(self) -> float:
        """Return the largest relative error that rounding explains."""

    def input(self) -> NDArray[Any]:
        """Return an array for the input."""

    def check(self, output: NDArray[Any]) -> float:
        """Return the output's relative error against the reference; infinite if it is not finite."""


@dataclass(frozen=True)
class Judged:
    """The output of a case: its largest relative error, and the largest that rounding explains.

    The error of an output that is not finite is infinite. `unchecked` is the reason why nothing was compared.
    """

    error: float = 0.0
    tolerance: float = 0.0
    unchecked: str = ""


@dataclass(frozen=True)
class Case(ABC):
    """A kernel, and the key and parameters of its row; `params["config"]` is its name for people.

    `derive` computes further metrics from those of an ok row.
    """

    key: str
    kernel: TimedKernel
    params: Params
    qos: int = DEFAULT_QOS
    metrics: dict[str, float] = field(default_factory=dict)
    derive: Callable[[dict[str, float]], dict[str, float]] = lambda metrics: {}

    @property
    def name(self) -> str:
        """Return its name for people."""
        return str(self.params["config"])

    @property
    def cost(self) -> int:
        """Return what orders cases by the time that they take, before anything is built; 0 if not known."""
        return 0

    @abstractmethod
    def inputs(self) -> Mapping[str, NDArray[Any]]:
        """Return an array for each input of the program that was built."""

    @abstractmethod
    def judge(self, outputs: Mapping[str, NDArray[Any]]) -> Judged:
        """Compare the outputs with the reference."""

    def row(self, measured: Measured) -> Row:
        """Return the row of a measurement, with the metrics of the kernel and the derived ones."""
        kernel = self.kernel
        metrics = {"weights_mib": kernel.weight_bytes / 2**20, "gflop": kernel.flops / 1e9, **self.metrics}
        metrics |= measured.metrics
        if measured.status == "ok":
            metrics |= self.derive(metrics)
        return replace(measured, metrics=metrics).row(self.key, self.params)


@dataclass(frozen=True)
class StackCase(Case):
    """A case of one input and one output."""

    kernel: StackKernel

    @property
    def cost(self) -> int:
        """Return the operations and the bytes of weights."""
        return self.kernel.flops + self.kernel.weight_bytes

    def inputs(self) -> Mapping[str, NDArray[Any]]:
        """Return the array for the input."""
        return {"x": self.kernel.input()}

    def judge(self, outputs: Mapping[str, NDArray[Any]]) -> Judged:
        """Compare the output with the reference."""
        return Judged(self.kernel.check(outputs["y"]), self.kernel.tolerance)


def stack_case(probe: str, stack: ConvStack, config: str | None = None, **options: Any) -> Case:
    """Return the case of a stack, such as "peak/conv512x128/sp64/fp32-ports"; `config` renames it."""
    spatial = str(stack.width) if stack.height == 1 else f"{stack.height}x{stack.width}"
    return StackCase(
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
    """Raise ArgumentError unless `configs` is a list or tuple of one or more stacks of that kind."""
    right = isinstance(configs, (list, tuple)) and all(isinstance(config, kind) for config in configs)
    if not right or not configs:
        raise ArgumentError(f"configs must be a list of one or more {kind.__name__}s, not {shown(configs)}")


def refuse_repetition(cases: Iterable[Case]) -> None:
    """Raise ArgumentError if two cases would have the same key."""
    if twice := [key for key, count in Counter(case.key for case in cases).items() if count > 1]:
        raise ArgumentError(f"configs holds {twice[0]!r} more than once")
