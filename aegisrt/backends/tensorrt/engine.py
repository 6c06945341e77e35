"""`LoadedEngine`: runtime and engine of one engine file, and the description of its tensors.

Runtime, engine and execution contexts refer to each other in C++ without owning each other: the contexts are destroyed
first, then the engine, then the runtime
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/c-api-docs.html#performing-inference).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aegisrt.backends.tensorrt.distribution import TensorRT
from aegisrt.backends.tensorrt.log import is_out_of_memory, is_recording, no_gpu, sentence
from aegisrt.backends.tensorrt.options import InputRange
from aegisrt.backends.tensorrt.plan import PlanHeader
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.sidecar import bare_size
from aegisrt.core.tensor import DataType, Signature, TensorSpec
from aegisrt.devices.cuda.context import CudaContext
from aegisrt.devices.cuda.memory import DeviceBuffer

_FORMATS_BY_PROFILE = (8, 6, 1)
"""The first version whose libraries have `get_tensor_format` and its like with the index of a profile."""
_DTYPES = {
    "FLOAT": DataType.FP32, "HALF": DataType.FP16, "BF16": DataType.BF16, "INT8": DataType.INT8,
    "INT32": DataType.INT32, "INT64": DataType.INT64, "BOOL": DataType.BOOL, "UINT8": DataType.UINT8,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class EngineTensor:
    """An input or output of the engine."""

    name: str
    """The engine's name for it."""
    public: str
    """The model's name for it, which callers use."""
    dtype: DataType
    """The engine's dtype; the model may have INT64 and TensorRT 8 INT32."""
    shape: tuple[int, ...]
    """-1 for a dynamic dimension."""
    is_input: bool
    on_host: bool
    """A shape tensor: TensorRT reads or writes it in host memory."""


