"""Requests that wait: order, priorities, bounds, cancellation, and the end."""

import asyncio
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from time import perf_counter_ns

import numpy as np
import pytest

from aegisrt import ErrorCode, Ok
from tests.interrupts import ends_before
from tests.runtime.serving import busy, request, served, until


def answer(future):
    return future.result(5)


def test_an_idle_model_runs_in_the_callers_own_thread(tmp_path):
    with served(tmp_path) as (model, _):
        before = threading.active_count()
        np.testing.assert_array_equal(model.intake.execute(request(1, 2)).unwrap().outputs["y"], [2, 4])
        assert threading.active_count() == before


def test_a_submitted_request_is_answered_by_a_worker(tmp_path):
    with served(tmp_path) as (model, _):
        result = answer(model.intake.submit(request(1, 2, id="a"))).unwrap()
        np.testing.assert_array_equal(result.outputs["y"], [2, 4])
        assert result.metadata["request_id"] == "a"
        assert result.timings.queue > 0


def test_an_engines_error_is_the_answer(tmp_path):
    with served(tmp_path) as (model, probe):
        probe.refuse = lambda x: True
        assert answer(model.intake.submit(request(1))).unwrap_err().code is ErrorCode.INTERNAL
        probe.refuse = lambda x: False
        assert answer(model.intake.submit(request(1))).is_ok()


def test_a_hook_that_leaves_by_system_exit_costs_one_request_and_no_worker(tmp_path):
    with served(tmp_path) as (model, probe):
        probe.fail["execute"] = lambda: SystemExit(3)
        assert answer(model.intake.submit(request(1))).unwrap_err().code is ErrorCode.INTERNAL
        del probe.fail["execute"]
        assert answer(model.intake.submit(request(1))).is_ok()


def test_waiting_requests_start_by_priority_and_then_in_order(tmp_path):
    with served(tmp_path) as (model, probe):
        running = busy(model, probe)
        order = [("low", 1), ("normal", 2), ("high", 3), ("normal", 4), ("high", 5), ("low", 6)]
        futures = [model.intake.submit(request(value, priority=priority)) for priority, value in order]
        probe.gate.set()
        wait([running, *futures], 5)
        assert [int(x[0]) for x in probe.calls] == [0, 3, 5, 2, 4, 1, 6]


@pytest.mark.parametrize("way", ["execute", "submit", "backend"])
@pytest.mark.parametrize(
    ("priority", "message", "hint"),
    [
        ("higher", "`higher`", "did you mean `high`?"),
        ("urgent", "`urgent`", "priorities are `high`, `normal`, `low`"),
        ("", "``", "priorities are"),
        (None, "a NoneType", "priorities are"),
        (["high"], "a list", "high"),
    ],
)
def test_what_is_no_priority_is_refused_on_every_way(tmp_path, way, priority, message, hint):
    with served(tmp_path) as (model, probe):
        ways = {
            "execute": model.intake.execute,
            "submit": lambda request: answer(model.intake.submit(request)),
            "backend": probe.execute,
        }
        error = ways[way](request(1, priority=priority)).unwrap_err()
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert message in error.message
        assert hint in error.hint
        assert ways[way](request(1, priority="low")).is_ok()
        assert ways[way](request(1, priority="high", timeout_ms=5000)).is_ok()
        assert len(probe.calls) == 2


def test_at_most_instances_run_at_once_with_and_without_the_queue(tmp_path):
    with served(tmp_path, instances=2) as (model, probe):
        probe.gate.clear()
        direct = threading.Thread(target=lambda: model.intake.execute(request(0)))
        direct.start()
        futures = [model.intake.submit(request(value)) for value in range(4)]
        assert probe.running.acquire(timeout=5)
        assert probe.running.acquire(timeout=5)
        assert not probe.running.acquire(timeout=0.05)
        assert (model.life.metrics().busy, model.life.metrics().queued) == (2, 3)
        probe.gate.set()
        assert all(answer(future).is_ok() for future in futures)
        direct.join()
        assert probe.shared_slots == 0


