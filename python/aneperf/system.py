"""Refuse a system on which the native module cannot be loaded."""

import os
import sys

_OLDEST = (22, 4)  # Darwin in macOS 13.3, which CMakeLists.txt names


def check_system() -> None:
    """Raise ImportError on a macOS before 13.3.

    The tags of wheels have no minor version, so pip installs a wheel for 13.3 on 13.0 too. The loader would
    only name the symbol of Accelerate that is missing there.
    """
    if sys.platform != "darwin":
        return
    release = os.uname().release
    if tuple(int(number) for number in release.split(".")[:2] if number.isdecimal()) < _OLDEST:
        raise ImportError(
            f"aneperf needs macOS 13.3 (Darwin 22.4) or later, for its emulator too; this is Darwin {release}"
        )
