"""Timing: warm-up, calibrated batches, a stopping rule, and statistics that assume no distribution.

The unit is one evaluation, or call. Native code makes a batch of calls and returns each one's duration.
Python is therefore never inside a measurement; everything here works on those durations.
"""

from .contrast import LEAST_PROCESSES, Contrast, contrast, contrast_of_ratios
from .estimate import Estimate, ratio
from .evidence import ASSUMED_SPREAD, Evidence, discoveries, evidence
from .interleaved import Interleaved, measure_interleaved
from .loop import (
    BATCH_S,
    MAXIMUM_CALLS,
    MINIMUM_CALLS,
    SETTLED_SPAN_S,
    SETTLING_SPAN_S,
    TURN_S,
    Run,
    measure,
)
from .processes import Joined, geometric_mean, join
from .statistics import CONFIDENCE, ENOUGH, Statistics, effective_count, interval_rank, summarize
from .student import student_quantile, student_tail
from .trace import (
    FEW_SAMPLES,
    PUBLISHED_CALLS,
    PUBLISHED_WARM_UP,
    SETTLING_S,
    UNSETTLED,
    UNTRUSTED,
    Sample,
    analyze,
    find_warm_up,
)
from .watch import DOUBTFUL, PREEMPTED, Watch, flags_of, load_average

__all__ = [
    "ASSUMED_SPREAD",
    "BATCH_S",
    "CONFIDENCE",
    "DOUBTFUL",
    "ENOUGH",
    "FEW_SAMPLES",
    "LEAST_PROCESSES",
    "MAXIMUM_CALLS",
    "MINIMUM_CALLS",
    "PREEMPTED",
    "PUBLISHED_CALLS",
    "PUBLISHED_WARM_UP",
    "SETTLED_SPAN_S",
    "SETTLING_S",
    "SETTLING_SPAN_S",
    "TURN_S",
    "UNSETTLED",
    "UNTRUSTED",
    "Contrast",
    "Estimate",
    "Evidence",
    "Interleaved",
    "Joined",
    "Run",
    "Sample",
    "Statistics",
    "Watch",
    "analyze",
    "contrast",
    "contrast_of_ratios",
    "discoveries",
    "effective_count",
    "evidence",
    "find_warm_up",
    "flags_of",
    "geometric_mean",
    "interval_rank",
    "join",
    "load_average",
    "measure",
    "measure_interleaved",
    "ratio",
    "student_quantile",
    "student_tail",
    "summarize",
]
