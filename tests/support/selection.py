"""Tell which tests an option can change: a run with it need not repeat the others."""

import inspect
import re
from functools import cache
from pathlib import Path

import pytest

# Fixtures that lead to the device under test or to the engine, and how a file reaches one without them.
DEVICE_FIXTURES = frozenset({"ane", "client", "device", "device_name", "engine", "engine_opens", "standin"})
REACHES_DEVICE = re.compile(r"""["']ane[:"']|getoption\("--device"\)|getfixturevalue""")
# Folders whose subject is the native module itself, which a build with an engine links to other libraries.
DEVICE_FOLDERS = frozenset({"bridge", "device"})


def depends_on_device(item: pytest.Item) -> bool:
    """Tell whether another device, or a build that has one, can change what a test does."""
    return (
        item.path.parent.name in DEVICE_FOLDERS
        or not DEVICE_FIXTURES.isdisjoint(item.fixturenames)  # type: ignore[attr-defined]
        or _reaches_device(item.path)
    )


def depends_on_thorough(item: pytest.Item) -> bool:
    """Tell whether --thorough adds a test, or lets it try more than usual."""
    return (
        item.get_closest_marker("thorough") is not None
        or "thorough" in item.fixturenames  # type: ignore[attr-defined]
        or "@given(" in inspect.getsource(item.function)  # type: ignore[attr-defined]
    )


@cache
def _reaches_device(file: Path) -> bool:
    return REACHES_DEVICE.search(file.read_text()) is not None
