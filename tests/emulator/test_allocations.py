"""An evaluation allocates no memory.

    python test_allocations.py LIBRARY

counts, with the library of allocations.cpp, what the evaluations of the varied programs allocate.
"""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import environment

COMPILER = os.environ.get("CXX") or shutil.which("c++")


def count_allocations(library):
    """Return, by program, the allocations of binding it and a first evaluation, and those of ten more."""
    counter = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)  # before the extension is loaded
    import aneperf
    from support.programs import compile_varied

    device = aneperf.open("emulator:h16")
    counts = {}
    for name, (program, _) in compile_varied(device).items():
        surfaces = [
            {port.name: device.make_surface(port) for port in ports}
            for ports in (program.inputs, program.outputs)
        ]
        start = counter.allocation_count()
        evaluate = program.bind(*surfaces).evaluate
        evaluate()
        bound = counter.allocation_count()
        for _ in range(10):
            evaluate()
        counts[name] = bound - start, counter.allocation_count() - bound
    return counts


@pytest.mark.skipif(sys.platform != "linux", reason="operators are replaced by the rules of ELF")
@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")
def test_an_evaluation_allocates_nothing(tmp_path):
    library = tmp_path / "allocations.so"
    source = Path(__file__).parents[1] / "support" / "allocations.cpp"
    subprocess.run([COMPILER, "-std=c++17", "-shared", "-fPIC", source, "-o", library], check=True)
    done = subprocess.run(
        [sys.executable, __file__, library],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    counts = json.loads(done.stdout)
    if not all(bound for bound, _ in counts.values()):
        pytest.skip("another library, such as a sanitizer's, has the operators")
    assert {name: evaluated for name, (_, evaluated) in counts.items()} == dict.fromkeys(counts, 0)


if __name__ == "__main__":
    print(json.dumps(count_allocations(sys.argv[1])))
