"""`BindingCache`: what one instance has bound for each set of shapes, and the memory behind it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from aegisrt.backends.onnx.cuda_binding import Binding, TensorMemory, size_bytes
from aegisrt.core.tensor import TensorSpec

Key = tuple[Any, ...]
_KEPT_SHAPES = 64


class BindingCache:
    """Bindings by key, in memory that they share or, for one that is to be recorded, in memory of its own.

    Of those in shared memory the least recently used goes when there are many, and all go when that memory moves. In
    one thread at a time.
    """

    def __init__(self, new_memory: Callable[[], TensorMemory]) -> None:
        self._new_memory = new_memory
        self._bound: OrderedDict[Key, Binding] = OrderedDict()
        self._latest: Binding | None = None
        self.shared = new_memory()
        self.own: list[TensorMemory] = []
        """Memory that nothing moves, of one binding each."""

    def find(self, key: Key) -> Binding | None:
        """Return the binding of a key, which is then the last to go; None where there is none."""
        bound = self._bound.get(key)
        if bound is not None and bound is not self._latest:
            self._bound.move_to_end(key)
            self._latest = bound
        return bound

    def keep(self, key: Key, bound: Binding) -> None:
        """Keep a binding, in place of the least recently used one where there are many."""
        self._bound[key] = self._latest = bound
        shared = self._in_shared_memory()
        if len(shared) > _KEPT_SHAPES:
            del self._bound[shared[0]]

    def keeps(self, key: Key, bound: Binding) -> bool:
        """Return whether this binding is still the key's."""
        return self._bound.get(key) is bound

    def drop(self, key: Key, memory: TensorMemory) -> None:
        """Give back the place of a binding that was never recorded, and its memory; nothing where that is shared."""
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

        Then, and where it raises (RESOURCE_EXHAUSTED), the bindings to shared memory are gone.
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
        """Let go of all bindings; the memory is there until `free`, which comes after the session's end."""
        self._bound.clear()
        self._latest = None

    def free(self) -> None:
        """Give all memory back; any number of times."""
        for memory in (self.shared, *self.own):
            memory.free()

    def _forget_shared(self) -> None:
        """Drop the bindings to shared memory: they hold addresses that are no longer right."""
        for key in self._in_shared_memory():
            del self._bound[key]

    def _in_shared_memory(self) -> list[Key]:
        return [key for key, bound in self._bound.items() if bound.memory is self.shared]