def test_a_full_queue_rejects(tmp_path):
    with served(tmp_path, queue={"max_queue_size": 2}) as (model, probe):
        futures = [busy(model, probe), model.intake.submit(request(1)), model.intake.submit(request(2))]
        error = answer(model.intake.submit(request(3))).unwrap_err()
        assert error.code is ErrorCode.RESOURCE_EXHAUSTED
        assert "max_queue_size" in error.hint
        assert model.intake.execute(request(3)).unwrap_err().code is ErrorCode.RESOURCE_EXHAUSTED
        probe.gate.set()
        assert all(answer(future).is_ok() for future in futures)


def test_a_full_queue_can_hold_its_callers_back_instead(tmp_path):
    with served(tmp_path, queue={"max_queue_size": 1, "when_full": "wait"}) as (model, probe):
        futures = [busy(model, probe), model.intake.submit(request(1))]
        held = threading.Thread(target=lambda: futures.append(model.intake.submit(request(2))))
        held.start()
        held.join(0.05)
        assert held.is_alive()
        assert model.intake.execute(request(3, timeout_ms=20)).unwrap_err().code is ErrorCode.DEADLINE_EXCEEDED
        probe.gate.set()
        held.join(5)
        assert len(futures) == 3
        assert all(answer(future).is_ok() for future in futures)


def test_room_that_a_held_back_request_does_not_take_is_the_next_ones(tmp_path, monkeypatch):
    """The first is called when the queue is empty, and finds the worker idle by the time that it has woken."""
    with served(tmp_path, queue={"max_queue_size": 1, "when_full": "wait"}) as (model, probe):
        queue, woken, slow, answers = model.parts.queue, threading.Event(), threading.Event(), []
        wait_for_room = queue._room.wait

        def wake_slowly(wait_s):
            wait_for_room(wait_s)
            queue._lock.release()
            woken.set()
            assert slow.wait(5)
            queue._lock.acquire()

        monkeypatch.setattr(queue._room, "wait", wake_slowly)
        futures = [busy(model, probe), model.intake.submit(request(1))]
        held = [
            threading.Thread(
                target=lambda value=value: answers.append(model.intake.execute(request(value))), daemon=True
            )
            for value in (2, 3)
        ]
        for count, thread in enumerate(held, 1):
            thread.start()
            until(lambda count=count: queue._held == count)
        probe.gate.set()
        assert all(answer(future).is_ok() for future in futures)
        assert woken.wait(5)
        until(lambda: queue._idle)
        slow.set()
        for thread in held:
            thread.join(5)
        assert [result.is_ok() for result in answers] == [True, True]


def test_a_caller_that_is_interrupted_while_it_is_held_back_leaves_its_room_to_the_next(tmp_path, monkeypatch):
    with served(tmp_path, queue={"max_queue_size": 1, "when_full": "wait"}) as (model, probe):
        queue, found = model.parts.queue, []
        wait_for_room = queue._room.wait

        def be_interrupted(wait_s):
            wait_for_room(wait_s)
            if threading.current_thread() is held[0]:
                raise KeyboardInterrupt

        def execute():
            try:
                found.append(model.intake.execute(request(2)).is_ok())
            except KeyboardInterrupt:
                found.append("interrupted")

        monkeypatch.setattr(queue._room, "wait", be_interrupted)
        futures = [busy(model, probe), model.intake.submit(request(1))]
        held = [threading.Thread(target=execute, daemon=True) for _ in range(2)]
        for count, thread in enumerate(held, 1):
            thread.start()
            until(lambda count=count: queue._held == count)
        assert futures[1].cancel()
        until(lambda: found == ["interrupted"])
        probe.gate.set()
        held[1].join(5)
        assert found == ["interrupted", True]
        assert model.life.metrics().requests == {"OK": 2, "CANCELLED": 2}
        assert queue._held == 0


