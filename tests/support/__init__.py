"""Hold the code that tests share."""

import os
from pathlib import Path

TESTS = Path(__file__).parents[1]


def environment(**variables: object) -> dict[str, str]:
    """Return the environment of a child process that imports `support`, with `variables` added."""
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **{name: str(value) for name, value in variables.items()}}