class LoadedEngine:
    """One loaded engine file: the weights, which all instances share."""

    def __init__(
        self,
        trt: TensorRT,
        context: CudaContext,
        runtime: Any,
        icuda_engine: Any,
        *,
        size_bytes: int,
        built_by: tuple[int, ...],
    ) -> None:
        self.trt = trt
        self._built_by = built_by
        self.context = context
        self.runtime = runtime
        self.icuda_engine = icuda_engine
        self.size_bytes = size_bytes
        """Size of the engine file, which is mostly weights; TensorRT does not report their size on the GPU."""
        self.tensors: tuple[EngineTensor, ...] = ()
        self.profiles: list[dict[str, InputRange]] = []
        self.signature = Signature((), ())
        self.metadata: dict[str, Any] = {}
        self.model_metadata: dict[str, str] = {}

    def close(self) -> None:
        """Destroy the engine, then the runtime; every execution context must have been destroyed."""
        with self.context.unless_lost(), self.trt.lifecycle:
            self.icuda_engine = None
            self.runtime = None

    def describe(self, signature: Signature | None) -> None:
        """Read the tensors and the profiles; `signature` is the model's own, if the build recorded it."""
        self.tensors = tuple(self._tensors(signature))
        self.signature = self._signature(signature)
        count = self.icuda_engine.num_optimization_profiles
        self._refuse_formats(count)
        self.profiles = [self._profile(index) for index in range(count)]

    def narrowed(self) -> dict[str, str]:
        """Return the dtypes of tensors that are narrower in the engine than in the model, by the caller's names."""
        return {item.public: str(item.dtype) for item in self.tensors if self.public_dtype(item) is not item.dtype}

    def public_dtype(self, tensor: EngineTensor) -> DataType:
        """Return the dtype that callers use for a tensor."""
        specs = self.signature.inputs if tensor.is_input else self.signature.outputs
        return next((spec.dtype for spec in specs if spec.name == tensor.public), tensor.dtype)

    def _tensors(self, signature: Signature | None) -> list[EngineTensor]:
        package, engine = self.trt.package, self.icuda_engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        is_input = {name: engine.get_tensor_mode(name) == package.TensorIOMode.INPUT for name in names}
        public = _public_names(names, is_input, signature)
        return [
            EngineTensor(
                name,
                public[name],
                _dtype(name, engine.get_tensor_dtype(name)),
                tuple(engine.get_tensor_shape(name)),
                is_input[name],
                self._is_on_host(name),
            )
            for name in names
        ]

    def _signature(self, model: Signature | None) -> Signature:
        """Return the model's order, names and dtypes if they are known, with the engine's fixed sizes."""
        inputs = {tensor.public: tensor for tensor in self.tensors if tensor.is_input}
        outputs = {tensor.public: tensor for tensor in self.tensors if not tensor.is_input}
        if model is None:
            return Signature(tuple(map(_spec, inputs.values())), tuple(map(_spec, outputs.values())))
        return Signature(
            tuple(_spec(inputs[spec.name], spec) for spec in model.inputs),
            tuple(_spec(outputs[spec.name], spec) for spec in model.outputs),
            defaults_fixed=model.defaults_fixed,
        )

    def _refuse_formats(self, profiles: int) -> None:
        """Raise FAILED_PRECONDITION for tensors that are not in C order: vectorized ones also take more memory."""
        version = min(self.trt.version, self._built_by)
        if not self.trt.is_rtx and version < _FORMATS_BY_PROFILE:
            # Bindings of 8.6.1 may run over libraries of 8.6.0, whose engines report 8.6.0: an index ends the process.
            profiles = min(profiles, 1)
        for tensor in self.tensors:
            for index in range(profiles):
                of_profile = (tensor.name, index) if index else (tensor.name,)
                if not self._is_linear(*of_profile):
                    layout = self.icuda_engine.get_tensor_format_desc(*of_profile)
                    message = f"the engine has `{tensor.name}` as `{layout}`, and only LINEAR is served"
                    hint = "build it again: `aegisrt build`, or `trtexec` without I/O formats"
                    raise fail(ErrorCode.FAILED_PRECONDITION, message, hint)

    def _is_linear(self, name: str, *profile: int) -> bool:
        formats = getattr(self.trt.package, "TensorFormat", None)
        if formats is None:  # the lean and the dispatch runtime have none
            return bool(self.icuda_engine.get_tensor_vectorized_dim(name, *profile) == -1)
        return bool(self.icuda_engine.get_tensor_format(name, *profile) == formats.LINEAR)

    def _is_on_host(self, name: str) -> bool:
        locations = getattr(self.trt.package, "TensorLocation", None)
        if locations is None:  # the lean runtime of 8.6 has none
            return bool(self.icuda_engine.is_shape_inference_io(name))
        return bool(self.icuda_engine.get_tensor_location(name) == locations.HOST)

    def _profile(self, index: int) -> dict[str, InputRange]:
        spans = {}
        for tensor in self.tensors:
            if tensor.is_input and not tensor.on_host and -1 in tensor.shape:
                low, middle, high = self.icuda_engine.get_tensor_profile_shape(tensor.name, index)
                spans[tensor.public] = InputRange.model_construct(min=tuple(low), opt=tuple(middle), max=tuple(high))
        return spans


def open_engine(
    trt: TensorRT, context: CudaContext, path: Path, header: PlanHeader, *, host_code_allowed: bool
) -> LoadedEngine:
    """Return the engine of the file at `path`.

    Errors as in `_refused`: if TensorRT does not load the file.
    """
    with path.open("rb") as stream:
        content = stream.read(bare_size(path))  # without the trailer: TensorRT gets the plan alone
    with context, trt.lifecycle, trt.log.errors() as lines:
        _check_allocation(context, path)
        runtime = trt.create("Runtime")
        if runtime is None:
            raise _refused(trt, path, header, lines)
        runtime.engine_host_code_allowed = host_code_allowed
        icuda_engine = runtime.deserialize_cuda_engine(content)
        if icuda_engine is None:
            del runtime
            _raise_if_lost(context)
            raise _refused(trt, path, header, lines)
    return LoadedEngine(trt, context, runtime, icuda_engine, size_bytes=len(content), built_by=header.version[:3])


