"""Mark parameters of tests."""

from typing import Any

import pytest


def thorough(*values: Any) -> list[Any]:
    """Mark values of a parameter as those of thorough runs."""
    return [pytest.param(value, marks=pytest.mark.thorough) for value in values]