def test_a_callback_is_not_held_back_by_a_full_queue(tmp_path):
    with served(tmp_path, queue={"max_queue_size": 1, "when_full": "wait"}) as (model, probe):
        first, more, deadlines = busy(model, probe), [], []
        first.add_done_callback(lambda _: more.extend(model.intake.submit(request(value)) for value in (2, 3)))
        late = model.intake.submit(request(4, timeout_ms=20))
        late.add_done_callback(lambda _: deadlines.extend(model.intake.submit(request(value)) for value in (5, 6)))
        assert answer(late).unwrap_err().code is ErrorCode.DEADLINE_EXCEEDED
        until(lambda: len(deadlines) == 2)
        assert answer(deadlines[1]).unwrap_err().code is ErrorCode.RESOURCE_EXHAUSTED
        probe.gate.set()
        assert answer(first).is_ok()
        until(lambda: len(more) == 2)
        # The instance of `first` is free in its callback and takes the one that waits next: there is room for one.
        assert [answer(future).is_ok() for future in (deadlines[0], *more)] == [True, True, False]


def test_async_requests_that_wait_for_room_keep_no_other_from_its_deadline_or_from_another_model(tmp_path):
    """They wait in threads of the event loop's executor, of which there are few."""

    async def scene(model, probe, other):
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        running = [busy(model, probe), model.intake.submit(request(1))]
        held = [asyncio.create_task(model.intake.execute_async(request(2))) for _ in range(3)]
        await asyncio.sleep(0.02)
        late = await asyncio.wait_for(model.intake.execute_async(request(3, timeout_ms=20)), 5)
        assert late.unwrap_err().code is ErrorCode.DEADLINE_EXCEEDED
        assert (await asyncio.wait_for(other.intake.execute_async(request(4)), 5)).is_ok()
        held[2].cancel()
        probe.gate.set()
        found = await asyncio.gather(*held, *map(asyncio.wrap_future, running), return_exceptions=True)
        assert [isinstance(result, Ok) for result in found] == [True, True, False, True, True]

    options = {"queue": {"max_queue_size": 1, "when_full": "wait"}}
    with served(tmp_path, **options) as (model, probe):
        assert answer(model.intake.submit(request(0, timeout_ms=5000))).is_ok()
        with served(tmp_path, **options) as (other, _):
            asyncio.run(scene(model, probe, other))
        assert model.life.metrics().requests == {"OK": 5, "DEADLINE_EXCEEDED": 1, "CANCELLED": 1}


@pytest.mark.parametrize("started", [0, 1])
def test_where_no_thread_can_be_started_a_request_says_so_and_later_ones_are_served(tmp_path, monkeypatch, started):
    left, start = [started], threading.Thread.start

    def refuse(thread):
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    with served(tmp_path, instances=2) as (model, _):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            found = [answer(model.intake.submit(request(1))), model.intake.execute(request(1, timeout_ms=5000))]
            found.append(answer(model.intake.submit(request(1, timeout_ms=5000))))  # which needs the watch
        codes = [None if result.is_ok() else result.unwrap_err().code for result in found]
        assert codes == [*[None if started else ErrorCode.RESOURCE_EXHAUSTED] * 2, ErrorCode.RESOURCE_EXHAUSTED]
        assert answer(model.intake.submit(request(1, timeout_ms=5000))).is_ok()
        assert model.intake.execute(request(1, timeout_ms=5000)).is_ok()


def test_an_interrupt_anywhere_in_a_call_costs_no_instance(tmp_path):
    with served(tmp_path) as (model, probe):
        count = 1
        while not ends_before(count, lambda: model.intake.execute(request(1))):
            assert model.parts.queue.load() == (0, 0), f"at {count}"
            assert probe._loaded.free == probe._loaded.slots, f"at {count}"
            count += 1
        assert count > 20
        assert model.intake.execute(request(1)).is_ok()


