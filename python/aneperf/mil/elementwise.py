# mypy: disable-error-code=empty-body
"""Apply functions to single elements: activations, roundings, arithmetic, comparisons.

Shapes of several operands broadcast as in numpy. A bool tensor cannot be an output: use `select`, or cast it
to fp16.
"""

from __future__ import annotations

from typing import Literal

from .call import operation
from .graph import Operand, Tensor

__all__ = [
    "abs",
    "add",
    "atan",
    "ceil",
    "clamped_relu",
    "clip",
    "cos",
    "elu",
    "equal",
    "erf",
    "exp",
    "exp2",
    "floor",
    "floor_div",
    "gelu",
    "greater",
    "greater_equal",
    "inverse",
    "leaky_relu",
    "less",
    "less_equal",
    "linear_activation",
    "log",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "mul",
    "not_equal",
    "pow",
    "prelu",
    "real_div",
    "relu",
    "relu6",
    "round",
    "rsqrt",
    "scaled_tanh",
    "select",
    "sigmoid",
    "sigmoid_hard",
    "sign",
    "silu",
    "sin",
    "softplus",
    "softsign",
    "sqrt",
    "square",
    "sub",
    "tanh",
    "threshold",
    "thresholded_relu",
]


@operation
def abs(x: Tensor, *, name: str | None = None) -> Tensor:
    """Return |x|."""


@operation
def atan(x: Tensor, *, name: str | None = None) -> Tensor:
    """Return the inverse tangent of x, in (-pi / 2, pi / 2)."""


@operation
def ceil(x: Tensor, *, name: str | None = None) -> Tensor:
    """Round x up to a whole number."""


@operation
def clamped_relu(x: Tensor, alpha: float, beta: float, *, name: str | None = None) -> Tensor:
    """Return the smaller of beta and leaky_relu(x, alpha)."""


@operation
def clip(x: Tensor, alpha: float, beta: float, *, name: str | None = None) -> Tensor:
    """Clamp x to [alpha, beta]."""


@operation
def cos(x: Tensor, *, name: str | None = None) -> Tensor:
    """Return the cosine of x, in radians. Engines before h15 (M3) do not have it."""


@operation
def elu(x: Tensor, alpha: float, *, name: str | None = None) -> Tensor:
    """Return x, or alpha (exp(x) - 1) where x is negative (Clevert et al. 2015)."""


@operation
def erf(x: Tensor, *, name: str | None = None) -> Tensor:
    """Return the error function of x."""


@operation
def exp(x: Tensor, *, name: str | None = None) -> Tensor:
    """Return e to the x, which is infinite in fp16 from x = 11.09 on."""


@operation
def exp2(x: Tensor, *, name: str | None = None) -> Tensor:
    """Return 2 to the x."""


@operation
def floor(x: Tensor, *, name: str | None = None) -> Tensor:
    """Round x down to a whole number."""


@operation
def gelu(
    x: Tensor,
    mode: Literal["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"] = "EXACT",
    *,
    name: str | None = None,
) -> Tensor:
    """Return x Phi(x), with the normal distribution function Phi or an approximation of it.

    Hendrycks & Gimpel 2016.
    """


@operation
def inverse(x: Tensor, epsilon: float = 1e-4, *, name: str | None = None) -> Tensor:
    """Return 1 / (x + epsilon)."""


@operation
def leaky_relu(x: Tensor, alpha: float, *, name: str | None = None) -> Tensor:
    """Return x, or alpha x where x is negative."""


@operation
def linear_activation(x: Tensor, alpha: float, beta: float, *, name: str | None = None) -> Tensor:
    """Return alpha x + beta."""


@operation
def log(x: Tensor, epsilon: float = 0.0, *, name: str | None = None) -> Tensor:
    """Return the natural logarithm of x + epsilon."""


@operation
def prelu(x: Tensor, alpha: Operand, *, name: str | None = None) -> Tensor:
    """Return x, or alpha x where x is negative (He et al. 2015).

    x is [N, C, ...]; alpha is [C], a slope for each channel.
    """


