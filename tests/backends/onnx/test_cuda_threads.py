"""The threads in which a session that records runs: few, however many call."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from aegisrt.backends.onnx.cuda_threads import DIRECT, FewThreads


@pytest.fixture
def few():
    made = FewThreads()
    yield made
    made.close()


def in_new_thread(few, call=threading.current_thread, *arguments):
    """Return what a call answers that a new thread makes."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(few.run, call, *arguments).result()


def test_the_first_threads_run_it_themselves_and_one_of_ours_for_all_others(few):
    ran = [in_new_thread(few) for _ in range(DIRECT + 20)]
    assert len(set(ran[:DIRECT])) == DIRECT
    assert len(set(ran[DIRECT:])) == 1
    assert ran[-1] not in ran[:DIRECT]
    assert few.run(threading.current_thread) is ran[-1]


def test_a_thread_that_ran_it_goes_on_doing_so(few):
    here = threading.current_thread()
    assert few.run(lambda: threading.current_thread()) is here
    for _ in range(DIRECT + 1):
        in_new_thread(few)
    assert few.run(lambda: threading.current_thread()) is here


def test_threads_that_come_at_once_are_no_more_and_their_calls_run_one_after_the_other(few):
    ran, inside = [], []

    def call():
        inside.append(1)
        time.sleep(0.002)
        assert len(inside) == 1
        inside.clear()
        ran.append(threading.current_thread())

    def come():
        start.wait(30)
        few.run(call)

    start = threading.Barrier(20)
    with ThreadPoolExecutor(20) as pool:
        for future in [pool.submit(come) for _ in range(20)]:
            future.result()
    assert len(set(ran)) == DIRECT + 1


def test_arguments_and_errors_pass(few):
    for _ in range(DIRECT + 2):
        assert in_new_thread(few, divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            in_new_thread(few, divmod, 7, 0)


def test_an_interrupt_ends_the_wait_and_the_next_call_waits_for_the_one_that_goes_on(few):
    steps, finish, main = [], threading.Event(), threading.get_ident()

    def slow():
        steps.append("begin")
        signal.pthread_kill(main, signal.SIGALRM)
        finish.wait(30)
        steps.append("end")

    def interrupt(*_):
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as first:
        first.submit(few.run, lambda: None).result()
        for _ in range(DIRECT):
            in_new_thread(few)
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            with pytest.raises(KeyboardInterrupt):
                few.run(slow)
        finally:
            signal.signal(signal.SIGALRM, before)
        following = first.submit(few.run, lambda: steps.append("next"))
        time.sleep(0.1)
        finish.set()
        following.result()
    assert steps == ["begin", "end", "next"]


def test_its_thread_ends_with_it(few):
    for _ in range(DIRECT):
        in_new_thread(few)
    ours = few.run(threading.current_thread)
    few.close()
    few.close()
    assert not ours.is_alive()
