"""`ShapedContext`: an execution context, and the state last set in it; refusals are errors with TensorRT's message.

https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/infer/Core/ExecutionContext.html
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from aegisrt.backends.tensorrt.engine import LoadedEngine
from aegisrt.backends.tensorrt.log import is_out_of_memory, is_recording, sentence
from aegisrt.backends.tensorrt.profiles import choose, outside
from aegisrt.backends.tensorrt.run.late_outputs import DynamicOutput, new_allocator
from aegisrt.backends.tensorrt.run.scratch import context_over
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.devices.cuda.memory import DeviceBuffer

Shape = tuple[int, ...]
_UNSHARED = (
    "TensorRT 8.6 lets instances share a profile only if the engine was built with PROFILE_SHARING_0806: build it "
    "with `aegisrt build`, or set `instances: 1` and `cuda_graph: false`"
)


class ShapedContext:
    """In one thread at a time, with the device's context current."""

    def __init__(self, loaded: LoadedEngine, *, memory: DeviceBuffer | None = None) -> None:
        """Create it, with `memory` as scratch memory if passed.

        RESOURCE_EXHAUSTED: if the GPU has too little free memory.
        """
        self._loaded = loaded
        self._outputs = {item.public: item.name for item in loaded.tensors if not item.is_input}
        self._dynamic = {item.public: item.name for item in loaded.tensors if item.is_input and -1 in item.shape}
        self._infers = bool(self._dynamic) or any(item.on_host for item in loaded.tensors)
        self._addresses: dict[str, int] = {}
        """The addresses set last, by the engine's names."""
        self._allocators: list[Any] = []
        self.late: dict[str, DynamicOutput] = {}
        """Outputs whose shape is known only after each call, by the caller's names."""
        trt = loaded.trt
        with loaded.context, trt.lifecycle, trt.log.errors() as lines:
            if memory is None:
                self._context = loaded.icuda_engine.create_execution_context()
            else:
                self._context = context_over(trt.package, loaded.icuda_engine, memory)
        if self._context is None:
            raise self.failed("has no execution context for this engine", lines)
        self._profile: int = self._context.active_optimization_profile
        """-1 if TensorRT 8.6 has selected profile 0 for an earlier context: it does so once."""

    def close(self) -> None:
        """Destroy it, and free the memory of late outputs; the engine must outlive it."""
        with self._loaded.context.unless_lost(), self._loaded.trt.lifecycle:
            self._context = None
        self._allocators.clear()
        for output in self.late.values():
            output.free()

    def forget(self) -> None:
        """Set everything again at the next call: after an interrupt the state of the context is unknown."""
        self._addresses.clear()
        self._profile = self._context.active_optimization_profile

    def claim_profile(self, stream: int) -> None:
        """Select the first profile if the engine needs one, for shapes or sizes, and TensorRT selected none."""
        needs_one = bool(self._dynamic) or any(item.is_input and item.on_host for item in self._loaded.tensors)
        if self._profile < 0 and needs_one:
            self._select(0, stream)

    def select_profile(self, shapes: Mapping[str, Shape], stream: int) -> None:
        """Select a profile that fits the shapes, by the caller's names.

        Shapes and addresses must be set again afterwards: NVIDIA requires it of the shapes, and documents nothing for
        the addresses.

        INVALID_ARGUMENT: if no profile fits.
        """
        profiles = self._loaded.profiles
        if not self._dynamic or not profiles:
            return
        index = choose(shapes, profiles, self._profile)
        if index < 0:
            raise outside(shapes, profiles)
        if index != self._profile:
            self._select(index, stream)

    def set_shapes(self, shapes: Mapping[str, Shape]) -> None:
        """Set the shapes of the inputs, by the caller's names.

        INVALID_ARGUMENT: if the model cannot have them.
        """
        if not self._infers:
            return
        with self._loaded.trt.log.errors() as lines:
            for public, name in self._dynamic.items():
                shape = shapes[public]
                self._check(self._context.set_input_shape(name, shape), f"shape {shape} of `{public}`", lines)
            if not self._has_output_shapes(lines):
                message = f"TensorRT finds no output shapes for these inputs: {sentence(lines)}"
                raise fail(ErrorCode.INVALID_ARGUMENT, message, cause="\n".join(lines) or None)

    def _has_output_shapes(self, lines: list[str]) -> bool:
        """Return whether the input shapes lead to output shapes; `lines` collects TensorRT's errors."""
        if not self._loaded.trt.raises_safely:
            return self._infers_without_raising(lines)
        try:
            missing = self._context.infer_shapes()
        except RuntimeError:
            return False
        if missing:
            cause = "\n".join(lines) or None
            raise fail(ErrorCode.INTERNAL, f"TensorRT still needs {', '.join(missing)}", cause=cause)
        return True

    def _infers_without_raising(self, lines: list[str]) -> bool:
        """Return the result of `infer_shapes` for a version in which that would crash the process."""
        try:
            shapes = [tuple(self._context.get_tensor_shape(name)) for name in self._outputs.values()]
        except ValueError:  # an invalid `Dims` has -1 dimensions, which is not a length of a tuple
            return False
        smallest = min((dim for shape in shapes for dim in shape), default=0)
        return smallest >= 0 or (smallest == -1 and not lines)

    def shape(self, name: str) -> Shape | None:
        """Return the shape of an output, by the engine's name; None if it is known only after the call."""
        shape = tuple(self._context.get_tensor_shape(name))
        return None if -1 in shape else shape

    def set_address(self, name: str, address: int) -> None:
        """Set the address of a tensor, by the engine's name, unless it is the one set last."""
        if self._addresses.get(name) != address:
            mark = self._loaded.trt.log.mark
            done = self._context.set_tensor_address(name, address)
            self._check(done, f"the address of `{name}`", lambda: self._loaded.trt.log.since(mark))
            self._addresses[name] = address

    def allocate_late(self, public: str) -> bool:
        """Allocate an output's memory during each call, once its shape is known; return False if that is so already."""
        if public in self.late:
            return False
        output = DynamicOutput(self._loaded.context)
        allocator = new_allocator(self._loaded.trt.package, output)
        with self._loaded.trt.log.errors() as lines:
            done = self._context.set_output_allocator(self._outputs[public], allocator)
            self._check(done, f"the allocator of `{public}`", lines)
        self.late[public] = output
        self._allocators.append(allocator)
        return True

    def execute(self, stream: int) -> list[str] | None:
        """Enqueue the kernels; return None, or TensorRT's logged errors if it refused."""
        for output in self.late.values():
            output.shape = output.problem = None
        mark = self._loaded.trt.log.mark
        if self._context.execute_async_v3(stream):
            return None
        return self._loaded.trt.log.since(mark)

    def refused(self, lines: list[str]) -> BaseException:
        """Return why `execute` was refused."""
        for output in self.late.values():
            if output.problem is not None:
                return output.problem
        return self.failed("failed while executing", lines)

    def failed(self, action: str, lines: list[str]) -> ResultError:
        """Return the error for a call of TensorRT that failed; `action` completes `TensorRT 10.16 ...`."""
        name, cause = self._loaded.trt.display_name, "\n".join(lines) or None
        if is_out_of_memory(lines):
            hint = "use a smaller batch or fewer instances, or unload another model"
            return fail(ErrorCode.RESOURCE_EXHAUSTED, f"out of GPU memory: {name} {action}", hint, cause=cause)
        if is_recording(lines):
            message = f"{name} {action} while this process records a CUDA graph: {sentence(lines)}"
            return fail(ErrorCode.UNAVAILABLE, message, "try again after the recording", cause=cause)
        return fail(ErrorCode.INTERNAL, f"{name} {action}: {sentence(lines)}", cause=cause)

    def _select(self, index: int, stream: int) -> None:
        """Select a profile; the bindings of TensorRT raise for one that it refuses."""
        trt = self._loaded.trt
        is_8 = trt.version[0] == 8 and not trt.is_rtx
        with trt.log.errors() as lines:
            try:
                if is_8:
                    self._select_as_8_does(index)
                elif not self._context.set_optimization_profile_async(index, stream):
                    raise RuntimeError("it returned False")
            except RuntimeError:
                message = f"{trt.display_name} refuses profile {index} of the engine: {sentence(lines)}"
                hint = _UNSHARED if is_8 else None
                raise fail(ErrorCode.FAILED_PRECONDITION, message, hint, cause="\n".join(lines) or None) from None
        self._profile = index
        self._addresses.clear()

    def _select_as_8_does(self, index: int) -> None:
        """Raise RuntimeError for a profile that another context has; `set_optimization_profile_async` would crash.

        See `TensorRT.raises_safely`. TensorRT then copies what it needs when the next call is enqueued.
        """
        with self._loaded.trt.lifecycle, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._context.active_optimization_profile = index

    def _check(self, done: bool, subject: str, lines: list[str] | Callable[[], list[str]]) -> None:
        if not done:
            raise self.failed(f"refuses {subject}", lines if isinstance(lines, list) else lines())
