"""`ShapedContext`: an execution context, and what it was told last; every refusal is an error in TensorRT's words.

https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/infer/Core/ExecutionContext.html
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from aegisrt.backends.tensorrt.engine import LoadedEngine
from aegisrt.backends.tensorrt.log import is_out_of_memory, sentence
from aegisrt.backends.tensorrt.profiles import choose, outside
from aegisrt.backends.tensorrt.run.late_outputs import DynamicOutput, new_allocator
from aegisrt.backends.tensorrt.run.scratch import context_over
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.devices.cuda.memory import DeviceBuffer

Shape = tuple[int, ...]
_UNSHARED = (
    "TensorRT 8.6 lets instances share a profile only where the engine was built with PROFILE_SHARING_0806: build it "
    "with `aegisrt build`, or set `instances: 1` and `cuda_graph: false`"
)


class ShapedContext:
    """In one thread at a time, with the device's context current."""

    def __init__(self, engine: LoadedEngine, *, memory: DeviceBuffer | None = None) -> None:
        """Create it, over `memory` where given; RESOURCE_EXHAUSTED where the GPU has no memory for it."""
        self._engine = engine
        self._names = {item.public: item.name for item in engine.tensors}
        self._dynamic = {item.public: item.name for item in engine.tensors if item.is_input and -1 in item.shape}
        self._infers = bool(self._dynamic) or any(item.on_host for item in engine.tensors)
        self._told: dict[str, int] = {}
        self._allocators: list[Any] = []
        self.late: dict[str, DynamicOutput] = {}
        """Outputs whose shape is known only after each call, by the caller's names."""
        library = engine.library
        with engine.context, library.lifecycle, library.log.errors() as lines:
            if memory is None:
                self._context = engine.engine.create_execution_context()
            else:
                self._context = context_over(library.module, engine.engine, memory)
        if self._context is None:
            raise self.failed("has no execution context for this engine", lines)
        self._profile: int = self._context.active_optimization_profile
        """-1 where TensorRT 8.6 gave profile 0, which it gives once, to an earlier context."""

    def close(self) -> None:
        """Destroy it, and give back the memory of late outputs; the engine goes after it."""
        with self._engine.context.unless_lost(), self._engine.library.lifecycle:
            self._context = None
        self._allocators.clear()
        for output in self.late.values():
            output.free()

    def forget(self) -> None:
        """Take nothing for told: whether the last thing was is not known after an interrupt."""
        self._told.clear()
        self._profile = self._context.active_optimization_profile

    def claim_profile(self, stream: int) -> None:
        """Select the first profile where the engine needs one, for shapes or for sizes, and TensorRT selected none."""
        needs_one = bool(self._dynamic) or any(item.is_input and item.on_host for item in self._engine.tensors)
        if self._profile < 0 and needs_one:
            self._select(0, stream)

    def select_profile(self, shapes: Mapping[str, Shape], stream: int) -> None:
        """Select a profile that fits the shapes, by the caller's names; INVALID_ARGUMENT where there is none.

        Shapes and addresses must be told again: NVIDIA asks for the shapes, and promises nothing of the addresses.
        """
        profiles = self._engine.profiles
        if not self._dynamic or not profiles:
            return
        index = choose(shapes, profiles, self._profile)
        if index < 0:
            raise outside(shapes, profiles)
        if index != self._profile:
            self._select(index, stream)

    def set_shapes(self, shapes: Mapping[str, Shape]) -> None:
        """Tell the shapes of the inputs, by the caller's names; INVALID_ARGUMENT where the model cannot have them."""
        if not self._infers:
            return
        with self._engine.library.log.errors() as lines:
            for public, name in self._dynamic.items():
                shape = shapes[public]
                self._check(self._context.set_input_shape(name, shape), f"shape {shape} of `{public}`", lines)
            if not self._finds_output_shapes(lines):
                message = f"TensorRT finds no output shapes for these inputs: {sentence(lines)}"
                raise fail(ErrorCode.INVALID_ARGUMENT, message, cause="\n".join(lines) or None)

    def _finds_output_shapes(self, lines: list[str]) -> bool:
        """Return whether there are output shapes for what TensorRT was told; `lines` collects what it logs."""
        if not self._engine.library.raises_safely:
            return self._tells_output_shapes(lines)
        try:
            missing = self._context.infer_shapes()
        except RuntimeError:
            return False
        if missing:
            cause = "\n".join(lines) or None
            raise fail(ErrorCode.INTERNAL, f"TensorRT still wants {', '.join(missing)}", cause=cause)
        return True

    def _tells_output_shapes(self, lines: list[str]) -> bool:
        """Return what `infer_shapes` would, where it cannot be called."""
        outputs = [item.name for item in self._engine.tensors if not item.is_input]
        try:
            shapes = [tuple(self._context.get_tensor_shape(name)) for name in outputs]
        except ValueError:  # an invalid `Dims` has -1 dimensions, which is no length of a tuple
            return False
        smallest = min((dim for shape in shapes for dim in shape), default=0)
        return smallest >= 0 or (smallest == -1 and not lines)

    def shape(self, name: str) -> Shape | None:
        """Return the shape of an output, by the engine's name; None where only the call itself will tell."""
        shape = tuple(self._context.get_tensor_shape(name))
        return None if -1 in shape else shape

    def point(self, name: str, address: int) -> None:
        """Tell the address of a tensor, by the engine's name, unless it was told that one last."""
        if self._told.get(name) != address:
            mark = self._engine.library.log.mark
            done = self._context.set_tensor_address(name, address)
            self._check(done, f"the address of `{name}`", lambda: self._engine.library.log.since(mark))
            self._told[name] = address

    def allocate_late(self, public: str) -> bool:
        """Let an output's memory be allocated as the call finds its shape; return False where that is so already."""
        if public in self.late:
            return False
        output = DynamicOutput(self._engine.context)
        allocator = new_allocator(self._engine.library.module, output)
        with self._engine.library.log.errors() as lines:
            told = self._context.set_output_allocator(self._names[public], allocator)
            self._check(told, f"the allocator of `{public}`", lines)
        self.late[public] = output
        self._allocators.append(allocator)
        return True

    def execute(self, stream: int) -> list[str] | None:
        """Enqueue the kernels; return None, or the lines that TensorRT logged where it refused."""
        for output in self.late.values():
            output.shape = output.problem = None
        mark = self._engine.library.log.mark
        if self._context.execute_async_v3(stream):
            return None
        return self._engine.library.log.since(mark)

    def refused(self, lines: list[str]) -> BaseException:
        """Return why `execute` was refused."""
        for output in self.late.values():
            if output.problem is not None:
                return output.problem
        return self.failed("failed while executing", lines)

    def failed(self, what: str, lines: list[str]) -> ResultError:
        """Return the error for something that TensorRT answered no to."""
        words, cause = self._engine.library.words, "\n".join(lines) or None
        if is_out_of_memory(lines):
            hint = "use a smaller batch or fewer instances, or unload another model"
            return fail(ErrorCode.RESOURCE_EXHAUSTED, f"out of GPU memory: {words} {what}", hint, cause=cause)
        return fail(ErrorCode.INTERNAL, f"{words} {what}: {sentence(lines)}", cause=cause)

    def _select(self, index: int, stream: int) -> None:
        """Select a profile; the binding of TensorRT raises for one that it refuses."""
        library = self._engine.library
        old = library.version[0] == 8 and not library.is_rtx
        with library.log.errors() as lines:
            try:
                if old:
                    self._select_as_8_does(index)
                elif not self._context.set_optimization_profile_async(index, stream):
                    raise RuntimeError("it answered False")
            except RuntimeError:
                message = f"{library.words} refuses profile {index} of the engine: {sentence(lines)}"
                hint = _UNSHARED if old else None
                raise fail(ErrorCode.FAILED_PRECONDITION, message, hint, cause="\n".join(lines) or None) from None
        self._profile = index
        self._told.clear()

    def _select_as_8_does(self, index: int) -> None:
        """Raise RuntimeError for a profile that another context has, for which `..._async` would crash the process.

        See `TensorRT.raises_safely`. It copies what it has to as the next call is enqueued.
        """
        with self._engine.library.lifecycle, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._context.active_optimization_profile = index

    def _check(self, done: bool, what: str, lines: list[str] | Callable[[], list[str]]) -> None:
        if not done:
            raise self.failed(f"refuses {what}", lines if isinstance(lines, list) else lines())
