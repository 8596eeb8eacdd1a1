"""Find the operations that take a model's time: python profile_model.py MODEL [SECONDS].

MODEL is MIL text, a .mlmodelc folder, or a .mlpackage or .mlmodel (pip install '.[coreml]' in a checkout).
"""

import sys

import aneperf

if len(sys.argv) < 2:
    sys.exit(__doc__)
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
try:
    result = aneperf.profile(sys.argv[1], budget=seconds)
except aneperf.AneError as error:
    sys.exit(str(error))

*parts, whole = result.rows  # the last row is the whole program
if whole.status != "ok":
    sys.exit(f"{whole.status}: {whole.reason}")
print(result.environment.label)
for part in sorted(parts, key=lambda row: -row.metrics["share"])[:10]:
    print(f"{part.metrics['share']:6.1%}  {part.params['kind']:12} {part.name}, line {part.params['line']}")
print(*result.notes, sep="\n")