def _check_allocation(context: CudaContext, path: Path) -> None:
    """Check that this thread may allocate on the GPU.

    UNAVAILABLE: if it records a CUDA graph. TensorRT 8.6 ends the process if a runtime is created meanwhile (SIGSEGV in
    its bindings, seen with 8.6.1 on driver 580.159).
    """
    try:
        DeviceBuffer(context, 0).free()
    except ResultError as problem:
        if problem.error.code is not ErrorCode.UNAVAILABLE or context.lost is not None:
            raise
        message = f"{path} cannot be loaded now: {problem.error.message}"
        hint = "if this thread records a CUDA graph, load before or after the recording"
        raise fail(ErrorCode.UNAVAILABLE, message, hint, cause=problem.error.cause) from None


def _raise_if_lost(context: CudaContext) -> None:
    """Raise the error after which the device cannot be used, if any: TensorRT then refuses every file."""
    try:
        DeviceBuffer(context, 0).free()
    except ResultError:
        if context.lost is not None:
            raise


def _refused(trt: TensorRT, path: Path, header: PlanHeader, lines: list[str]) -> ResultError:
    """Return the error for a file that TensorRT did not load, by its log.

    RESOURCE_EXHAUSTED: if the GPU has too little free memory.
    UNAVAILABLE: if the machine has no GPU, or if the application is recording a CUDA graph.
    PERMISSION_DENIED: if the engine contains code that is not allowed to run.
    FAILED_PRECONDITION: if it was built for another version or another GPU.
    DATA_LOSS: otherwise.
    """
    cause, reason = "\n".join(lines) or None, sentence(lines)
    if is_out_of_memory(lines):
        hint = "unload another model, or use a smaller one"
        return fail(ErrorCode.RESOURCE_EXHAUSTED, f"out of GPU memory while loading {path}", hint, cause=cause)
    missing = no_gpu(lines)
    if missing:
        message = f"{trt.display_name} needs a GPU to load {path}: {missing}"
        return fail(ErrorCode.UNAVAILABLE, message, "see `aegisrt devices`", cause=cause)
    if is_recording(lines):
        message = f"{path} cannot be loaded while this process records a CUDA graph: {reason}"
        return fail(ErrorCode.UNAVAILABLE, message, "load it before or after the recording", cause=cause)
    text = (cause or "").lower()
    if "host code" in text or "lean runtime" in text:
        hint = "set `engine_host_code_allowed: true`, if you trust the source of the file"
        return fail(
            ErrorCode.PERMISSION_DENIED, f"{path} contains code that would run in this process", hint, cause=cause
        )
    if any(word in text for word in ("version", "compute capability", "architecture", "different gpu", "device")):
        hint = "build it again here: `aegisrt build`, or `load` the ONNX model it was built from"
        message = (
            f"{path} was built by {header.display_name}, and {trt.display_name} on this GPU does not load it: {reason}"
        )
        return fail(ErrorCode.FAILED_PRECONDITION, message, hint, cause=cause)
    message = f"{trt.display_name} does not load {path}: {reason}"
    return fail(ErrorCode.DATA_LOSS, message, "copy or build it again", cause=cause)


def _public_names(names: list[str], is_input: dict[str, bool], model: Signature | None) -> dict[str, str]:
    """Return the model's names by the engine's: the parser renames an input that is also an output."""
    public = {name: name for name in names}
    if model is not None:
        wanted = [spec.name for spec in model.inputs]
        missing = [name for name in wanted if not is_input.get(name)]
        renamed = [name for name in names if is_input[name] and name not in wanted]
        public.update(zip(renamed, missing, strict=False))
    return public


def _spec(tensor: EngineTensor, model: TensorSpec | None = None) -> TensorSpec:
    dims = tuple(None if dim == -1 else dim for dim in tensor.shape)
    if model is None:
        return TensorSpec(tensor.public, tensor.dtype, dims)
    own = model.shape if model.shape is not None and len(model.shape) == len(dims) else dims
    shape = tuple(named if dim is None else dim for dim, named in zip(dims, own, strict=True))
    return TensorSpec(model.name, model.dtype, shape)


def _dtype(name: str, kind: Any) -> DataType:
    dtype = _DTYPES.get(kind.name)
    if dtype is None:
        raise fail(ErrorCode.UNIMPLEMENTED, f"`{name}` is {kind.name}, a data type that AegisRT does not support")
    return dtype
