"""Functions of one tensor, element by element: activations, roundings, elementary functions."""

from __future__ import annotations

from typing import Literal

from .call import apply_one
from .graph import Operand, Tensor


def abs(x: Tensor, *, name: str | None = None) -> Tensor:
    """Absolute value of x."""
    return apply_one("abs", name, x=x)


def atan(x: Tensor, *, name: str | None = None) -> Tensor:
    """The inverse tangent of x, in (-pi / 2, pi / 2)."""
    return apply_one("atan", name, x=x)


def ceil(x: Tensor, *, name: str | None = None) -> Tensor:
    """X rounded up to a whole number."""
    return apply_one("ceil", name, x=x)


def clamped_relu(x: Tensor, alpha: float, beta: float, *, name: str | None = None) -> Tensor:
    """The smaller of beta and leaky_relu(x, alpha)."""
    return apply_one("clamped_relu", name, x=x, alpha=alpha, beta=beta)


def clip(x: Tensor, alpha: float, beta: float, *, name: str | None = None) -> Tensor:
    """X brought into [alpha, beta]."""
    return apply_one("clip", name, x=x, alpha=alpha, beta=beta)


def cos(x: Tensor, *, name: str | None = None) -> Tensor:
    """The cosine of x, in radians. Engines before h15 (M3) have none."""
    return apply_one("cos", name, x=x)


def elu(x: Tensor, alpha: float, *, name: str | None = None) -> Tensor:
    """x, or alpha (exp(x) - 1) where x is negative (Clevert et al. 2015)."""
    return apply_one("elu", name, x=x, alpha=alpha)


def erf(x: Tensor, *, name: str | None = None) -> Tensor:
    """The error function of x."""
    return apply_one("erf", name, x=x)


def exp(x: Tensor, *, name: str | None = None) -> Tensor:
    """Exponential of x; infinite in fp16 from x = 11.09 on."""
    return apply_one("exp", name, x=x)


def exp2(x: Tensor, *, name: str | None = None) -> Tensor:
    """2 to the x."""
    return apply_one("exp2", name, x=x)


def floor(x: Tensor, *, name: str | None = None) -> Tensor:
    """X rounded down to a whole number."""
    return apply_one("floor", name, x=x)


def gelu(
    x: Tensor,
    mode: Literal["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"] = "EXACT",
    *,
    name: str | None = None,
) -> Tensor:
    """Product x Phi(x), Phi being the normal distribution function or an approximation of it.

    Hendrycks & Gimpel 2016.
    """
    return apply_one("gelu", name, x=x, mode=mode)


def inverse(x: Tensor, epsilon: float = 1e-4, *, name: str | None = None) -> Tensor:
    """1 / (x + epsilon)."""
    return apply_one("inverse", name, x=x, epsilon=epsilon)


def leaky_relu(x: Tensor, alpha: float, *, name: str | None = None) -> Tensor:
    """x, or alpha x where x is negative."""
    return apply_one("leaky_relu", name, x=x, alpha=alpha)


def linear_activation(x: Tensor, alpha: float, beta: float, *, name: str | None = None) -> Tensor:
    """Alpha x + beta."""
    return apply_one("linear_activation", name, x=x, alpha=alpha, beta=beta)


def log(x: Tensor, epsilon: float = 0.0, *, name: str | None = None) -> Tensor:
    """The natural logarithm of x + epsilon."""
    return apply_one("log", name, x=x, epsilon=epsilon)


def prelu(x: Tensor, alpha: Operand, *, name: str | None = None) -> Tensor:
    """x, or alpha x where x is negative (He et al. 2015).

    x [N, C, ...], alpha [C]: a slope for each channel.
    """
    return apply_one("prelu", name, x=x, alpha=alpha)


def relu(x: Tensor, *, name: str | None = None) -> Tensor:
    """Maximum of x and 0."""
    return apply_one("relu", name, x=x)


def relu6(x: Tensor, *, name: str | None = None) -> Tensor:
    """X brought into [0, 6]."""
    return apply_one("relu6", name, x=x)


def round(x: Tensor, *, name: str | None = None) -> Tensor:
    """X rounded to a whole number: on the engine floor(|x| + 0.5) with its sign, the sum in fp16."""
    return apply_one("round", name, x=x)


def rsqrt(x: Tensor, epsilon: float = 0.0, *, name: str | None = None) -> Tensor:
    """1 / sqrt(x + epsilon)."""
    return apply_one("rsqrt", name, x=x, epsilon=epsilon)


