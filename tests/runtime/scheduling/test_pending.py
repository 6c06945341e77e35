"""The future of a request: to whoever holds it, it is any `concurrent.futures.Future`."""

import io
import logging
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, InvalidStateError, as_completed, wait

import pytest

from aegisrt import ErrorCode, Ok
from aegisrt.runtime.scheduling.pending import Answers, Pending
from tests.runtime.serving import busy, request, served


def pending(withdraw=None) -> Pending:
    return Pending(request(1), 0, Answers(withdraw))


def test_it_holds_the_state_that_a_future_of_this_python_has():
    ours = pending()
    assert all(hasattr(ours, name) for name in vars(Future()))
    assert (ours._state, ours._result, ours._exception) == (Future()._state, None, None)


def test_an_answer_reaches_all_who_wait_for_it():
    future, found = pending(), []
    threads = [threading.Thread(target=lambda: found.append(future.result(5))) for _ in range(4)]
    for thread in threads:
        thread.start()
    future.set_result(Ok(1))
    for thread in threads:
        thread.join(5)
    assert found == [Ok(1)] * 4
    assert (future.result(), future.result(0), future.exception()) == (Ok(1), Ok(1), None)
    assert future.done()
    assert "finished" in repr(future)


@pytest.mark.parametrize("timeout", [-1, 0, 0.01])
def test_a_wait_ends_after_its_timeout(timeout):
    future = pending()
    with pytest.raises(TimeoutError):
        future.result(timeout)
    with pytest.raises(TimeoutError):
        future.exception(timeout)
    future.set_result(Ok(1))
    assert future.result(1e300) == Ok(1)


def test_it_is_answered_once():
    future = pending()
    future.set_result(Ok(1))
    with pytest.raises(InvalidStateError):
        future.set_result(Ok(2))
    assert future.result() == Ok(1)


def test_an_exception_that_somebody_sets_is_raised():
    future = pending()
    future.set_exception(KeyError("a"))
    assert isinstance(future.exception(1), KeyError)
    with pytest.raises(KeyError):
        future.result(1)


def test_a_cancelled_one_wakes_who_waits_for_it():
    future, raised = pending(lambda _: True), []

    def waiter():
        with pytest.raises(CancelledError):
            future.result(5)
        raised.append(True)

    thread = threading.Thread(target=waiter)
    thread.start()
    time.sleep(0.01)
    assert future.cancel()
    thread.join(5)
    assert raised == [True]
    with pytest.raises(CancelledError):
        future.exception()


def test_callbacks_run_once_whether_they_come_before_or_after():
    future, called = pending(), []
    future.add_done_callback(called.append)
    future.set_result(Ok(1))
    future.add_done_callback(called.append)
    assert called == [future, future]


def test_wait_and_as_completed_take_requests_of_two_models_among_other_futures(tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    other: Future = Future()
    with served(folders[0]) as (first, probe):
        slow = busy(first, probe)
        with served(folders[1]) as (second, _):
            quick = second.intake.submit(request(1))
            assert wait([slow, quick, other], 5, FIRST_COMPLETED).done == {quick}
            timer = threading.Timer(0.02, lambda: (probe.gate.set(), other.set_result(Ok(2))))
            timer.start()
            order = list(as_completed([slow, quick, other], 5))
            timer.join()
            assert order[0] is quick
        assert slow.result(5).is_ok()


def test_as_completed_yields_each_of_a_flood_once(tmp_path):
    with served(tmp_path, instances=2, queue={"max_queue_size": 2000}) as (model, _):
        futures = [model.intake.submit(request(index)) for index in range(1000)]
        found = [future.result().unwrap().outputs["y"][0] for future in as_completed(futures, 30)]
        assert sorted(found) == [index * 2 for index in range(1000)]


def test_a_callback_of_a_cancelled_one_may_ask_for_the_result(tmp_path):
    with served(tmp_path) as (model, probe):
        busy(model, probe)
        future, found = model.intake.submit(request(1)), []

        def ask(done: Future) -> None:
            try:
                found.append(done.result(5))
            except (CancelledError, TimeoutError) as error:
                found.append(type(error))

        future.add_done_callback(ask)
        assert future.cancel()
        assert found == [CancelledError]


def test_a_callback_that_ends_its_thread_keeps_nobody_waiting_for_a_cancelled_one(tmp_path, caplog):
    with served(tmp_path) as (model, probe):
        busy(model, probe)
        future = model.intake.submit(request(1))
        future.add_done_callback(lambda done: sys.exit())
        assert future.cancel()
        assert wait([future], 5).done == {future}
        with pytest.raises(CancelledError):
            future.result(5)
        assert "a callback of" in caplog.text


@pytest.mark.parametrize("options", [{}, {"batching": {"max_batch_size": 4}}])
def test_a_callback_that_ends_its_thread_costs_no_worker(tmp_path, caplog, options):
    with served(tmp_path, **options) as (model, probe):
        futures = [busy(model, probe), *(model.intake.submit(request(value)) for value in (1, 2, 3))]
        for future in futures:
            future.add_done_callback(lambda done: sys.exit())
        probe.gate.set()
        assert all(future.result(5).is_ok() for future in futures)
        assert model.intake.submit(request(4)).result(5).is_ok()
        assert caplog.text.count("a callback of") == 4


def test_a_callback_that_ends_its_thread_does_not_end_the_watch_of_deadlines(tmp_path, caplog):
    with served(tmp_path) as (model, probe):
        busy(model, probe)
        for _ in range(2):
            future = model.intake.submit(request(1, timeout_ms=20))
            future.add_done_callback(lambda done: sys.exit())
            assert future.result(5).unwrap_err().code is ErrorCode.DEADLINE_EXCEEDED
        assert "a callback of" in caplog.text


def test_what_a_callback_raises_forges_no_line_of_an_applications_log(tmp_path):
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    logging.getLogger("aegisrt").addHandler(handler)

    def fail(answer):
        raise ValueError("x\n::error::forged")

    try:
        with served(tmp_path) as (model, _):
            future = model.intake.submit(request(1))
            future.add_done_callback(fail)
            model.intake.post(request(2), fail)
            assert model.intake.submit(request(3)).result(5).is_ok()
    finally:
        logging.getLogger("aegisrt").removeHandler(handler)
    lines = out.getvalue().splitlines()
    assert [line for line in lines if line.startswith("ValueError")] == [r"ValueError: x\n::error::forged"] * 2
    assert not [line for line in lines if line.lstrip().startswith("::")]
