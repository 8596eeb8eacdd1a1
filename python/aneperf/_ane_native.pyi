"""The native core: devices, programs, surfaces, and the MIL checker."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from .mil.types import DType

__version__: str

class AneError(Exception):
    """The base of this package's errors."""

class ArgumentError(AneError, ValueError, TypeError):
    """A call got an argument that it cannot use."""

class DeviceUnavailable(AneError):
    """The device does not exist on this machine, lacks what it needs, or was opened before a fork."""

class SurfaceError(AneError):
    """A surface cannot be made, read or written as asked."""

class CompileError(AneError):
    """A program was refused. The message says where and why."""

    kind: str
    line: int | None
    column: int | None

class CompileBudgetError(AneError):
    """This process has used up its compiles."""

class EvaluateError(AneError):
    """An evaluation failed."""

    status: int | None

@final
class CompileBudget:
    """The compiles allowed in one process.

    After `soft` they are refused; after `hard` the engine's own compiler fails.
    """

    def __init__(self, soft: int = 100, hard: int = 119) -> None: ...
    @property
    def soft(self) -> int: ...
    @property
    def hard(self) -> int: ...

@final
class Layout:
    """The layout of a tensor in a surface: rows of the last axis, each on a 64-byte boundary."""

    def __init__(self, dtype: str, shape: Sequence[int]) -> None: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def row_pitch(self) -> int: ...
    @property
    def bytes(self) -> int: ...

@final
class Port:
    """An input or output of a program."""

    @property
    def name(self) -> str: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def row_pitch(self) -> int: ...
    @property
    def bytes(self) -> int: ...

@final
class Surface:
    """Memory that the device and the CPU share."""

    @property
    def bytes(self) -> int: ...
    @property
    def layout(self) -> Layout | None: ...
    def write(self, array: NDArray[Any], layout: Layout | None = None) -> None:
        """Copy `array` in, row by row. Its dtype and shape must be the layout's. Raises SurfaceError."""
    def read(self, layout: Layout | None = None) -> NDArray[Any]:
        """Copy the tensor out. Raises SurfaceError."""

@final
class Request:
    """A program with its surfaces bound: built once, evaluated many times."""

    def evaluate(self) -> None:
        """Run once and return when the outputs are written. Raises EvaluateError."""
    def time(self, count: int) -> NDArray[np.int64]:
        """Run `count` times and return each call's duration in nanoseconds."""
    def time_steps(self, count: int) -> NDArray[np.int64]:
        """Run `count` times and return the nanoseconds of each step: [count, steps].

        Raises EvaluateError on an engine, which does not tell.
        """

@final
class ProgramStats:
    """The resources of a compiled program. None marks what the device does not report."""

    @property
    def weight_bytes(self) -> int | None: ...
    @property
    def activation_bytes(self) -> int | None: ...
    @property
    def operations(self) -> int | None: ...
    @property
    def compile_ns(self) -> int | None: ...
    @property
    def load_ns(self) -> int | None: ...
    @property
    def retried_evaluations(self) -> int | None: ...

@final
class Counter:
    """A statistic of the device. `value` is None for the given `reason`."""

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def value(self) -> int | None: ...
    @property
    def reason(self) -> str: ...

