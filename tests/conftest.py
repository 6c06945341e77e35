"""Markers that skip with a reason: `engine(name)` where an engine is not installed, `gpu` where there is no device."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from aegisrt.backends.registry import backend_class

settings.register_profile("ours", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("ours")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("engine"):
        state = backend_class(marker.args[0]).unwrap().availability()
        if not state.available:
            pytest.skip(f"{state.reason}; run: {state.install}")
    if item.get_closest_marker("gpu") and not Path("/dev/nvidiactl").exists():
        pytest.skip("there is no NVIDIA device on this machine")
