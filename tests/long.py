"""`long`: marks tests of minutes, which run where AEGISRT_LONG_TESTS is set."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest


def long(test: Callable[..., Any]) -> Callable[..., Any]:
    """Return the test marked slow, and skipped with its reason unless AEGISRT_LONG_TESTS is set."""
    skip = pytest.mark.skipif(not os.environ.get("AEGISRT_LONG_TESTS"), reason="set AEGISRT_LONG_TESTS=1 to run it")
    return pytest.mark.slow(skip(test))
