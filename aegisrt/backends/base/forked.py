"""Rule for a process that a fork made: the parent's loaded models are kept there, and neither used nor destroyed.

A fork copies no threads. An engine's thread pool is gone in the child, so that a call, and a destructor that joins its
threads, would wait forever; ONNX Runtime's sessions do, and crash under `gunicorn --preload`.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakValueDictionary


class Forkable(Protocol):
    """Holds objects of an engine."""

    def _become_copy(self) -> None:
        """In a child: keep those objects until the process ends, and never use them. Must not take a lock."""


def watch_forks(holder: Forkable) -> None:
    """Call `_become_copy` of a holder, as long as it lives, in each child that a fork makes."""
    _holders[id(holder)] = holder


_holders: WeakValueDictionary[int, Forkable] = WeakValueDictionary()
"""By identity: an author's class may define `__eq__`, and then has no hash."""


def _after_fork() -> None:
    for holder in list(_holders.values()):
        holder._become_copy()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
