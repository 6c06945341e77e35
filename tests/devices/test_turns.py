"""Turns on a shared stream of a CPU: one at a time, first come first served, and a way out."""

import threading
import time
from time import perf_counter_ns

from aegisrt.devices.turns import Turns
from tests.runtime.serving import until


def test_turns_are_taken_in_the_order_of_asking():
    turns, order, threads = Turns(), [], []
    assert turns.take(None)

    def wait(number):
        assert turns.take(None)
        order.append(number)
        turns.give()

    for number in range(8):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        until(lambda number=number: len(turns._waiting) == number + 1)
    turns.give()
    for thread in threads:
        thread.join(5)
    assert order == list(range(8))
    assert turns.take(0)


def test_a_deadline_ends_the_wait_and_leaves_the_turn_to_others():
    turns = Turns()
    assert turns.take(None)
    started = time.monotonic()
    assert not turns.take(perf_counter_ns() + 20_000_000)
    assert not turns.take(0)
    assert 0.02 <= time.monotonic() - started < 2
    turns.give()
    assert turns.take(None)
    turns.give()
    assert turns.take(perf_counter_ns() + 10**20)


def test_no_turn_is_lost_when_deadlines_meet_their_turns():
    turns, inside, most, taken = Turns(), [0], [0], [0] * 8

    def work(number):
        for index in range(300):
            if turns.take(None if index % 3 else perf_counter_ns() + 50_000):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1
                taken[number] += 1
                turns.give()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a turn was lost"
    assert most == [1]
    assert min(taken) >= 200
    assert turns.take(0)
