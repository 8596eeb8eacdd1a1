"""Deep random programs: every element of every output lies in the interval that float64 gives for it."""

from collections import Counter

import numpy as np
from hypothesis import given

from aneperf.runner.operations import CASES
from support.deep_programs import OPERATIONS, deep_programs


def assert_enclosed(case, got):
    """Count the elements, and those of them that are known well."""
    total = sharp = 0
    for name, bounds in case.outputs.items():
        good = bounds.contains(got[name])
        if not good.all():
            at = tuple(np.argwhere(~good)[0])
            raise AssertionError(
                f"{name}{[int(i) for i in at]} is {got[name][at]!r}, not in [{bounds.low[at]}, "
                f"{bounds.high[at]}]; {np.count_nonzero(~good)} of {good.size} elements are wrong\n"
                f"{case.program.text}"
            )
        total += good.size
        sharp += np.count_nonzero(bounds.sharp)
    return total, sharp


def test_deep_programs_draw_every_operation():
    assert set(OPERATIONS) == set(CASES)


def test_deep_programs(plain, thorough):
    counts, drawn, lengths = np.zeros(2, int), Counter(), []

    @given(deep_programs())
    def check(case):
        got = case.program.compile(plain).run(**case.inputs)
        counts[:] += assert_enclosed(case, got)
        drawn.update(case.operations)
        lengths.append(len(case.operations))

    check()
    total, sharp = counts
    assert sharp >= 0.9 * total, f"only {sharp} of {total} elements are known well enough to be tested"
    assert min(lengths) >= 20
    # Few programs may miss some of the operations.
    assert len(drawn) >= (1 if thorough else 0.8) * len(OPERATIONS), drawn
