"""List what stands in a model's way on each chip: python lint_file.py MODEL [CHIP...].

MODEL is MIL text, a .mlmodelc folder, or a .mlpackage or .mlmodel (pip install '.[coreml]' in a checkout).
No device is needed. The exit code is 1 if a chip refuses the model or computes wrong numbers.
"""

import sys
from pathlib import Path

import aneperf

if len(sys.argv) < 2:
    sys.exit(__doc__)
path, *chips = sys.argv[1:]
bad = False
for chip in chips or ("M1", "M2", "M3", "M4", "M5"):
    try:
        findings = aneperf.lint(Path(path), chip)  # a Path is a file; a string would be MIL text
    except aneperf.AneError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(f"{chip}: {len(findings)} findings")
    for finding in findings:
        print(f"  {path}:{finding.line or 1}: {finding.severity}: {finding.op}: {finding.advice}")
    bad = bad or any(finding.severity in ("fails", "wrong numbers") for finding in findings)
sys.exit(1 if bad else 0)
