"""A short run of the fuzzer, the same inputs each time: `python -m tests.measuring.fuzz` is the long one."""

from __future__ import annotations

import pytest

from tests.measuring.fuzz.__main__ import fuzz
from tests.measuring.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_gives_a_traceback_or_takes_half_a_gibibyte(name, tmp_path):
    target = TARGETS[name]
    if not target.is_here:
        pytest.skip(f"{target.needs} is not installed")
    report = fuzz(name, 1, 0, target.examples, None, tmp_path)
    assert [find["what"] for find in report["finds"]] == []
    assert report["inputs"] == target.examples
    assert report["refused"] > 0
