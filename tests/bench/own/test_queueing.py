"""The serving benchmark runs, and its findings are what they say; the bounds themselves are held by `make bench`."""

import pytest

from aegisrt.bench.measure import usable_cores
from aegisrt.bench.own import queueing
from aegisrt.bench.own.hop import bare_hop
from aegisrt.bench.summary import percentile


def test_a_bare_hop_runs_the_call_in_another_thread_and_passes_its_error():
    import threading

    with bare_hop(threading.get_ident) as hop:
        assert hop() != threading.get_ident()
    with bare_hop(lambda: 1 / 0) as hop, pytest.raises(ZeroDivisionError):
        hop()


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (1, 1)])
def test_a_percentile_is_a_value_that_was_measured(percent, value):
    assert percentile(range(1, 101), percent) == value
    assert percentile([7.0], percent) == 7.0


def test_batching_gains_on_a_model_of_fixed_cost(tmp_path):
    found = queueing.mock_batching(tmp_path, 0.5)
    assert found.value > 5, found.detail


def test_queue_delay_is_what_the_manifest_allows(tmp_path):
    found = queueing.queue_delay(tmp_path, 20)
    assert -0.1 <= found.value < 100, found.detail


def test_deadlines_hold_and_the_model_serves_again(tmp_path):
    returned, served = queueing.deadlines(tmp_path, 10, 300)
    assert returned.value >= queueing.TIMEOUT_MS
    assert returned.value < 200, returned.detail
    assert served.holds, served.detail


@pytest.mark.engine("onnx")
def test_both_hops_are_measured(tmp_path):
    before = usable_cores()
    found = queueing.hops(tmp_path, 200)
    assert len(found) == (4 if len(before) > 1 else 2)
    assert usable_cores() == before
    for held, told in zip(found[::2], found[1::2], strict=True):
        assert (held.bound, told.bound) == ("<= 1.5", "")
        assert held.holds == (held.value <= 1.5)
        assert told.holds
    for one in found:
        ours, theirs = (float(part.split()[0]) for part in one.detail.split(" over "))
        assert one.value == pytest.approx(ours / theirs, rel=0.05)
