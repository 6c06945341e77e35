"""`ShapedContext`: an execution context, and what it was told last; every refusal is an error in TensorRT's words.

https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/infer/Core/ExecutionContext.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aegisrt.backends.tensorrt_engine import Engine
from aegisrt.backends.tensorrt_log import is_out_of_memory, sentence
from aegisrt.backends.tensorrt_outputs import DynamicOutput, new_allocator
from aegisrt.backends.tensorrt_profiles import choose, outside
from aegisrt.core.result import ErrorCode, ResultError, fail

Shape = tuple[int, ...]


class ShapedContext:
    """In one thread at a time, with the device's context current."""

    def __init__(self, engine: Engine) -> None:
        """Create it; RESOURCE_EXHAUSTED where the GPU has no memory for it."""
        self._engine = engine
        self._names = {item.public: item.name for item in engine.tensors}
        self._profile = 0
        self._told: dict[str, int] = {}
        self._allocators: list[Any] = []
        self.late: dict[str, DynamicOutput] = {}
        """Outputs whose shape is known only after each call, by the caller's names."""
        with engine.context, engine.library.log.errors() as lines:
            self._context = engine.engine.create_execution_context()
        if self._context is None:
            raise self.failed("has no execution context for this engine", lines)

    def close(self) -> None:
        """Destroy it, and give back the memory of late outputs; the engine goes after it."""
        with self._engine.context.unless_lost():
            self._context = None
        self._allocators.clear()
        for output in self.late.values():
            output.free()

    def select_profile(self, shapes: Mapping[str, Shape], stream: int) -> bool:
        """Select the profile that fits the shapes, by the caller's names; return whether it is another one."""
        profiles = self._engine.profiles
        index = choose(shapes, profiles, self._profile)
        if index < 0 and profiles:
            raise outside(shapes, profiles)
        if index in (-1, self._profile):
            return False
        with self._engine.library.log.errors() as lines:
            self._check(self._context.set_optimization_profile_async(index, stream), "the profile", lines)
        self._profile = index
        return True

    def set_shapes(self, shapes: Mapping[str, Shape]) -> None:
        """Tell the shapes of the inputs, by the caller's names; INVALID_ARGUMENT where the model cannot have them."""
        with self._engine.library.log.errors() as lines:
            for public, shape in shapes.items():
                name = self._names[public]
                self._check(self._context.set_input_shape(name, shape), f"shape {shape} of `{public}`", lines)
            try:
                missing = self._context.infer_shapes()
            except RuntimeError as error:
                message = f"TensorRT finds no output shapes for these inputs: {sentence(lines)}"
                raise fail(ErrorCode.INVALID_ARGUMENT, message, cause="\n".join([str(error), *lines])) from error
            if missing:
                cause = "\n".join(lines) or None
                raise fail(ErrorCode.INTERNAL, f"TensorRT still wants {', '.join(missing)}", cause=cause)

    def shape(self, name: str) -> Shape | None:
        """Return the shape of an output, by the engine's name; None where only the call itself will tell."""
        shape = tuple(self._context.get_tensor_shape(name))
        return None if -1 in shape else shape

    def point(self, name: str, address: int) -> None:
        """Tell the address of a tensor, by the engine's name, unless it was told that one last."""
        if self._told.get(name) != address:
            with self._engine.library.log.errors() as lines:
                self._check(self._context.set_tensor_address(name, address), f"the address of `{name}`", lines)
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
        with self._engine.library.log.errors() as lines:
            done = self._context.execute_async_v3(stream)
        return None if done else lines

    def refused(self, lines: list[str]) -> ResultError:
        """Return why `execute` was refused."""
        for output in self.late.values():
            problem, output.problem = output.problem, None
            if problem is not None:
                return problem
        return self.failed("failed while executing", lines)

    def failed(self, what: str, lines: list[str]) -> ResultError:
        """Return the error for something that TensorRT answered no to."""
        words, cause = self._engine.library.words, "\n".join(lines) or None
        if is_out_of_memory(lines):
            hint = "use a smaller batch or fewer instances, or unload another model"
            return fail(ErrorCode.RESOURCE_EXHAUSTED, f"out of GPU memory: {words} {what}", hint, cause=cause)
        return fail(ErrorCode.INTERNAL, f"{words} {what}: {sentence(lines)}", cause=cause)

    def _check(self, done: bool, what: str, lines: list[str]) -> None:
        if not done:
            raise self.failed(f"refuses {what}", lines)
