import pytest

import aneperf
from aneperf import CompileBudget


@pytest.fixture(scope="session")
def device():
    return aneperf.open(compile_budget=CompileBudget(soft=1000, hard=1000))