def test_a_waiting_request_can_be_cancelled_and_a_running_one_cannot(tmp_path):
    with served(tmp_path, queue={"max_queue_size": 1}) as (model, probe):
        running = busy(model, probe)
        waiting = model.intake.submit(request(1))
        assert not running.cancel()
        assert waiting.cancel()
        assert waiting.cancel()
        assert waiting.cancelled()
        assert wait([waiting], 1).done == {waiting}
        with pytest.raises(CancelledError):
            waiting.result()
        room = model.intake.submit(request(2))
        probe.gate.set()
        assert answer(running).is_ok()
        assert answer(room).is_ok()
        assert [int(x[0]) for x in probe.calls] == [0, 2]
        assert model.life.metrics().requests == {"OK": 2, "CANCELLED": 1}


def test_each_request_is_answered_once_when_cancel_meets_the_worker(tmp_path):
    with served(tmp_path) as (model, probe):
        called: list[object] = []
        for index in range(300):
            future = model.intake.submit(request(index))
            future.add_done_callback(called.append)
            future.cancel()
            assert future.cancelled() or answer(future).is_ok()
        until(lambda: sum(model.life.metrics().requests.values()) == 300)
        assert len(called) == 300
        assert len(probe.calls) == model.life.metrics().requests.get("OK", 0)


def test_async_requests_and_the_cancellation_of_their_task(tmp_path):
    async def scene(model, probe):
        assert (await model.intake.execute_async(request(1))).unwrap().outputs["y"][0] == 2
        running = busy(model, probe)
        task = asyncio.create_task(model.intake.execute_async(request(2)))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        probe.gate.set()
        assert (await asyncio.wrap_future(running)).is_ok()

    with served(tmp_path) as (model, probe):
        asyncio.run(scene(model, probe))
        assert [int(x[0]) for x in probe.calls] == [1, 0]


def test_a_held_back_async_request_leaves_the_loop_free(tmp_path):
    async def scene(model, probe):
        futures = [busy(model, probe), model.intake.submit(request(1))]
        held = asyncio.create_task(model.intake.execute_async(request(2)))
        cancelled = asyncio.create_task(model.intake.execute_async(request(3)))
        await asyncio.sleep(0.05)
        assert not held.done()
        cancelled.cancel()
        probe.gate.set()
        assert (await held).is_ok()
        assert all(answer(future).is_ok() for future in futures)

    with served(tmp_path, queue={"max_queue_size": 1, "when_full": "wait"}) as (model, probe):
        asyncio.run(scene(model, probe))
        assert sorted(int(x[0]) for x in probe.calls) == [0, 1, 2]


def test_close_runs_what_waits(tmp_path):
    with served(tmp_path) as (model, probe):
        futures = [busy(model, probe), *(model.intake.submit(request(value)) for value in range(20))]
        threading.Timer(0.05, probe.gate.set).start()
        assert model.life.close(perf_counter_ns()) == Ok(None)
        assert all(answer(future).is_ok() for future in futures)
        assert model.intake.execute(request(1)).unwrap_err().code is ErrorCode.NOT_LOADED
        assert answer(model.intake.submit(request(1))).unwrap_err().code is ErrorCode.NOT_LOADED
        assert model.life.close(perf_counter_ns()) == Ok(None)


def test_a_first_request_that_comes_while_the_model_is_closed_finds_a_worker(tmp_path):
    with served(tmp_path, queue={"close_timeout_ms": 2000}) as (model, _):
        futures, close = [], model.parts.queue.close

        def late():
            futures.append(model.intake.submit(request(1)))
            close()

        model.parts.queue.close = late
        assert model.life.close(perf_counter_ns()) == Ok(None)
        assert answer(futures[0]).is_ok()


