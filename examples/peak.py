"""Measure the peak rate of the device, and save it: python peak.py peak.json [SECONDS]."""

import sys

import aneperf

path = sys.argv[1] if len(sys.argv) > 1 else "peak.json"
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 30.0

result = aneperf.peak(budget=seconds)
print(result)  # the table of `aneperf peak`
result.save(path)  # .csv, .md and .html save a table instead

# `best` is the fastest of the rows that can be relied on, and None if there is none.
if result.best is None:
    print("No row can be relied on: give more seconds, on a machine that does nothing else.")
else:
    rate = result.best.metrics["tflops"]
    software = " in software" if result.environment.is_software else ""
    print(f"{rate:.3g} TFLOPS{software}, by {result.best.name}")
