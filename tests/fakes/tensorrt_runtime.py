"""The run time of the stand-in for TensorRT: as strict as the headers of 8.6, 10 and 11 say.

Addresses must be aligned and lie in memory that is held, shapes in the profile, and all must be set before it runs. On
TensorRT 8 profile 0 goes to the first context alone. A recording fails right after a change of shapes, and a graph must
not be launched once its context was told anything, or is gone.
"""

import contextlib
import ctypes
import json
import threading
import warnings
from math import prod

import numpy as np

from tests.fakes.tensorrt_base import Plain, Subclassed
from tests.fakes.tensorrt_compute import NUMPY, SIZES, computation

ALIGNMENT = 256
SCRATCH_BYTES = 4096


class ILogger(Subclassed):
    pass


class IOutputAllocator(Subclassed):
    pass


class IProgressMonitor(Subclassed):
    pass


class Runtime(Plain):
    def __init__(self, logger):
        assert not self._fake.cuda.captures, "a runtime that is created during a recording ends the process (8.6)"
        self._made = True
        self._fake.logger = logger

    def deserialize_cuda_engine(self, serialized_engine):
        if self._fake.cuda._needs_context():
            raise RuntimeError("no CUDA context is current")
        try:
            described = json.loads(bytes(serialized_engine)[32:])
        except ValueError:
            self._fake.log("IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion)")
            return None
        tensors = {
            name: (dtype, tuple(shape), is_input)
            for side, is_input in (("inputs", True), ("outputs", False))
            for name, (dtype, shape) in described[side].items()
        }
        return self._new(
            "ICudaEngine", made=True, described=described, io=tensors, taken=[], compute=computation(described)
        )


class ICudaEngine(Plain):
    def _properties(self):
        return {
            "num_io_tensors": len(self._io),
            "num_optimization_profiles": max(1, len(self._described["profiles"])),
            "device_memory_size": SCRATCH_BYTES,
            "device_memory_size_v2": SCRATCH_BYTES,
        }

    def create_execution_context(self, strategy=None):
        return self._context(0 if strategy is not None and strategy.name == "USER_MANAGED" else -1)

    def create_execution_context_without_device_memory(self):
        return self._context(0)

    def _context(self, memory):
        free = not self._fake.is_old or 0 not in self._taken
        context = self._new("IExecutionContext", made=True, engine=self, memory=memory, profile=0 if free else -1)
        context._shapes, context._addresses, context._allocators = {}, {}, {}
        context._told, context._flushed, context._busy = [0], False, threading.Lock()
        if free:
            self._taken.append(0)
        return context

    def get_tensor_name(self, index):
        return list(self._io)[index]

    def get_tensor_mode(self, name):
        return self._trt.TensorIOMode.INPUT if self._io[name][2] else self._trt.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return self._trt.DataType[self._io[name][0]]

    def get_tensor_shape(self, name):
        return self._io[name][1]

    def get_tensor_location(self, name):
        return self._trt.TensorLocation.HOST if holds_sizes(name) else self._trt.TensorLocation.DEVICE

    def is_shape_inference_io(self, name):
        return holds_sizes(name)

    def _check_profile(self, index):
        """End the process if an index is given to libraries of 8.6.0: they lack these calls of the 8.6.1 bindings."""
        if index is not None and self._fake.libraries == (8, 6, 0):
            raise self._fake.died("get_tensor_format with an index")
        assert (index or 0) < self.num_optimization_profiles

    def get_tensor_format(self, name, profile_index=None):
        self._check_profile(profile_index)
        return self._trt.TensorFormat[self._described["formats"].get(name, "LINEAR")]

    def get_tensor_format_desc(self, name, profile_index=None):
        self._check_profile(profile_index)
        found = self._described["formats"].get(name, "LINEAR")
        return "Row major linear FP32 format (kLINEAR)" if found == "LINEAR" else f"vectorized format (k{found})"

    def get_tensor_vectorized_dim(self, name, profile_index=None):
        self._check_profile(profile_index)
        return -1 if self._described["formats"].get(name, "LINEAR") == "LINEAR" else 1

    def get_tensor_profile_shape(self, name, profile_index):
        return self._described["profiles"][profile_index][name]


def holds_sizes(name):
    """Return whether a tensor is one that TensorRT reads or writes on the host: by its name, in the stand-in."""
    return name.startswith("host_")


