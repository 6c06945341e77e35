"""A recording stand-in for TensorRT, with exactly the classes, signatures and enumerations of a real binding wheel.

`tensorrt_api/` holds what `read_tensorrt_api.py` read from the wheels. A call of a method that the real class lacks, or
with arguments that it does not take, raises, and so does setting a property that it lacks; every call is recorded. The
engine "computes" with numpy on the memory of `FakeCuda`, and is as strict as TensorRT: addresses must lie in memory
that is held, shapes in the profile, and all must be set before it runs.
"""

from __future__ import annotations

import ctypes
import enum
import json
import types
from math import prod
from pathlib import Path

import numpy as np

API = sorted(Path(__file__).with_name("tensorrt_api").glob("*.json"))
_SIZES = {"FLOAT": 4, "HALF": 2, "BF16": 2, "INT8": 1, "INT32": 4, "INT64": 8, "BOOL": 1, "UINT8": 1}
_NUMPY = {
    "FLOAT": "f4",
    "HALF": "f2",
    "BF16": "u2",
    "INT8": "i1",
    "INT32": "i4",
    "INT64": "i8",
    "BOOL": "?",
    "UINT8": "u1",
}


def plan(version, *, inputs, outputs, profiles=(), operation="double", family=b"ftrt"):
    """Return the bytes of an engine file that the fake loads.

    `inputs` and `outputs` are `{name: (dtype, shape)}`; a profile is `{name: (min, opt, max)}`.
    """
    described = {"inputs": inputs, "outputs": outputs, "profiles": list(profiles), "operation": operation}
    body = json.dumps(described).encode()
    head = family + bytes(12) + (32 + len(body)).to_bytes(8, "little") + bytes(version[:4]).ljust(4, b"\0") + bytes(4)
    return head + body


class FakeTensorRT:
    """One imported distribution: `module` is what the backend imports."""

    def __init__(self, api, cuda):
        described = json.loads(Path(api).read_text(encoding="utf-8"))
        self.version = tuple(map(int, described["version"].split(".")))
        self.family = "tensorrt_rtx" if "rtx" in Path(api).name else "tensorrt"
        self.cuda = cuda
        self.calls = []
        self.destroyed = []
        self.refuse = {}
        """What a method answers instead, with the line it logs, by its name: once each."""
        self.logger = None
        self.module = self._module(described)

    def log(self, text, severity="ERROR"):
        if self.logger is not None:
            self.logger.log(types.SimpleNamespace(name=severity), text)

    def named(self, *names):
        """Return the recorded calls of these methods: name and arguments."""
        return [(name, *arguments) for name, arguments in self.calls if name in names]

    def _module(self, described):
        module = types.ModuleType(self.family)
        module.__version__ = described["version"]
        for name, members in described["enums"].items():
            setattr(module, name, enum.IntEnum(name, {member: number for number, member in enumerate(members)}))
        for name, surface in described["classes"].items():
            behaviour = globals().get(f"_{name}", _Plain)
            setattr(module, name, _restricted(self, module, name, surface, behaviour))
        for name, overloads in described["functions"].items():
            setattr(module, name, _method(self, name, overloads, lambda *arguments, **named: True, bound=False))
        return module


def _restricted(fake, module, class_name, surface, behaviour):
    """Return a class that offers what the real one offers, and no more."""

    def assign(self, name, value):
        if name.startswith("_"):
            object.__setattr__(self, name, value)
            return
        if not surface["properties"].get(name):
            raise AttributeError(f"{class_name} of {fake.family} {module.__version__} has no writable `{name}`")
        fake.calls.append((f"{class_name}.{name}=", (value,)))
        object.__setattr__(self, f"_set_{name}", value)

    def look_up(self, name):
        if name in surface["properties"]:
            value = self.__dict__.get(f"_set_{name}", self._properties().get(name))
            if value is not None:
                return value
            raise NotImplementedError(f"the fake {class_name} has no value of `{name}`")
        raise AttributeError(f"{class_name} of {fake.family} {module.__version__} has no `{name}`")

    def destroyed(self):
        if behaviour is not _Plain and getattr(self, "_made", False):
            fake.destroyed.append(class_name)

    body = {"__setattr__": assign, "__getattr__": look_up, "__del__": destroyed, "_fake": fake, "_trt": module}
    for name, overloads in surface["methods"].items():
        if name == "__init__" and behaviour in (_Plain, _Subclassed):
            continue
        own = getattr(behaviour, name, None)
        body[name] = _method(fake, name, overloads, own or _missing(class_name, name))
    return type(class_name, (behaviour,), body)


def _missing(class_name, name):
    def call(*arguments, **named):
        raise NotImplementedError(f"the fake {class_name} has no behaviour for `{name}`")

    return call