@final
class Program:
    """A compiled and loaded program. Ports are in ASCII order of their names, as the engine binds them."""

    @property
    def inputs(self) -> list[Port]: ...
    @property
    def outputs(self) -> list[Port]: ...
    @property
    def notes(self) -> list[str]: ...
    @property
    def stats(self) -> ProgramStats: ...
    @property
    def steps(self) -> list[list[str]]:
        """Return, for each step of an evaluation, the names of the values that it computes.

        A step that loads or stores a port names the port. The list is empty on an engine.
        """
    @property
    def loaded(self) -> bool: ...
    def __enter__(self) -> Program: ...
    def __exit__(self, *exception: object) -> None: ...
    def bind(
        self,
        inputs: Mapping[str, Surface],
        outputs: Mapping[str, Surface],
        *,
        weights_buffer: Surface | None = None,
        procedure: int = 0,
    ) -> Request:
        """Bind surfaces by port name. A surface smaller than its port raises EvaluateError (status 0x1d).

        `weights_buffer` and `procedure` go into the engine's request. Known engines ignore both.
        """
    def evaluate(self, inputs: Mapping[str, Surface], outputs: Mapping[str, Surface]) -> None:
        """Bind and run once."""
    def time(
        self, inputs: Mapping[str, Surface], outputs: Mapping[str, Surface], count: int
    ) -> NDArray[np.int64]:
        """Bind, run `count` times and return each call's duration in nanoseconds."""
    def run(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run once on arrays: make surfaces, write, evaluate, read every output."""
    def reload(self, weights: Mapping[str, Any] | None = None) -> None:
        """Replace weight files, unload, and load again without a compile.

        Raises ArgumentError for a path that the program does not have, CompileError if it does not load: from
        macOS 27 on the system refuses files that changed.
        """
    def counters(self, inputs: Mapping[str, Surface], outputs: Mapping[str, Surface]) -> list[Counter]:
        """Evaluate with every statistic requested, and return what the device reports."""
    def unload(self) -> None:
        """Free the program. Later evaluations raise EvaluateError."""

@final
class Device:
    """A Neural Engine, or the emulator."""

    def info(self) -> dict[str, str]:
        """Describe the device: "kind" ("ane" or "emulator"), "chip", and more, in display order."""
    def compile(
        self,
        text: str,
        weights: Mapping[str, Any] | None = None,
        *,
        lenient_weights: bool = False,
        qos: int = 21,
        strict: bool = True,
    ) -> Program:
        """Compile MIL text. `weights` maps paths ("@model_path/weights/w.bin") to bytes-like objects.

        `qos`, 0..63, is the quality of service of the engine's compilation, loading and evaluations:
        21 is the default, 9 background, 33 interactive.

        `strict=False` hands the text unread to Apple's compiler, on the engine only. The loaded program
        reports its ports, as tensors of four axes or five.
        """
    def make_surface(self, layout: int | Layout | Port) -> Surface:
        """Make a zero-filled surface of a number of bytes, or for a tensor. Raises SurfaceError."""
    @property
    def compile_budget(self) -> CompileBudget: ...
    @property
    def compiles_used(self) -> int:
        """Return the number of compiles that this process has requested from any device."""

def open_neural_engine(budget: CompileBudget = ..., *, client: bool = False) -> Device:
    """Open the Apple Neural Engine, if `client` by way of the client of the engine's service.

    Raises DeviceUnavailable where there is none.
    """

def open_emulator(chip: str = "h16", budget: CompileBudget = ...) -> Device:
    """Open the emulator with a chip's profile, such as "h18g", or "none" for plain fp16 arithmetic."""

def chip_profile(chip: str) -> dict[str, Any]:
    """Return what the emulator's profile of a chip refuses or computes differently. Raises ArgumentError."""

@final
class Parameter:
    """A parameter of an operation."""

    @property
    def name(self) -> str: ...
    @property
    def role(self) -> Literal["tensor", "constant", "tuple"]:
        """Return "tensor", "constant", or "tuple" for several tensors."""
    @property
    def dtypes(self) -> tuple[DType, ...]:
        """Return the element types that the engine takes."""
    @property
    def required(self) -> bool:
        """Return whether MIL text must give it."""
    @property
    def default(self) -> bool | int | float | str | tuple[int, ...] | None:
        """Return the value of an absent argument, or None if absence has a meaning of its own.

        A builder writes it for a required parameter.
        """

@final
class OpSpec:
    """An operation of MIL, as the checker knows it."""

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def opset(self) -> str:
        """Return the first opset that has it."""
    @property
    def parameters(self) -> dict[str, Parameter]:
        """Return the parameters by name, in the order of the table."""
    @property
    def results(self) -> int | None:
        """Return the number of results, or None if the arguments decide."""

@final
class Refusal:
    """One reason why a program does not compile."""

    @property
    def line(self) -> int:
        """Return the line, from 1; 0 if it concerns the whole program."""
    @property
    def column(self) -> int:
        """Return the column in bytes, from 1; 0 if it concerns the whole program."""
    @property
    def kind(self) -> str:
        """Return "InvalidMILProgram", "CompilationFailure" or "InvalidWeights"."""
    @property
    def op(self) -> str:
        """Return the operation, "const", "port" or "program"."""
    @property
    def message(self) -> str:
        """Return the reason, without kind and place."""

def check(
    text: str,
    weights: Mapping[str, Any] | None = None,
    profile: str = "none",
    lenient_weights: bool = False,
) -> list[Refusal]:
    """List all that compile refuses, in the order of the text.

    After a refused statement the check goes on at the next one. Without `weights`, weight files
    are not read, and a program that has any is not tried on `profile`.
    """

def operations() -> dict[str, OpSpec]:
    """Return the operations that the engine takes, by name."""

def infer(op: str, arguments: Mapping[str, Any], opset: str = "ios18") -> list[tuple[str, tuple[int, ...]]]:
    """Check an operation and return its results' (dtype, shape).

    An argument is a tensor (dtype, shape), a constant (dtype, shape, bytes or str), or a list of those.
    Raises CompileError.
    """

def parse(text: str) -> dict[str, Any]:
    """Parse MIL text to plain data; see aneperf.mil.parse."""

def check_weight_path(path: str) -> None:
    """Raise ArgumentError unless `path` is "@model_path/" and a relative path that stays inside."""

# (surface, first channel, channels), or also positions and the first column; it is None for whole channels.
SurfacePart = tuple[Surface, int, int] | tuple[Surface, int, int, int, int | None]

def write_channels(
    surface: Surface,
    first: int,
    x: NDArray[np.float32],
    column: int | None = None,
    transpose: bool = False,
) -> None:
    """Round x [C, S] to fp16 and write it to channels of a surface [1, channels, 1, W], from `first` on.

    W is S unless x goes to a `column` and those that follow. With `transpose`, x is [S, C].
    """

def read_channels(surface: Surface, first: int, out: NDArray[np.float32]) -> None:
    """Read channels of a surface [1, channels, 1, S], from `first` on, to out [C, S]."""

def add_channels(surface: Surface, first: int, x: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Add x and channels of a surface, from `first` on, to out [C, S], which may be x."""

def copy_channels(
    source: Surface,
    source_first: int,
    target: Surface,
    target_first: int,
    count: int,
    target_column: int | None = None,
) -> None:
    """Copy whole channels from one fp16 surface to another, or to a column and those that follow."""

def rms_norm(
    x: NDArray[np.float32], weight: NDArray[np.float32], epsilon: float, out: NDArray[np.float32]
) -> None:
    """Apply RMSNorm over the channels of x [C, S], times weight [C]."""

def rms_norm_backward(
    dy: NDArray[np.float32],
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
    epsilon: float,
    dx: NDArray[np.float32] | None,
    dweight: NDArray[np.float32] | None,
) -> None:
    """Add the gradients of rms_norm to dx [C, S] and dweight [C], unless they are None."""

def swiglu_backward(
    dgated: NDArray[np.float32],
    h1: NDArray[np.float32],
    h3: NDArray[np.float32],
    dh1: NDArray[np.float32],
    dh3: NDArray[np.float32],
) -> None:
    """Compute the gradients of h1 and h3 from that of silu(h1) * h3, all [C, S]."""

def embed(
    table: NDArray[np.float32], tokens: Sequence[int] | NDArray[np.integer[Any]], out: NDArray[np.float32]
) -> None:
    """Copy rows of table [V, C], chosen by token, to the columns of out [C, S]."""

def embed_backward(
    dy: NDArray[np.float32], tokens: Sequence[int] | NDArray[np.integer[Any]], dtable: NDArray[np.float32]
) -> None:
    """Add the columns of dy [C, S] to the rows of dtable [V, C]."""

def cross_entropy(
    logits: NDArray[np.float32], targets: Sequence[int] | NDArray[np.integer[Any]], scale: float = 1.0
) -> float:
    """Return the mean over positions of -log softmax(logits [V, S])[target].

    Leaves its gradient times `scale` in logits.
    """

def cross_entropy_of_probabilities(
    probabilities: NDArray[np.float32],
    logits: Surface,
    first: int,
    targets: Sequence[int] | NDArray[np.integer[Any]],
    scale: float = 1.0,
) -> float:
    """Return the same from probabilities [V, S] and channels of the logits' surface, from `first` on.

    Leaves the gradient of the logits times `scale` in probabilities. Exact for targets whose probability
    is too small for fp16.
    """

def adam(
    parameter: NDArray[np.float32],
    gradient: NDArray[np.float32],
    mean: NDArray[np.float32],
    variance: NDArray[np.float32],
    *,
    step: int,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    gradient_scale: float,
) -> None:
    """Take step number `step`, from 1 on, of AdamW (Loshchilov & Hutter 2019).

    The gradient is multiplied by `gradient_scale` first. A weight decay of 0 is plain Adam.
    """

def sum_of_squares(x: NDArray[np.float32]) -> float:
    """Return the sum of x * x, the same for any number of threads."""

def product(
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    out: NDArray[np.float32],
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    base: NDArray[np.float32] | None = None,
) -> None:
    """Multiply a [M, K] by b [K, N], to out [M, N], and add `base` if it is not None.

    A transposed operand is stored [K, M] or [N, K]. The base may be out.
    """

def physical_cores() -> int:
    """Count the physical cores that this process may run on: on a Mac, the fast ones."""

def raise_flags(flags: NDArray[np.int32]) -> None:
    """Set flags [N] in shared memory to 1.

    A process that finds them raised sees everything written before.
    """

def flags_raised(flags: NDArray[np.int32]) -> bool:
    """Tell whether all of the flags [N] are raised: not 0."""

@final
class GradientQueue:
    """A queue of weight gradients, computed one after the other on a thread of its own."""

    def __init__(self) -> None: ...
    def add(
        self,
        dy: NDArray[np.float32] | SurfacePart | Sequence[SurfacePart],
        x: NDArray[np.float32] | SurfacePart | Sequence[SurfacePart],
        dweight: NDArray[np.float32],
        name: str = "",
        base: NDArray[np.float32] | None = None,
        flags: NDArray[np.int32] | None = None,
    ) -> None:
        """Queue dweight [O, I] = base + dy [O, S] x [I, S]^T, then raise the flags.

        dy and x are arrays, parts of surfaces, or lists of parts whose channels follow one another. No array
        may change before `wait`. The base may be dweight; None is 0. See `raise_flags`.
        """
    def add_adapter(
        self,
        dy: NDArray[np.float32] | SurfacePart | Sequence[SurfacePart],
        x: NDArray[np.float32] | SurfacePart | Sequence[SurfacePart],
        a: NDArray[np.float32],
        b: NDArray[np.float32],
        da: NDArray[np.float32],
        db: NDArray[np.float32],
        *,
        scale: float,
        name: str = "",
        base_a: NDArray[np.float32] | None = None,
        base_b: NDArray[np.float32] | None = None,
        flags: NDArray[np.int32] | None = None,
    ) -> None:
        """Queue the gradients of a [R, I] and b [O, R] of a weight [O, I] to which scale * b a is added.

        da = base_a + scale * (b^T dy) x^T and db = base_b + scale * dy (a x)^T, with dy [O, S] and x [I, S]
        as `add` takes them. The gradient of the weight is not computed.
        """
    def wait(self) -> None:
        """Wait until every queued gradient is computed."""
    def take_spans(self) -> list[tuple[str, int, int]]:
        """Return (name, begin, end) of each product since the last call, in ns of time.monotonic_ns."""
