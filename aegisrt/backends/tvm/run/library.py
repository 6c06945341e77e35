"""`TVMLibrary`: a compiled library in this process, and the slots that call its functions, one VM each.

A VM in two threads at once kills the process; several VMs over one library share its code and weights. Facts of TVM
0.27: https://tvm.apache.org/docs/reference/api/python/relax/relax.html#tvm.relax.VirtualMachine.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aegisrt.backends.tvm.run.index_bounds import Bounds, check_bounds
from aegisrt.backends.tvm.run.tensors import Handover, Stage, aligned
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.stamp import Stamp, file_sha256
from aegisrt.core.tensor import Array, Signature, TensorSpec, shape_text

ENTRIES = ("main", "default", "default_function")
_VM_KIND = "relax.VMExecutable"
Shapes = tuple[tuple[int, ...], ...]

_opened: dict[str, Stamp | None] = {}
_opening = threading.Lock()


def open_library(path: Path, *, holds_kernels: bool = False) -> Any:
    """Return the module of the library at `path`; it is unmapped when the last reference goes.

    The linker identifies a library by its path. So a file that replaced another at its path is opened as a copy under
    a name of its own. So is each further opening of a library that `holds_kernels` of a GPU: its code keeps pointers
    to the kernels of one module, in variables that all modules of the mapping share, and another module's release
    would leave them dangling
    (`library_ctx_addr` in https://github.com/apache/tvm-ffi/blob/main/src/ffi/extra/library_module.cc).
    TVM_BIND_THREADS=0 keeps TVM from pinning the caller's thread to one core for good at its first parallel loop.
    """
    os.environ.setdefault("TVM_BIND_THREADS", "0")
    import tvm  # noqa: F401  (it registers the loader of VM executables)
    import tvm_ffi

    real, stamp = os.path.realpath(path), Stamp.of(path)
    with _opening:
        first = real not in _opened
        if _opened.setdefault(real, stamp) == stamp and (first or not holds_kernels):
            return tvm_ffi.load_module(real, keep_module_alive=False)
        with tempfile.TemporaryDirectory(prefix="aegisrt-") as folder:
            # no Path: it interns its parts, and from Python 3.12 on for good
            copy = f"{folder}/{file_sha256(path)}{path.suffix}"
            shutil.copyfile(path, copy)
            return tvm_ffi.load_module(copy, keep_module_alive=False)


def find_entry(module: Any, configured: str | None, path: Path) -> str:
    """Return the name of the function to call.

    INVALID_ARGUMENT: if the library does not have it.
    """
    virtual = module["vm_load_executable"]() if is_vm(module) else module
    for name in (configured,) if configured else ENTRIES:
        if virtual.implements_function(name):
            return name
    wanted = f"`{configured}`" if configured else "or ".join(f"`{name}` " for name in ENTRIES).strip()
    hint = "name another with `entry` in the backend's options" if configured else "name one with `entry`"
    raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} has no function {wanted}", hint)


def is_vm(module: Any) -> bool:
    """Return whether the library is a Relax VM executable; else it has plain operators."""
    return str(module.kind) == _VM_KIND


@dataclass(slots=True, eq=False)
class TVMLibrary:
    """An open library, and the facts of its functions."""

    module: Any
    path: Path
    signature: Signature
    entry: str | None
    """The function for every shape that has none of its own; None if there is no such function."""
    variants: dict[Shapes, str] = field(default_factory=dict)
    """Functions of fixed shape, by the shapes of the inputs in order."""
    computed: list[bool] = field(default_factory=list)
    """For each output, whether each call is known to compute it into fresh memory; empty: for none."""
    bounds: list[Bounds] = field(default_factory=list)
    """The ranges of inputs that are indices."""
    threads: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    model_metadata: dict[str, str] = field(default_factory=dict)


class TVMSlot(ABC):
    """One instance of a library; serves one call at a time, in any thread."""

    @abstractmethod
    def call(self, inputs: dict[str, Array], wanted: tuple[str, ...]) -> Sequence[Any]:
        """Return the wanted outputs."""

    @abstractmethod
    def close(self) -> None:
        """Release the memory of the instance."""


class CpuSlot(TVMSlot):
    """An instance on the CPU."""

    def __init__(self, library: TVMLibrary) -> None:
        self._threads = library.threads
        self._signature = library.signature
        self._stages = [(spec.name, Stage(spec)) for spec in library.signature.inputs]
        outputs = library.signature.outputs
        self._handover = Handover(outputs, library.computed or [False] * len(outputs))

    def close(self) -> None:
        """Do nothing: the memory of an instance on the CPU goes with its object."""


class Functions:
    """A VM over the library, and its functions by the shapes that they take."""

    def __init__(self, library: TVMLibrary, device: Any) -> None:
        from tvm import relax

        self._vm = relax.VirtualMachine(library.module, device)
        self._default: Callable[..., Any] | None = self._vm[library.entry] if library.entry else None
        self._variants: dict[Shapes, Callable[..., Any]] = {
            shapes: self._vm[name] for shapes, name in library.variants.items()
        }
        self._bounds = library.bounds
        self.single = len(library.signature.outputs) == 1
        """Whether a function returns one tensor, instead of a list."""

    def pick(self, inputs: dict[str, Array], shapes: Shapes | None = None) -> Callable[..., Any]:
        """Return the function for inputs of these shapes; `shapes` if they are known already.

        INVALID_ARGUMENT: if there is none, or an index is out of range.
        """
        if self._bounds:
            check_bounds(self._bounds, inputs)
        function = self._default
        if self._variants:
            if shapes is None:
                shapes = tuple([array.shape for array in inputs.values()])
            function = self._variants.get(shapes, function)
        if function is None:
            raise self._no_function(inputs)
        return function

    def _no_function(self, inputs: dict[str, Array]) -> Exception:
        given = ", ".join(f"`{name}` {shape_text(array.shape)}" for name, array in inputs.items())
        available = "; ".join(
            ", ".join(f"`{name}` {shape_text(shape)}" for name, shape in zip(inputs, shapes, strict=True))
            for shapes in self._variants
        )
        message = f"the library has no function for {given}, and none of dynamic shape"
        return fail(ErrorCode.INVALID_ARGUMENT, message, f"it takes {available}")


class VirtualMachineSlot(CpuSlot):
    """A Relax VM on the CPU."""

    def __init__(self, library: TVMLibrary) -> None:
        super().__init__(library)
        import tvm

        self._functions = Functions(library, tvm.cpu())

    def call(self, inputs: dict[str, Array], wanted: tuple[str, ...]) -> Sequence[Array]:
        """Return the wanted outputs."""
        function = self._functions.pick(inputs)
        arguments = [stage(inputs[name]) for name, stage in self._stages]
        use_threads(self._threads)
        answer = function(*arguments)
        return self._handover([answer] if self._functions.single else answer, arguments, wanted)


class OperatorSlot(CpuSlot):
    """One operator of a plain library; it writes into outputs that the caller allocates."""

    def __init__(self, library: TVMLibrary) -> None:
        super().__init__(library)
        self._function: Callable[..., Any] = library.module[library.entry]

    def call(self, inputs: dict[str, Array], wanted: tuple[str, ...]) -> Sequence[Array]:
        """Return the wanted outputs."""
        import tvm_ffi

        arguments = [stage(inputs[name]) for name, stage in self._stages]
        shapes = output_shapes(self._signature, inputs)
        outputs = {spec.name: aligned(_shape(spec, shapes), spec.dtype.numpy) for spec in self._signature.outputs}
        use_threads(self._threads)
        self._function(*arguments, *(tvm_ffi.from_dlpack(array) for array in outputs.values()))
        return [outputs[name] for name in wanted]


def cpu_slot(library: TVMLibrary) -> CpuSlot:
    """Return an instance of a library on the CPU."""
    return VirtualMachineSlot(library) if is_vm(library.module) else OperatorSlot(library)


def output_shapes(signature: Signature, inputs: dict[str, Array]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each output whose dimensions are all fixed, or have the name of an input's dimension."""
    sizes = {
        dim: size
        for spec in signature.inputs
        for dim, size in zip(spec.shape or (), inputs[spec.name].shape, strict=False)
        if isinstance(dim, str)
    }
    shapes = {}
    for spec in signature.outputs:
        shape = [dim if isinstance(dim, int) else sizes.get(dim or "") for dim in spec.shape or ()]
        if spec.shape is not None and None not in shape:
            shapes[spec.name] = tuple(size for size in shape if size is not None)
    return shapes


def _shape(spec: TensorSpec, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    try:
        return shapes[spec.name]
    except KeyError:
        message = f"the shape of output `{spec.name}` is not known: {shape_text(spec.shape)}"
        hint = "give its dimensions the names of an input's dimensions, or their sizes"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, hint) from None


_thread = threading.local()


def use_threads(count: int | None) -> None:
    """Let parallel loops of calls from this thread use `count` threads; TVM keeps a pool for each calling thread."""
    if count is None or getattr(_thread, "count", None) == count:
        return
    import tvm_ffi

    tvm_ffi.get_global_func("runtime.config_threadpool")(1, count)
    _thread.count = count
