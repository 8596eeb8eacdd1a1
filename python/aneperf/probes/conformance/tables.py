"""The model of the engine's functions: 33 knots of fp16, straight lines between them, and one rounding.

Sources: ranges, reductions of the argument and what lies beyond are 751K's, from M6, and the ane-guide's,
from M1. Most knots are the function's values, rounded. Nobody published those of gelu and silu: these here
are a fit that has the published errors, each knot right to about one step of fp16.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .model import Reals, Words, decode, round_real

Function = Callable[[Reals], Reals]

_GELU = (
    -0.00011551380, -0.00031018257, -0.00076818466, -0.0017862320, -0.0038890839, -0.0079345703,
    -0.0151367188, -0.0269927979, -0.044921875, -0.0696411133, -0.100036621, -0.132446289, -0.159912109,
    -0.172363281, -0.156738281, -0.106384277, -0.00075387954711914, 0.1435546875, 0.343261719,
    0.577636719, 0.83984375, 1.1171875, 1.40039063, 1.68066406, 1.95507813, 2.22265625, 2.484375,
    2.7421875, 2.99609375, 3.24804688, 3.5, 3.75, 4.0,
)  # fmt: skip
_SILU = (
    -0.0026378632, -0.0040855408, -0.0062828064, -0.0096206665, -0.0146331787, -0.0220947266,
    -0.0330505371, -0.0488891602, -0.0712280273, -0.101806641, -0.141601563, -0.189453125, -0.239379883,
    -0.27734375, -0.2734375, -0.203613281, -0.0017042160, 0.296386719, 0.7265625, 1.22265625,
    1.76074219, 2.31054688, 2.859375, 3.3984375, 3.9296875, 4.44921875, 4.96875, 5.4765625, 5.984375,
    6.4921875, 6.9921875, 7.49609375, 7.99609375,
)  # fmt: skip


@dataclass(frozen=True)
class _Table:
    """Knots at equal distances from `low` to `high`."""

    low: float
    high: float
    knots: Reals

    def __call__(self, x: Reals) -> Reals:
        place = (x - self.low) * (len(self.knots) - 1) / (self.high - self.low)
        left = np.clip(np.floor(place).astype(np.int64), 0, len(self.knots) - 2)
        value: Reals = self.knots[left] + (place - left) * (self.knots[left + 1] - self.knots[left])
        return value


def _sample(function: Callable[[float], float], low: float, high: float, knots: int = 33) -> _Table:
    values = [function(float(place)) for place in np.linspace(low, high, knots)]
    return _Table(low, high, np.array(values, np.float16).astype(np.float64))


def _round(x: Reals) -> Reals:
    return decode(round_real(x))


def _odd(table: _Table) -> Function:
    return lambda x: np.copysign(table(np.abs(x)), x)


def _exp(x: Reals) -> Reals:
    t = _round(x * 1.4423828125)
    whole = np.clip(np.floor(t), -100, 100)
    return np.ldexp(_POWER(t - np.floor(t)), whole.astype(np.int64))


def _log(x: Reals) -> Reals:
    significand, exponent = np.frexp(x)
    log2 = np.where(x > 0, _round(exponent + _round(_LOG2(significand))), -65536.0)
    return log2 * 0.693359375


def _inverse(x: Reals) -> Reals:
    significand, exponent = np.frexp(np.abs(x))
    value = np.ldexp(_INVERSE(significand), -exponent)
    return np.where(x == 0, 131072.0, np.copysign(value, x))


def _quartered(table: _Table, sign: int) -> Function:
    """Look up m in [0.5, 2) for x = m 4^k, and scale by 2^k or its inverse."""

    def function(x: Reals) -> Reals:
        half = np.frexp(x)[1] // 2
        value = np.ldexp(table(np.ldexp(x, -2 * half)), sign * half)
        return np.where(x > 0, value, 0.0 if sign > 0 else 131072.0)

    return function


_QUARTER = 102943 / 65536  # of a turn: M6's sin(-3.141) says 1.570785 to 1.570786 (751K)
_POWER = _sample(lambda f: 2**f, 0, 1)
_LOG2 = _sample(math.log2, 0.5, 1)
_INVERSE = _sample(lambda m: 1 / m, 0.5, 1)
_TANH = _odd(_sample(math.tanh, 0, 4))


@dataclass(frozen=True)
class Modeled:
    """A function, and the range of inputs for which its values are known, both ends included."""

    function: Function
    low: float
    high: float
    is_fit: bool = False

    def covers(self, words: Words) -> Words:
        """Return those of the words that lie in the range."""
        x = decode(words)
        return words[(x >= self.low) & (x <= self.high)]

    def __call__(self, words: Words) -> Words:
        """Return the results for words in the range."""
        return round_real(self.function(decode(words)))


_MOST = 65504.0
FUNCTIONS: Mapping[str, Modeled] = {
    "sigmoid": Modeled(_sample(lambda x: 1 / (1 + math.exp(-x)), -8, 8), -8, 8),
    "tanh": Modeled(lambda x: np.where(np.abs(x) < 4, _TANH(x), np.sign(x)), -_MOST, _MOST),
    "erf": Modeled(_odd(_sample(math.erf, 0, 2)), -1.999, 1.999),
    "sin": Modeled(_odd(_sample(math.sin, 0, _QUARTER)), -1.5, 1.5),
    "exp": Modeled(_exp, -_MOST, _MOST),
    "log": Modeled(_log, 0, _MOST),
    "sqrt": Modeled(_quartered(_sample(math.sqrt, 0.5, 2, 25), 1), 0, _MOST),
    "rsqrt": Modeled(_quartered(_sample(lambda m: m**-0.5, 0.5, 2, 25), -1), 0, _MOST),
    "inverse": Modeled(_inverse, -_MOST, _MOST),
    "gelu": Modeled(_Table(-4, 4, np.array(_GELU, np.float16).astype(np.float64)), -4, 4, is_fit=True),
    "silu": Modeled(_Table(-8, 8, np.array(_SILU, np.float16).astype(np.float64)), -8, 7.99, is_fit=True),
    "softplus": Modeled(np.zeros_like, 11.09375, _MOST),
}
