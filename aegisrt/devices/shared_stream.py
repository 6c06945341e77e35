"""`SharedStream`: a stream that a manifest declares `shared`, as one deployment or one backend owns it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from aegisrt.devices.options import StreamOptions
from aegisrt.devices.turns import Turns

T = TypeVar("T")


class SharedStream:
    """One queue for all instances that get this object: turns on a CPU, one CUDA stream on each GPU. Thread-safe.

    The CUDA stream lives while an instance holds it. A pickled copy, in another process, has a queue of its own.
    """

    def __init__(self, options: StreamOptions) -> None:
        self.options = options
        self.renew()

    def renew(self) -> None:
        """Forget the queue, in a forked child: threads that are not in this process may hold its locks."""
        self.turns = Turns()
        self._lock = threading.Lock()
        self._opened: WeakValueDictionary[int, Any] = WeakValueDictionary()

    def opened(self, ordinal: int, make: Callable[[], T]) -> T:
        """Return the stream on the GPU with this ordinal; `make` opens it if no instance holds one."""
        with self._lock:
            stream: T | None = self._opened.get(ordinal)
            if stream is None:
                self._opened[ordinal] = stream = make()
            return stream

    def __reduce__(self) -> tuple[type[SharedStream], tuple[StreamOptions]]:
        return SharedStream, (self.options,)


def owned(declared: object) -> Any:
    """Return a declared stream as a backend keeps it: a `SharedStream` if it is shared, else itself."""
    return SharedStream(declared) if isinstance(declared, StreamOptions) and declared.shared else declared
