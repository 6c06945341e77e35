"""The kit reports no failure of a correct backend, in any of many runs."""

from __future__ import annotations

import os

import pytest

import aegisrt.conformance
from aegisrt.conformance.configured import configured

RUNS = 20
FULL_RUNS = int(os.environ.get("AEGISRT_TESTS_FULL_RUNS", "2"))
"""How many runs of every check; 20 take two minutes, for a nightly run and before a release."""

pytestmark = pytest.mark.slow


def failures(**settings):
    report = aegisrt.conformance.run("mock", **settings)
    assert report.counts.passed > 90
    return [f"{result.check}: {result.reason}" for result in report.failed]


def test_twenty_quick_runs_on_the_mock_find_nothing():
    quick = configured(["conformance=quick"]).unwrap()
    settings = {"exclude": quick.exclude, "calls": quick.calls, "race_ms": 25.0, "cycles": 5}
    assert [found for _ in range(RUNS) for found in failures(**settings)] == []


def test_full_runs_on_the_mock_find_nothing():
    assert [found for _ in range(FULL_RUNS) for found in failures()] == []


@pytest.mark.parametrize("seed", [1, 2**32 - 1])
def test_the_seed_of_the_inputs_changes_nothing(seed):
    checks = ["inputs.*", "outputs.*", "dtypes.*", "shapes.*", "numerics.*"]
    report = aegisrt.conformance.run("mock", checks=checks, seed=seed)
    assert not report.failed
    assert report.counts.passed > 50
