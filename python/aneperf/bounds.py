"""Bounds of sizes that come from files and options, and of the memory that they ask for.

They are far above the largest published models and results, and keep arithmetic and allocations sane: what
exceeds them is damaged, hostile or a slip of the keyboard. Each is checked before anything is allocated.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .checks import number, shown
from .errors import AneError, ArgumentError

# Sizes of a transformer, by field. The largest published Llama has dim 16,384 and 126 layers.
MODEL = {
    "dim": 1 << 16,
    "hidden": 1 << 18,
    "layers": 1 << 10,
    "heads": 1 << 10,
    "kv_heads": 1 << 10,
    "head_dim": 1 << 16,
    "vocab": 1 << 20,
    "seq": 1 << 20,
}
CONSTANTS = {"rope_theta": (1.0, 1e12), "norm_eps": (1e-12, 1.0)}

COMPILE_TIMEOUT = (0.1, 86_400.0)  # seconds

# Options of training.
STEPS = 10**8 - 1  # the names of checkpoints have eight digits
SEED = (1 << 63) - 1  # the JSON of results and checkpoints holds no larger integer
FACTOR = (1e-30, 1e30)  # of what multiplies or divides an fp32 value
LOSS_SCALE = (2.0**-24, 2.0**127)
FP16_LARGEST = 65504.0
TEMPERATURE = (1e-6, 1e6)
PEAK_TFLOPS = (1e-6, 1e6)
MINUTES = (0.0, 1e6)  # between checkpoints

# Files.
RECORD_BYTES = 1 << 20  # of the JSON of a checkpoint
CONFIG_BYTES = 1 << 20  # of the config.json of a model
TENSORS_HEADER_BYTES = 16 << 20  # of safetensors; a model of 126 layers has some 200 KB
JSON_BYTES = 64 << 20  # of a result, and of a tokenizer
ENDS = 64  # tokens that end a text; Llama 3 has three
PROGRAM_BYTES = 256 << 20  # of MIL text, as in the parser
TEMPLATE_BYTES = 1 << 20  # of Python that makes programs
ARRAY_FILES = 1_000  # of an .npz file; a program has at most 255 inputs
VALUES = 4_000_000  # of MIL text; what is longer lies in weight files
STATEMENTS = 100_000  # of MIL text; large exported models have some 10,000
ROWS = 2_000  # of a result; the suite has some 300
NAMES = 500  # of params, metrics and flags of a row, and of facts of a machine; a row has some 40
TELEMETRY_LINES = 500_000  # a step has some three, of 100 bytes and more
SUBMISSIONS = 1_000  # result files in the folder of a community
SUBMISSION_BYTES = 32 << 20  # of one; a long suite on an engine has some 12 MB
SUBMITTED_BYTES = 1 << 30  # of all


def has_many_rows(text: bytes, most: int = ROWS) -> bool:
    """Tell, before JSON is read, whether it has more than `most` rows, for reading them may take all memory.

    The name of a key may be written with escapes, so objects count too, of which a row has three, and the
    colons of all names.
    """
    return text.count(b'"key"') > most or text.count(b"{") > 8 * most or text.count(b":") > 250 * most


def within(name: str, value: object, limits: tuple[float, float]) -> float:
    """Return `value` as a float if it is a number within `limits`. Raises ArgumentError."""
    least, most = limits
    if not least <= (found := number(value)) <= most:
        raise ArgumentError(f"{name} must be a number from {least:g} to {most:g}, not {shown(value)}")
    return found


def check_memory(what: str, needed: int, advice: str, error: type[AneError] = ArgumentError) -> None:
    """Raise `error` if `what` needs more bytes than the machine can give."""
    available = available_memory()
    if available is not None and needed > available:
        raise error(f"{what} takes {mebibytes(needed)}, and {mebibytes(available)} are free: {advice}")


def mebibytes(size: int) -> str:
    """Return a size in MiB, rounded up."""
    return f"{-(-size >> 20)} MiB"


def available_memory() -> int | None:
    """Return the bytes that this process can still allocate without ending others, if the system tells."""
    limits = [limit for limit in (_of_machine(), _of_group(), _of_process()) if limit is not None]
    return max(0, min(limits)) if limits else None


def _of_machine() -> int | None:
    fields = _table("/proc/meminfo")
    if "MemAvailable:" in fields:
        return 1024 * (fields["MemAvailable:"] + fields.get("SwapFree:", 0))
    with contextlib.suppress(OSError, ValueError):  # macOS: what it has, since it frees and compresses
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _of_group() -> int | None:
    """Return what the limit of a container leaves."""
    folder = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):
        most, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
        reclaimed = _table(folder / "memory.stat").get("inactive_file", 0)
        return most - used + reclaimed
    return None


def _of_process() -> int | None:
    """Return what `ulimit -v` leaves."""
    with contextlib.suppress(ImportError, OSError, ValueError, KeyError):
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most != resource.RLIM_INFINITY:
            return most - address_space()
    return None


def address_space() -> int:
    """Return the bytes of this process's address space. Raises KeyError where the system does not tell."""
    return 1024 * _table("/proc/self/status")["VmSize:"]


def _table(path: str | Path) -> dict[str, int]:
    """Read a system's file of names and numbers."""
    numbers: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for line in Path(path).read_text().splitlines():
            words = line.split()
            if len(words) > 1 and words[1].isdigit():
                numbers[words[0]] = int(words[1])
    return numbers