class InvalidDims:
    """The bindings' `Dims` of -1 dimensions."""

    def __len__(self):
        return -1

    def __getitem__(self, index):
        raise IndexError


class IExecutionContext(Plain):
    def _properties(self):
        return {"active_optimization_profile": self._profile}

    def _die(self):
        self._told[0] += 1
        if self._fake.cuda.in_flight:
            self._fake.destroyed_in_use.append("IExecutionContext")
        if self._profile in self._engine._taken:
            self._engine._taken.remove(self._profile)

    def set_device_memory(self, memory, size):
        assert size >= SCRATCH_BYTES
        self._memory = memory

    def _set(self, name, value):
        """Switch the profile as a property of TensorRT 8, which warns that it is old."""
        if name == "active_optimization_profile":
            warnings.warn("Use set_optimization_profile_async instead.", DeprecationWarning, stacklevel=3)
            if not self._select(value):
                raise RuntimeError("Error in set optimization profile.")

    def set_optimization_profile_async(self, profile_index, stream_handle):
        assert stream_handle in self._fake.cuda.streams
        if not self._select(profile_index):
            self._fake.raise_without_the_gil("Error in set optimization profile async.")
        return True

    def _select(self, index):
        described = self._engine._described
        taken = index in self._engine._taken and index != self._profile
        if index >= len(described["profiles"]) or (self._fake.is_old and taken and not described["shared"]):
            self._fake.log("IExecutionContext::setOptimizationProfile: Error Code 3: the profile is in use")
            return False
        if self._profile in self._engine._taken:
            self._engine._taken.remove(self._profile)
        self._engine._taken.append(index)
        self._profile, self._flushed = index, False
        self._told[0] += 1
        self._shapes.clear()
        self._addresses.clear()
        return True

    def set_input_shape(self, name, shape):
        _, declared, is_input = self._engine._io[name]
        profiles = self._engine._described["profiles"]
        fits = (
            is_input and len(shape) == len(declared) and all(d in (-1, s) for d, s in zip(declared, shape, strict=True))
        )
        if fits and -1 in declared and profiles:
            fits = self._profile >= 0
            low, _, high = profiles[self._profile][name]
            fits = fits and all(a <= s <= b for a, s, b in zip(low, shape, high, strict=True))
        if not fits:
            self._fake.log(f"IExecutionContext::setInputShape: Error Code 3: API Usage Error (shape {shape} of {name})")
            return False
        if self._shapes.get(name) != tuple(shape):
            self._told[0] += 1
            self._flushed = False
        self._shapes[name] = tuple(shape)
        return True

    def infer_shapes(self):
        missing = self._untold()
        if not missing and not self._agree():
            self._fake.raise_without_the_gil("infer_shapes error code: -1")
        return missing

    def _untold(self):
        told = {True: self._addresses, False: self._shapes}
        return [
            name for name, (_, shape, is_input) in self._engine._io.items()
            if is_input and (-1 in shape or holds_sizes(name)) and name not in told[holds_sizes(name)]
        ]  # fmt: skip

    def _agree(self):
        """Return whether the outputs have a shape; a disagreement is logged."""
        try:
            for name, (_, _, is_input) in self._engine._io.items():
                if not is_input:
                    self._shape(name)
        except ValueError as error:
            self._fake.log(f"IExecutionContext::inferShapes: Error Code 7: Internal Error ({error})")
            return False
        return True

    def get_tensor_shape(self, name):
        _, declared, is_input = self._engine._io[name]
        if not is_input and -1 in declared and (self._untold() or not self._agree()):
            return InvalidDims()
        return self._shape(name)

    def _shape(self, name):
        _, declared, is_input = self._engine._io[name]
        if is_input:
            return self._shapes.get(name, declared)
        if self._engine._described["operation"] == "nonzero" or -1 not in declared:
            return declared
        inputs = {item: dtype for item, (dtype, _, given) in self._engine._io.items() if given}
        zeros = {item: np.zeros(self._shape(item), NUMPY[dtype]) for item, dtype in inputs.items()}
        return self._engine._compute(zeros)[name].shape

    def set_tensor_address(self, name, memory):
        if memory % ALIGNMENT:
            raise MemoryError(f"{name} was told an address that is not aligned: {memory:#x}")
        if self._addresses.get(name) != memory:
            self._told[0] += 1
        self._addresses[name] = memory
        return name in self._engine._io

    def set_output_allocator(self, name, output_allocator):
        self._allocators[name] = output_allocator
        return name in self._engine._io

    def execute_async_v3(self, stream_handle):
        if not self._busy.acquire(blocking=False):
            raise RuntimeError("one execution context runs in two threads")
        try:
            return self._enqueue(stream_handle)
        finally:
            self._busy.release()

    def _enqueue(self, stream_handle):
        cuda = self._fake.cuda
        memory = self.__dict__.get("_set_device_memory", self._memory)
        if memory == 0 or (memory > 0 and not cuda.holds(memory, SCRATCH_BYTES)):
            raise MemoryError("the context has no memory to work in")
        needs_profile = self._shapes or any(holds_sizes(name) for name, item in self._engine._io.items() if item[2])
        if self._untold() or not self._agree() or (self._profile < 0 and needs_profile):
            self._fake.log("IExecutionContext::enqueueV3: Error Code 3: not all shapes are specified")
            return False
        if stream_handle in cuda.captures and not self._flushed:
            self._fake.log(
                "IExecutionContext::enqueueV3: Error Code 1: operation not permitted when stream is capturing"
            )
            cuda.captures[stream_handle] = None
            return False
        if self._engine._described["operation"] == "nonzero":
            return self._enqueue_late()
        work = self._work()
        if stream_handle in cuda.captures:
            work = self._only_unchanged(work)
        self._flushed = True
        return not cuda.enqueue(stream_handle, work)

    def _only_unchanged(self, work):
        told, then = self._told, self._told[0]

        def replay():
            if told[0] != then:
                raise RuntimeError("a graph was launched whose execution context had changed since")
            work()

        return replay

    def _work(self):
        """Return what computes all outputs from where inputs lie now: a recorded graph keeps addresses and shapes."""
        io, cuda = self._engine._io, self._fake.cuda
        sources, targets = {}, {}
        for name, (dtype, _, is_input) in io.items():
            shape = self._shape(name)
            size = prod(shape) * SIZES[dtype]
            address = self._addresses[name] if name not in self._allocators else self._allocated(name, size, shape)
            if not holds_sizes(name) and not cuda.holds(address, size):
                raise MemoryError(f"{name} has no memory of {size} bytes at {address:#x}")
            (sources if is_input else targets)[name] = (address, size, NUMPY[dtype], shape)
        compute = self._engine._compute

        def work():
            inputs = {
                name: np.frombuffer(ctypes.string_at(address, size), dtype).reshape(shape)
                for name, (address, size, dtype, shape) in sources.items()
            }
            made = compute(inputs)
            for name, (address, size, dtype, shape) in targets.items():
                value = made[name]
                value = value if value.dtype.name == "bfloat16" else value.astype(dtype)
                content = np.resize(value, shape).tobytes() if value.shape != shape else value.tobytes()
                ctypes.memmove(address, content, size)

        return work

    def _enqueue_late(self):
        """Compute the one output whose shape is known only afterwards, into memory of its allocator."""
        (source,), (name,) = self._engine._described["inputs"], self._engine._described["outputs"]
        dtype, address = NUMPY[self._engine._io[source][0]], self._addresses[source]
        size = prod(self._shape(source)) * np.dtype(dtype).itemsize
        value = np.frombuffer(ctypes.string_at(address, size), dtype).reshape(self._shape(source))
        found = self._engine._compute({source: value})[name]
        target = self._allocated(name, found.nbytes, found.shape)
        if not target:
            self._fake.log("output allocator returned null")
            return False
        ctypes.memmove(target, found.tobytes(), found.nbytes)
        return True

    def _allocated(self, name, size, shape):
        """Return the address of an output with an allocator, whatever address was also set; 0 if there is none."""
        allocator, old = self._allocators[name], self._fake.is_old
        arguments = (name, self._addresses.get(name, 0), max(size, 1), ALIGNMENT)
        reallocate = allocator.reallocate_output if old else allocator.reallocate_output_async
        try:
            target = reallocate(*arguments, *(() if old else (0,)))
        except BaseException:  # noqa: BLE001  (the bindings print it, and TensorRT is told of no memory)
            target = 0
        if target:
            with contextlib.suppress(BaseException):  # printed too
                allocator.notify_shape(name, shape)
        return target
