"""`BindingCache`: the bindings of one instance, one for each set of shapes, and the memory behind them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from aegisrt.backends.onnx.cuda_binding import Binding, TensorMemory, size_bytes
from aegisrt.core.tensor import TensorSpec

Key = tuple[Any, ...]
_KEPT_SHAPES = 64


class BindingCache:
    """Bindings by key, in memory that they share; a binding that is to be recorded has memory of its own.

    In shared memory the least recently used binding is evicted when there are many, and all are dropped when that
    memory moves. Not thread-safe: one thread at a time.
    """

    def __init__(self, new_memory: Callable[[], TensorMemory]) -> None:
        self._new_memory = new_memory
        self._bound: OrderedDict[Key, Binding] = OrderedDict()
        self._latest: Binding | None = None
        self.shared = new_memory()
        self.own: list[TensorMemory] = []
        """Memory that never moves, of one binding each."""

    def find(self, key: Key) -> Binding | None:
        """Return the binding of a key, now the last to be evicted; None if there is none."""
        bound = self._bound.get(key)
        if bound is not None and bound is not self._latest:
            self._bound.move_to_end(key)
            self._latest = bound
        return bound

    def keep(self, key: Key, bound: Binding) -> None:
        """Keep a binding; evict the least recently used one if there are many."""
        self._bound[key] = self._latest = bound
        shared = self._in_shared_memory()
        if len(shared) > _KEPT_SHAPES:
            del self._bound[shared[0]]

    def keeps(self, key: Key, bound: Binding) -> bool:
        """Return whether the key still has this binding."""
        return self._bound.get(key) is bound

    def drop(self, key: Key, memory: TensorMemory) -> None:
        """Remove a binding that was never recorded and free its memory; do nothing if that is shared."""
        if memory is not self.shared:
            self._bound.pop(key, None)
            self.own.remove(memory)
            memory.free()

    def add_own(self) -> TensorMemory:
        """Return memory for one binding alone."""
        self.own.append(self._new_memory())
        return self.own[-1]

    def reserve(
        self, memory: TensorMemory, tensors: list[tuple[TensorSpec, tuple[int, ...]]], direct_bytes: int = -1
    ) -> bool:
        """Make room for tensors, those up to `direct_bytes` on the host alone; return whether one has moved.

        If one has moved, or if there is no room (it raises RESOURCE_EXHAUSTED), the bindings to shared memory are
        dropped.
        """
        sizes = [(spec.name, size_bytes(spec, shape)) for spec, shape in tensors]
        try:
            moved = [memory.reserve(name, size, direct=size <= direct_bytes) for name, size in sizes]
        except BaseException:
            self._forget_shared()
            raise
        if any(moved):
            self._forget_shared()
        return any(moved)

    def clear(self) -> None:
        """Drop all bindings. Their memory stays until `free`, which comes after the session's end."""
        self._bound.clear()
        self._latest = None

    def free(self) -> None:
        """Free all memory; may be called again."""
        for memory in (self.shared, *self.own):
            memory.free()

    def _forget_shared(self) -> None:
        """Drop the bindings to shared memory: the addresses in them are no longer valid."""
        for key in self._in_shared_memory():
            del self._bound[key]

    def _in_shared_memory(self) -> list[Key]:
        return [key for key, bound in self._bound.items() if bound.memory is self.shared]