def _method(fake, name, overloads, behaviour, *, bound=True):
    def call(*arguments, **named):
        given = arguments[1:] if bound else arguments
        if not any(_takes(overload, given, named) for overload in overloads):
            raise TypeError(f"{name}{given}{named} fits none of the real signatures: {overloads}")
        if name != "__init__":
            fake.calls.append((name, (*given, *named.values())))
        if name in fake.refuse:
            answer, text = fake.refuse.pop(name)
            fake.log(text)
            return answer
        return behaviour(*arguments, **named)

    return call


def _takes(overload, given, named):
    wanted = [item for item in overload.split(", ") if item]
    if len(given) > len(wanted):
        return False
    rest = {item.removesuffix("?"): item.endswith("?") for item in wanted[len(given) :]}
    return set(named) <= set(rest) and all(optional or name in named for name, optional in rest.items())


class _Plain:
    """Base of all fake classes."""

    def _properties(self):
        return {}


class _Subclassed(_Plain):
    def __init__(self):
        pass


class _ILogger(_Subclassed):
    pass


class _IOutputAllocator(_Subclassed):
    pass


class _IProgressMonitor(_Subclassed):
    pass


class _Runtime(_Plain):
    def __init__(self, logger):
        self._made = True
        self._fake.logger = logger

    def deserialize_cuda_engine(self, serialized_engine):
        if self._fake.cuda._needs_context():
            raise RuntimeError("no CUDA context is current")
        engine = self._trt.ICudaEngine.__new__(self._trt.ICudaEngine)
        engine._made = True
        described = json.loads(bytes(serialized_engine)[32:])
        engine._described = described
        engine._io = {
            name: (dtype, tuple(shape), is_input)
            for side, is_input in (("inputs", True), ("outputs", False))
            for name, (dtype, shape) in described[side].items()
        }
        return engine


class _ICudaEngine(_Plain):
    def _properties(self):
        return {"num_io_tensors": len(self._io), "num_optimization_profiles": max(1, len(self._described["profiles"]))}

    def create_execution_context(self):
        context = self._trt.IExecutionContext.__new__(self._trt.IExecutionContext)
        context._made, context._engine, context._profile = True, self, 0
        context._shapes, context._addresses, context._allocators = {}, {}, {}
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
        return self._trt.TensorLocation.HOST if name.startswith("host_") else self._trt.TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name, profile_index):
        return self._described["profiles"][profile_index][name]


class _IExecutionContext(_Plain):
    def set_optimization_profile_async(self, profile_index, stream_handle):
        self._profile = profile_index
        self._shapes.clear()
        return profile_index < len(self._engine._described["profiles"]) and stream_handle in self._fake.cuda.streams

    def set_input_shape(self, name, shape):
        _, declared, is_input = self._engine._io[name]
        profiles = self._engine._described["profiles"]
        fits = (
            is_input and len(shape) == len(declared) and all(d in (-1, s) for d, s in zip(declared, shape, strict=True))
        )
        if fits and profiles and name in profiles[self._profile]:
            low, _, high = profiles[self._profile][name]
            fits = all(a <= s <= b for a, s, b in zip(low, shape, high, strict=True))
        if not fits:
            self._fake.log(f"IExecutionContext::setInputShape: Error Code 3: API Usage Error (shape {shape} of {name})")
            return False
        self._shapes[name] = tuple(shape)
        return True

    def infer_shapes(self):
        return [
            name for name, (_, shape, is_input) in self._engine._io.items()
            if is_input and -1 in shape and name not in self._shapes
        ]  # fmt: skip

    def get_tensor_shape(self, name):
        return self._shape(name)

    def _shape(self, name):
        _, declared, is_input = self._engine._io[name]
        if is_input:
            return self._shapes.get(name, declared)
        if self._engine._described["operation"] == "nonzero":
            return declared
        first = next(iter(self._shapes.values()), ())
        return tuple(first[axis] if dim == -1 else dim for axis, dim in enumerate(declared))

    def set_tensor_address(self, name, memory):
        self._addresses[name] = memory
        return name in self._engine._io

    def set_output_allocator(self, name, output_allocator):
        self._allocators[name] = output_allocator
        return name in self._engine._io

    def execute_async_v3(self, stream_handle):
        if self.infer_shapes():
            self._fake.log("IExecutionContext::enqueueV3: Error Code 3: not all shapes are specified")
            return False
        work = [self._one(name) for name, (_, _, is_input) in self._engine._io.items() if not is_input]
        if None in work:
            return False
        return not self._fake.cuda.enqueue(stream_handle, lambda: [step() for step in work])

    def _one(self, name):
        """Return what computes one output, or None where the memory for it is not in order."""
        operation = self._engine._described["operation"]
        source = next(iter(self._engine._described["inputs"]))
        if operation == "nonzero":
            found = np.ascontiguousarray(np.argwhere(self._reader(source)()).T, _NUMPY[self._engine._io[name][0]])
            allocator = self._allocators[name]
            late = "reallocate_output" if self._fake.version[0] < 10 else "reallocate_output_async"
            extra = () if self._fake.version[0] < 10 else (0,)
            address = getattr(allocator, late)(name, 0, max(found.nbytes, 1), 256, *extra)
            if not address:
                self._fake.log("output allocator returned null")
                return None
            allocator.notify_shape(name, found.shape)
            return lambda: ctypes.memmove(address, found.tobytes(), found.nbytes)
        target, size = self._addresses[name], self._bytes(name)
        if not (name.startswith("host_") or self._fake.cuda.holds(target, size)):
            raise MemoryError(f"output {name} has no memory of {size} bytes at {target:#x}")

        shape, read = self._shape(name), self._reader(source)

        def step():
            value = read()
            made = np.resize(value + value if operation == "double" else value, shape)
            made = np.ascontiguousarray(made.astype(_NUMPY[self._engine._io[name][0]]))
            ctypes.memmove(target, made.tobytes(), made.nbytes)

        return step

    def _reader(self, name):
        """Return what reads an input from where it lies now: a recorded graph keeps addresses and shapes."""
        address, size, shape = self._addresses[name], self._bytes(name), self._shape(name)
        if not self._fake.cuda.holds(address, size):
            raise MemoryError(f"input {name} has no memory of {size} bytes at {address:#x}")
        dtype = _NUMPY[self._engine._io[name][0]]
        return lambda: np.frombuffer(ctypes.string_at(address, size), dtype).reshape(shape)

    def _bytes(self, name):
        return prod(self._shape(name)) * _SIZES[self._engine._io[name][0]]


