"""`bare_hop`: the least that handing a call to another thread can cost: a queue, a future, and a worker thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeAlias

Job: TypeAlias = tuple[Future[Any], Callable[[], Any]]


@contextmanager
def bare_hop(call: Callable[[], Any]) -> Iterator[Callable[[], Any]]:
    """Yield a function that runs `call` in a worker thread, waits for it, and returns what it returned."""
    jobs: SimpleQueue[Job | None] = SimpleQueue()

    def work() -> None:
        while (job := jobs.get()) is not None:
            future, run = job
            try:
                future.set_result(run())
            except Exception as error:  # noqa: BLE001  (the engine's error belongs to the waiting caller)
                future.set_exception(error)

    def hop() -> Any:
        future: Future[Any] = Future()
        jobs.put((future, call))
        return future.result()

    thread = threading.Thread(target=work, name="aegisrt-bench-hop", daemon=True)
    thread.start()
    try:
        yield hop
    finally:
        jobs.put(None)
        thread.join()
