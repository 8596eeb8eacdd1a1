# ruff: noqa: F403
"""Compute every operation in float64, and bound the error of a result in fp16.

Functions take arrays of any float dtype and compute in float64. Those whose fp32 arithmetic may err return an
Expected, for `assert_within`. The others return the exact value, or one that rounds to the same fp16: it is
rounded with `rounded` and compared bit for bit.
"""

from .elementwise import *
from .engine_functions import *
from .movement import *
from .product import *
from .reduction import *
from .rounding import *
from .storage import *
from .window import *