def scaled_tanh(x: Tensor, alpha: float, beta: float, *, name: str | None = None) -> Tensor:
    """Alpha tanh(beta x)."""
    return apply_one("scaled_tanh", name, x=x, alpha=alpha, beta=beta)


def sigmoid(x: Tensor, *, name: str | None = None) -> Tensor:
    """1 / (1 + exp(-x))."""
    return apply_one("sigmoid", name, x=x)


def sigmoid_hard(x: Tensor, alpha: float, beta: float, *, name: str | None = None) -> Tensor:
    """Alpha x + beta brought into [0, 1]."""
    return apply_one("sigmoid_hard", name, x=x, alpha=alpha, beta=beta)


def sign(x: Tensor, *, name: str | None = None) -> Tensor:
    """1, 0 or -1, as x is positive, 0 or negative."""
    return apply_one("sign", name, x=x)


def silu(x: Tensor, *, name: str | None = None) -> Tensor:
    """Product x sigmoid(x)."""
    return apply_one("silu", name, x=x)


def sin(x: Tensor, *, name: str | None = None) -> Tensor:
    """The sine of x, in radians. Engines before h15 (M3) have none."""
    return apply_one("sin", name, x=x)


def softplus(x: Tensor, *, name: str | None = None) -> Tensor:
    """log(1 + exp(x)); the engine gives 0 from x = 11.09 on."""
    return apply_one("softplus", name, x=x)


def softsign(x: Tensor, *, name: str | None = None) -> Tensor:
    """X / (1 + |x|)."""
    return apply_one("softsign", name, x=x)


def sqrt(x: Tensor, *, name: str | None = None) -> Tensor:
    """The square root of x."""
    return apply_one("sqrt", name, x=x)


def square(x: Tensor, *, name: str | None = None) -> Tensor:
    """Product x * x."""
    return apply_one("square", name, x=x)


def tanh(x: Tensor, *, name: str | None = None) -> Tensor:
    """The hyperbolic tangent of x."""
    return apply_one("tanh", name, x=x)


def threshold(x: Tensor, alpha: float, *, name: str | None = None) -> Tensor:
    """The larger of x and alpha."""
    return apply_one("threshold", name, x=x, alpha=alpha)


def thresholded_relu(x: Tensor, alpha: float, *, name: str | None = None) -> Tensor:
    """X where x >= alpha, 0 elsewhere."""
    return apply_one("thresholded_relu", name, x=x, alpha=alpha)


# Arithmetic, element by element; shapes broadcast as in numpy


def add(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Sum x + y."""
    return apply_one("add", name, x=x, y=y)


def sub(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Difference x - y."""
    return apply_one("sub", name, x=x, y=y)


def mul(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Product x * y."""
    return apply_one("mul", name, x=x, y=y)


def real_div(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Quotient x / y."""
    return apply_one("real_div", name, x=x, y=y)


def floor_div(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Quotient x / y, rounded down."""
    return apply_one("floor_div", name, x=x, y=y)


def maximum(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """The larger of x and y."""
    return apply_one("maximum", name, x=x, y=y)


def minimum(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """The smaller of x and y."""
    return apply_one("minimum", name, x=x, y=y)


def pow(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Power: x to the y."""
    return apply_one("pow", name, x=x, y=y)


# Comparisons, element by element; shapes broadcast. A bool tensor is no output: use select, or cast to fp16


def equal(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Whether x = y, as bool."""
    return apply_one("equal", name, x=x, y=y)


def not_equal(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Whether x differs from y, as bool."""
    return apply_one("not_equal", name, x=x, y=y)


def greater(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Whether x > y, as bool."""
    return apply_one("greater", name, x=x, y=y)


def greater_equal(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Whether x >= y, as bool."""
    return apply_one("greater_equal", name, x=x, y=y)


def less(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Whether x < y, as bool."""
    return apply_one("less", name, x=x, y=y)


def less_equal(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Whether x <= y, as bool."""
    return apply_one("less_equal", name, x=x, y=y)


def logical_not(x: Tensor, *, name: str | None = None) -> Tensor:
    """The opposite of the bool x."""
    return apply_one("logical_not", name, x=x)


def select(cond: Tensor, a: Operand, b: Operand, *, name: str | None = None) -> Tensor:
    """A where the bool `cond` is true, b elsewhere; the three broadcast."""
    return apply_one("select", name, cond=cond, a=a, b=b)
