"""Fail if files of aneperf import each other in a circle. Imports in functions and for types count too."""

import sys
from graphlib import CycleError, TopologicalSorter

from grimp import build_graph

graph = build_graph("aneperf", cache_dir=None)
imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
try:
    TopologicalSorter(imports).prepare()
except CycleError as error:
    sys.exit(f"a circle of imports: {' <- '.join(error.args[1])}")
print(f"no circle among {len(imports)} files")
