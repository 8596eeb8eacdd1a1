"""Let a test import from the plugin of the stand-in before pytest loads it."""

import pytest

pytest.register_assert_rewrite("support.standin")
