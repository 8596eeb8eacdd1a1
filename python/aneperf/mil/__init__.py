# ruff: noqa: F403
"""Build programs in MIL, the language that the Neural Engine's compiler reads.

    b = mil.Builder()
    x = b.input("x", (1, 64, 1, 64))
    b.output("y", mil.relu(mil.conv(x, weight)))
    b.build().compile(device)

An operation adds itself to the builder of its operands and returns its result, named `name` or after the
operation. An operand is a tensor, a Python number or a numpy array, whose floats are rounded to the dtype
that the operation takes. Each call is checked at once: CompileError says what the engine does not take,
ArgumentError what cannot be a constant.
"""

from . import elementwise, movement, product, reduction, storage, window
from .builder import Builder, Program
from .call import const
from .elementwise import *
from .files import read
from .graph import BlobReference, Dialect, Graph, Operand, Operation, Tensor
from .half import Fp16Changes, Fp16Program, to_fp16
from .movement import *
from .product import *
from .reduction import *
from .storage import *
from .text import parse, write
from .types import DType, TensorType
from .weights import BlobWriter, read_blob, write_blob
from .window import *

__all__ = [
    "BlobReference",
    "BlobWriter",
    "Builder",
    "DType",
    "Dialect",
    "Fp16Changes",
    "Fp16Program",
    "Graph",
    "Operand",
    "Operation",
    "Program",
    "Tensor",
    "TensorType",
    "const",
    "parse",
    "read",
    "read_blob",
    "to_fp16",
    "write",
    "write_blob",
]
__all__ += elementwise.__all__
__all__ += movement.__all__
__all__ += product.__all__
__all__ += reduction.__all__
__all__ += storage.__all__
__all__ += window.__all__