def test_close_can_cancel_what_waits(tmp_path):
    with served(tmp_path, queue={"on_close": "cancel"}) as (model, probe):
        running = busy(model, probe)
        waiting = [model.intake.submit(request(value)) for value in range(5)]
        threading.Timer(0.05, probe.gate.set).start()
        assert model.life.close(perf_counter_ns()) == Ok(None)
        assert answer(running).is_ok()
        assert {answer(future).unwrap_err().code for future in waiting} == {ErrorCode.CANCELLED}


def test_close_is_bounded_while_an_engine_does_not_come_back(tmp_path):
    with served(tmp_path, queue={"close_timeout_ms": 50}) as (model, probe):
        futures = [busy(model, probe), model.intake.submit(request(1))]
        started = time.monotonic()
        error = model.life.close(perf_counter_ns()).unwrap_err()
        assert time.monotonic() - started < 1
        assert error.code is ErrorCode.DEADLINE_EXCEEDED
        assert {answer(future).unwrap_err().code for future in futures} == {ErrorCode.CANCELLED}
        assert probe.signature is not None
        probe.gate.set()
        until(lambda: "unload m" in probe.log)


def test_close_from_a_callback_of_a_request_does_not_wait_for_itself(tmp_path):
    with served(tmp_path) as (model, _):
        closed = threading.Event()

        def end(_):
            model.life.close(perf_counter_ns())
            closed.set()

        model.intake.submit(request(1)).add_done_callback(end)
        assert closed.wait(5)


def test_a_flood_from_many_threads_is_answered_request_by_request(tmp_path):
    with served(tmp_path, instances=3) as (model, probe):
        wrong: list[object] = []

        def client(seed: int) -> None:
            for index in range(50):
                value = seed * 1000 + index
                result = (
                    model.intake.execute(request(value)) if index % 2 else answer(model.intake.submit(request(value)))
                )
                if result.is_err() or result.unwrap().outputs["y"][0] != value * 2:
                    wrong.append(result)

        threads = [threading.Thread(target=client, args=(seed,)) for seed in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        until(lambda: model.life.metrics().requests == {"OK": 800})
        assert probe.shared_slots == 0
        assert len(probe.calls) == 800


@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("when_full", ["reject", "wait"])
def test_requests_that_idle_instances_take_do_not_fill_the_queue(tmp_path, is_warm, when_full):
    queue = {"max_queue_size": 2, "when_full": when_full}
    with served(tmp_path, instances=4, queue=queue) as (model, probe):
        if is_warm:
            assert answer(model.intake.submit(request(0))).is_ok()
        probe.gate.clear()
        futures = [model.intake.submit(request(value)) for value in range(6)]
        if when_full == "reject":
            until(lambda: model.life.metrics().busy == 4)
            assert answer(model.intake.submit(request(6))).unwrap_err().code is ErrorCode.RESOURCE_EXHAUSTED
            assert (
                answer(model.intake.submit(request(7, timeout_ms=5000))).unwrap_err().code
                is ErrorCode.RESOURCE_EXHAUSTED
            )
        probe.gate.set()
        assert [answer(future).is_ok() for future in futures] == [True] * 6


@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
def test_one_more_than_the_idle_instances_take_and_the_queue_holds_is_rejected_at_once(tmp_path, monkeypatch, is_warm):
    """Also before a worker has woken: none does here, until all are sent."""
    with served(tmp_path, instances=3, queue={"max_queue_size": 2}) as (model, probe):
        if is_warm:
            assert answer(model.intake.submit(request(0))).is_ok()
            until(lambda: len(model.parts.queue._idle) == 3)
        probe.gate.clear()
        held = threading.Event()
        take = model.parts.queue.take
        monkeypatch.setattr(model.parts.queue, "take", lambda seat: (held.wait(5), take(seat))[1])
        futures = [model.intake.submit(request(value)) for value in range(9)]
        codes = [future.result(5).unwrap_err().code for future in futures[5:]]
        assert codes == [ErrorCode.RESOURCE_EXHAUSTED] * 4
        held.set()
        probe.gate.set()
        assert [answer(future).is_ok() for future in futures[:5]] == [True] * 5