# -- building ----------------------------------------------------------------------------------------------------------


class _Builder(_Plain):
    def __init__(self, logger):
        self._fake.logger = logger

    def create_network(self, flags=0):
        network = self._trt.INetworkDefinition.__new__(self._trt.INetworkDefinition)
        network._tensors, network._flags = [], flags
        return network

    def create_builder_config(self):
        config = self._trt.IBuilderConfig.__new__(self._trt.IBuilderConfig)
        config._flags, config._profiles = set(), []
        return config

    def create_optimization_profile(self):
        profile = self._trt.IOptimizationProfile.__new__(self._trt.IOptimizationProfile)
        profile._spans = {}
        return profile

    def build_serialized_network(self, network, config):
        monitor = config.__dict__.get("_set_progress_monitor")
        if monitor is not None:
            monitor.phase_start("Building engine", None, 2)
            monitor.step_complete("Building engine", 0)
            monitor.phase_finish("Building engine")
        family = b"vtrt" if self._fake.family == "tensorrt_rtx" else b"ftrt"
        inputs = {item._name: ("FLOAT", item._shape) for item in network._tensors}
        return plan(
            self._fake.version,
            inputs=inputs,
            outputs={"y": ("FLOAT", [-1, 3])},
            profiles=config._profiles,
            family=family,
        )


class _INetworkDefinition(_Plain):
    def _properties(self):
        return {"num_inputs": len(self._tensors), "num_layers": 0}

    def get_input(self, index):
        return self._tensors[index]


class _ITensor(_Plain):
    def _properties(self):
        return {"name": self._name, "shape": self._shape, "is_shape_tensor": False}


class _IBuilderConfig(_Plain):
    def set_flag(self, flag):
        self._flags.add(flag)

    def clear_flag(self, flag):
        self._flags.discard(flag)

    def set_memory_pool_limit(self, pool, pool_size):
        pass

    def set_preview_feature(self, feature, enable):
        pass

    def get_tactic_sources(self):
        return (1 << len(self._trt.TacticSource)) - 1

    def set_tactic_sources(self, tactic_sources):
        return True

    def set_compute_capability(self, compute_capability, index):
        return True

    def add_optimization_profile(self, profile):
        self._profiles.append(profile._spans)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache):
        cache = self._trt.ITimingCache.__new__(self._trt.ITimingCache)
        cache._content = bytes(serialized_timing_cache) + b"+"
        return cache

    def set_timing_cache(self, cache, ignore_mismatch):
        self._cache = cache
        return True

    def get_timing_cache(self):
        return self._cache


class _ITimingCache(_Plain):
    def serialize(self):
        return self._content


class _IOptimizationProfile(_Plain):
    def set_shape(self, input, min, opt, max):  # noqa: A002
        self._spans[input] = (min, opt, max)


class _OnnxParser(_Plain):
    def __init__(self, network, logger):
        self._network = network
        self._errors = []

    def _properties(self):
        return {"num_errors": len(self._errors)}

    def parse_from_file(self, model):
        tensor = self._trt.ITensor.__new__(self._trt.ITensor)
        tensor._name, tensor._shape = "x", (-1, 3)
        self._network._tensors.append(tensor)
        return True

    def set_flag(self, flag):
        pass

    def get_error(self, index):
        return self._errors[index]
