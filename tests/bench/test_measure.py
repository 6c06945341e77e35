from __future__ import annotations

import gc
import time

import pytest

from aegisrt.bench.measure import TimedCalls, interleaved


def test_every_round_takes_every_call_once():
    taken: list[str] = []
    calls = {name: (lambda name=name: taken.append(name)) for name in "abc"}
    samples = interleaved(calls, rounds=50, warmup=0)
    assert {name: len(sample.times_ns) for name, sample in samples.items()} == {"a": 50, "b": 50, "c": 50}
    rounds = [tuple(taken[at : at + 3]) for at in range(0, 150, 3)]
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds)
    assert len(set(rounds)) == 6, "every order comes up"


def test_warm_up_calls_are_not_counted():
    taken: list[int] = []
    samples = interleaved({"a": lambda: taken.append(1)}, rounds=5, warmup=3)
    assert (len(taken), len(samples["a"].times_ns)) == (8, 5)


def test_a_slow_call_is_told_from_a_fast_one():
    samples = interleaved({"fast": lambda: None, "slow": lambda: time.sleep(0.002)}, rounds=5, warmup=1)
    assert samples["fast"].median_us < 1000 < 2000 <= samples["slow"].median_us


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_off_meanwhile_and_then_as_before(enabled):
    seen: set[bool] = set()
    (gc.enable if enabled else gc.disable)()
    try:
        interleaved({"a": lambda: seen.add(gc.isenabled())}, rounds=2, warmup=0)
        assert seen == {False}
        assert gc.isenabled() is enabled
    finally:
        gc.enable()


def test_statistics_are_in_microseconds():
    sample = TimedCalls("a", tuple(range(1000, 101_000, 1000)))
    assert sample.median_us == 50.5
    assert 99 <= sample.p99_us <= 100
    assert TimedCalls("a", (3000,)).p99_us == 3
