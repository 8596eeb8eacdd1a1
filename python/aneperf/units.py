"""Units of rows and of published figures: which of them tell faster from slower."""

TIMES = frozenset({"ns", "us", "ms", "s"})
RATES = frozenset({"FLOPS", "GFLOPS", "TFLOPS", "TOPS", "B/s", "MB/s", "GB/s", "1/s"})


def is_rate(unit: str | None) -> bool:
    """Tell whether a larger number is the faster one."""
    return unit in RATES


def has_speed(unit: str | None) -> bool:
    """Tell whether numbers of a unit are faster or slower than others."""
    return unit in TIMES or unit in RATES
