"""A shared stream on a CPU: the models that name it run one call at a time."""

import threading
from contextlib import contextmanager
from time import perf_counter_ns

import pytest

from aegisrt import ErrorCode, deploy
from aegisrt.core.resources import configs_dir
from aegisrt.devices.options import StreamOptions
from aegisrt.devices.shared_stream import SharedStream
from tests.backends.probe import Probe
from tests.runtime.serving import request, until


@pytest.fixture
def pair(tmp_path):
    """Return a function that loads two probes of two instances each on a stream."""
    made = []

    def load(stream):
        for name in ("a.probe", "b.probe"):
            (tmp_path / name).write_bytes(b"probe")
            made.append(Probe(instances=2, stream=stream))
            made[-1].load(tmp_path / name).unwrap()
        return made

    yield load
    for probe in made:
        probe.gate.set()
        probe.unload().unwrap()


@contextmanager
def two_calls_each(probes):
    """Send two calls to each probe, which go on until the block ends."""
    for probe in probes:
        probe.gate.clear()
    threads = [threading.Thread(target=probe.execute, args=(request(1),)) for probe in probes for _ in range(2)]
    for thread in threads:
        thread.start()
    yield
    for probe in probes:
        probe.gate.set()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def running(probes):
    """Return how many calls have reached an engine."""
    return sum(probe.running._value for probe in probes)


def test_models_on_a_shared_stream_take_turns(pair):
    stream = SharedStream(StreamOptions(device="cpu", shared=True))
    probes = pair(stream)
    with two_calls_each(probes):
        until(lambda: len(stream.turns._waiting) == 3)
        until(lambda: running(probes) == 1)
    assert running(probes) == 4


def test_models_on_a_stream_that_is_not_shared_do_not_wait_for_each_other(pair):
    probes = pair(StreamOptions(device="cpu"))
    with two_calls_each(probes):
        until(lambda: running(probes) == 4)


def test_the_wait_is_time_in_the_queue_and_ends_at_the_deadline(pair):
    first, second = pair(SharedStream(StreamOptions(device="cpu", shared=True)))
    first.gate.clear()
    thread = threading.Thread(target=first.execute, args=(request(1),))
    thread.start()
    assert first.running.acquire(timeout=5)
    started = perf_counter_ns()
    error = second.execute(request(1, timeout_ms=30)).unwrap_err()
    assert error.code is ErrorCode.DEADLINE_EXCEEDED
    assert "shared stream" in error.message
    assert 30e6 <= perf_counter_ns() - started < 2e9
    threading.Timer(0.05, first.gate.set).start()
    assert second.execute(request(1)).unwrap().timings.queue > 30e6
    thread.join(5)
    assert all(second.execute(request(1)).is_ok() for _ in range(3))


def test_a_deployment_owns_its_shared_streams():
    manifest = {
        "streams": {"turns": {"device": "cpu", "shared": True}},
        "backends": {"mock": {"kind": "mock", "stream": "turns"}},
        "models": {name: {"path": str(configs_dir() / "model/digits.onnx"), "backend": "mock"} for name in ("a", "b")},
    }
    with deploy(manifest).unwrap() as first, deploy(manifest).unwrap() as second:
        streams = [context.backend(name).stream for context in (first, second) for name in ("a", "b")]
    assert streams[0] is streams[1]
    assert streams[2] is streams[3]
    assert streams[0] is not streams[2]