@operation
def relu(x: Tensor, *, name: str | None = None) -> Tensor:
    """Return the larger of x and 0."""


@operation
def relu6(x: Tensor, *, name: str | None = None) -> Tensor:
    """Clamp x to [0, 6]."""


@operation
def round(x: Tensor, *, name: str | None = None) -> Tensor:
    """Round x to a whole number. The engine takes floor(|x| + 0.5), added in fp16, with the sign of x."""


@operation
def rsqrt(x: Tensor, epsilon: float = 0.0, *, name: str | None = None) -> Tensor:
    """Return 1 / sqrt(x + epsilon)."""


@operation
def scaled_tanh(x: Tensor, alpha: float, beta: float, *, name: str | None = None) -> Tensor:
    """Return alpha tanh(beta x)."""


@operation
def sigmoid(x: Tensor, *, name: str | None = None) -> Tensor:
    """Return 1 / (1 + exp(-x))."""


@operation
def sigmoid_hard(x: Tensor, alpha: float, beta: float, *, name: str | None = None) -> Tensor:
    """Clamp alpha x + beta to [0, 1]."""


@operation
def sign(x: Tensor, *, name: str | None = None) -> Tensor:
    """Return 1, 0 or -1 for a positive, zero or negative x."""


@operation
def silu(x: Tensor, *, name: str | None = None) -> Tensor:
    """Return x sigmoid(x)."""


@operation
def sin(x: Tensor, *, name: str | None = None) -> Tensor:
    """Return the sine of x, in radians. Engines before h15 (M3) do not have it."""


@operation
def softplus(x: Tensor, *, name: str | None = None) -> Tensor:
    """Return log(1 + exp(x)). The engine gives 0 from x = 11.09 on."""


@operation
def softsign(x: Tensor, *, name: str | None = None) -> Tensor:
    """Return x / (1 + |x|)."""


@operation
def sqrt(x: Tensor, *, name: str | None = None) -> Tensor:
    """Return the square root of x."""


@operation
def square(x: Tensor, *, name: str | None = None) -> Tensor:
    """Return x * x."""


@operation
def tanh(x: Tensor, *, name: str | None = None) -> Tensor:
    """Return the hyperbolic tangent of x."""


@operation
def threshold(x: Tensor, alpha: float, *, name: str | None = None) -> Tensor:
    """Return the larger of x and alpha."""


@operation
def thresholded_relu(x: Tensor, alpha: float, *, name: str | None = None) -> Tensor:
    """Return x where x >= alpha, 0 elsewhere."""


@operation
def add(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Return x + y."""


@operation
def sub(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Return x - y."""


@operation
def mul(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Return x * y."""


@operation
def real_div(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Return x / y."""


@operation
def floor_div(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Return x / y, rounded down to a whole number."""


@operation
def maximum(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Return the larger of x and y."""


@operation
def minimum(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Return the smaller of x and y."""


@operation
def pow(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Return x to the y."""


@operation
def equal(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Return x == y, as bool."""


@operation
def not_equal(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Return x != y, as bool."""


@operation
def greater(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Return x > y, as bool."""


@operation
def greater_equal(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Return x >= y, as bool."""


@operation
def less(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Return x < y, as bool."""


@operation
def less_equal(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Return x <= y, as bool."""


@operation
def logical_and(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Return, of bools, where both are true."""


@operation
def logical_not(x: Tensor, *, name: str | None = None) -> Tensor:
    """Return the opposite of the bool x."""


@operation
def logical_or(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Return, of bools, where one or both are true. Not measured, but `logical_and` runs on an M4."""


@operation
def logical_xor(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Return, of bools, where just one is true. Not measured, but `logical_and` runs on an M4."""


@operation
def select(cond: Tensor, a: Operand, b: Operand, *, name: str | None = None) -> Tensor:
    """Return a where the bool `cond` is true, b elsewhere."""
