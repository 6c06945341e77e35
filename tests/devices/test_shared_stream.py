"""`SharedStream`: one queue for all that hold the object, another for every other object."""

import pickle

import pytest

from aegisrt.devices.options import StreamOptions
from aegisrt.devices.shared_stream import SharedStream, owned

SHARED = StreamOptions(device="cpu", shared=True)


class Opened:
    """A stream; a weak reference to it is possible, as it is not to a SimpleNamespace before Python 3.13."""

    def __init__(self, made="first"):
        self.made = made


def test_a_backend_owns_a_shared_stream_of_its_own():
    first, second = owned(SHARED), owned(SHARED)
    assert first.turns is not second.turns
    assert owned(first) is first


@pytest.mark.parametrize("declared", [None, StreamOptions(device="cpu"), object()])
def test_streams_that_are_not_shared_stay_as_they_are(declared):
    assert owned(declared) is declared


def test_a_stream_on_each_gpu_lives_as_long_as_an_instance_holds_it():
    stream = SharedStream(SHARED)
    first, other = stream.opened(0, Opened), stream.opened(1, Opened)
    assert stream.opened(0, Opened) is first
    assert other is not first
    del first
    first = stream.opened(0, lambda: Opened("again"))
    assert first.made == "again"


def test_a_copy_in_another_process_has_a_queue_of_its_own():
    stream = SharedStream(SHARED)
    assert stream.turns.take(None)
    copy = pickle.loads(pickle.dumps(stream))
    assert copy.options == SHARED
    assert copy.turns.take(0)


def test_a_forked_child_does_not_wait_for_the_turn_of_a_thread_of_its_parent():
    stream = SharedStream(SHARED)
    assert stream.turns.take(None)
    stream.renew()
    assert stream.turns.take(0)
