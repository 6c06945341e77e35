"""`build`: the compiler's process: ONNX -> Relax -> shared library.

`python -m aegisrt.backends.tvm.build.main JOB ANSWER`. It imports TVM, so that the caller's process need not; if LLVM
hangs or crashes, it does so here and not in the caller's process.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aegisrt.backends.files.onnx_weights import load_onnx
from aegisrt.backends.onnxruntime import installed_version
from aegisrt.backends.process.child import child_main, is_out_of_memory, report_progress
from aegisrt.backends.process.job import is_disk_full
from aegisrt.backends.tvm.build.importing import (
    ImportFailedError,
    computed_outputs,
    folded,
    frozen,
    has_named_dimensions,
    has_unnamed_dimensions,
    imported,
    imports_with_sizes,
    input_shapes,
)
from aegisrt.backends.tvm.build.indices import index_bounds
from aegisrt.backends.tvm.build.reductions import with_infinite_identities, with_separate_starts
from aegisrt.backends.tvm.build.refusals import ELSEWHERE
from aegisrt.backends.tvm.build.sizes import with_size_checks
from aegisrt.backends.tvm.build.tune import refuse_dynamic, tuned
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.system_error import is_exhausted

_RELAX_OPERATOR = re.compile(r"\b(?:relax|R)\.([a-z_][a-z_0-9.]*[a-z0-9])")


@dataclass(frozen=True, slots=True)
class Variant:
    """One function of the library: its name, and the model that it is compiled from."""

    function: str
    model: Any
    shapes: list[list[int]] | None
    """The shapes that it takes, in the order of the inputs; None if a dimension is dynamic."""


def build(job: dict[str, Any]) -> dict[str, Any]:
    """Write the library to the job's `file`; return its functions and the facts that calls need."""
    _refuse_without_linker()
    model = load_onnx(Path(job["source"]))
    variants = list(_variants(model, job["free_dimensions"], job["shapes"]))
    if job["tuning"] is not None:
        refuse_dynamic([variant.shapes for variant in variants])
    failures: list[ResultError] = []
    for attempt in _attempts(variants):
        try:
            answer = _compiled(attempt, job)
        except ResultError as failure:
            failures.append(failure)
            print(failure)
            continue
        return {**answer, "computed": computed_outputs(model), "bounds": index_bounds(model)}
    raise next(
        (failure for failure in reversed(failures) if failure.error.code is not ErrorCode.UNAVAILABLE), failures[0]
    )


def _refuse_without_linker() -> None:
    """Raise UNAVAILABLE without a compiler to link with: before minutes of work whose result could not be written."""
    from tvm.support import cc

    if cc.get_cc() is None:
        raise fail(ErrorCode.UNAVAILABLE, "there is no C++ compiler to link with", "install g++, or set CXX to one")


def _variants(model: Any, sizes: dict[str, int], shapes: Sequence[dict[str, list[int]]]) -> Iterator[Variant]:
    """Yield the functions to compile; `main` comes last, since the importer first gives each that name."""
    main = frozen(model, sizes, {})
    static = _static_shapes(main)
    for index, chosen in enumerate(shapes):
        fixed = frozen(main, {}, chosen)
        sizes_of_inputs = _static_shapes(fixed)
        if sizes_of_inputs is None:
            left = next(name for name, shape in input_shapes(fixed).items() if not _is_static(shape))
            message = f"`shapes` leaves input `{left}` with a dynamic dimension"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, f"add the shapes of `{left}` to `shapes`")
        if sizes_of_inputs != static:
            yield Variant(f"shape_{index}", fixed, sizes_of_inputs)
    yield Variant("main", main, static)


def _static_shapes(model: Any) -> list[list[int]] | None:
    shapes = list(input_shapes(model).values())
    return [[int(dim or 0) for dim in shape] for shape in shapes] if all(map(_is_static, shapes)) else None


def _is_static(shape: Sequence[int | str | None]) -> bool:
    return all(isinstance(dim, int) for dim in shape)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to compile the model."""

    variants: list[Variant]
    fold: bool = False
    unnamed_are_equal: bool = False


def _attempts(variants: list[Variant]) -> Iterator[Attempt]:
    """Yield the attempts, best first: the model unchanged, then folded; last without the function of dynamic shape."""
    yield Attempt(variants)
    yield Attempt(variants, fold=True)
    if has_unnamed_dimensions(variants[0].model):
        yield Attempt(variants, unnamed_are_equal=True)
        yield Attempt(variants, fold=True, unnamed_are_equal=True)
    fixed = [variant for variant in variants if variant.shapes is not None]
    if fixed and len(fixed) < len(variants):
        yield Attempt(fixed)
        yield Attempt(fixed, fold=True)


def _compiled(attempt: Attempt, job: dict[str, Any]) -> dict[str, Any]:
    from tvm.target import Target

    target = Target(job["target"])
    if job["target"]["kind"] == "cuda":
        _choose_cuda_compiler()
    module = None
    for variant in attempt.variants:
        report_progress(f"importing {variant.function}" + (", constants folded" if attempt.fold else ""))
        module = _import(variant, module, attempt)
    executable, tuning = _executable(module, target, job)
    report_progress("linking")
    _link(executable, job["file"])
    functions = [{"name": item.function, "shapes": item.shapes} for item in attempt.variants]
    return {"functions": functions, "folded_by": installed_version() if attempt.fold else None, **tuning}


def _link(executable: Any, library: str) -> None:
    from tvm.support import cc

    try:
        executable.export_library(library, options=["-s"])
    except (RuntimeError, AssertionError, OSError) as error:  # TVM asserts the compiler's target triple
        if is_exhausted(error) or is_disk_full(str(error)) or is_out_of_memory(error):
            raise
        hint = "check that it can link a shared library, or set CXX to another"
        message = f"the C++ compiler {cc.get_cc()} did not link the library"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, hint, cause=str(error)) from error


def _executable(module: Any, target: Any, job: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the compiled module, and whether it is tuned; compile it untuned if the tuned code does not compile."""
    import tvm

    try:
        module = with_size_checks(module)
        if job["target"]["kind"] == "llvm":
            module = with_infinite_identities(module)
        if job["tuning"] is not None:
            try:
                best, report = tuned(module, target, job["tuning"], Path(job["records"]))
                report_progress("compiling tuned code")
                return tvm.compile(best, target, relax_pipeline=_cpu_pipeline()), report
            except Exception as error:
                if is_out_of_memory(error) or isinstance(error, ResultError):
                    raise
                print(f"tuned code cannot be compiled: {error}")
                report_progress("tuned code cannot be compiled; going on without")
        report_progress("compiling")
        with target:  # the compiler of CUDA code reads the current target
            return tvm.compile(module, target, relax_pipeline=_pipeline(target)), {"tuned": False}
    except ResultError:
        raise
    except Exception as error:
        raise _not_compiled(error) from error


def _pipeline(target: Any) -> Any:
    """Return the passes for a target; for a GPU those of TVM, with DLight's schedules."""
    from tvm import relax

    return relax.get_default_pipeline(target) if target.kind.name == "cuda" else _cpu_pipeline()


def _choose_cuda_compiler() -> None:
    """Set TVM's CUDA compiler: nvcc if there is one, else NVRTC, both with IEEE arithmetic.

    TVM's own choice is fast math: denormals are zero, and divisions inexact. It reads these settings from the
    environment (`tvm.support.nvcc`).
    """
    if shutil.which("nvcc") is None:
        try:
            import cuda.bindings.nvrtc  # type: ignore[import-not-found]  # noqa: F401
        except ImportError:
            message = "there is no compiler of CUDA code"
            hint = "install the CUDA toolkit, with nvcc on PATH, or run: pip install cuda-bindings"
            raise fail(ErrorCode.UNAVAILABLE, message, hint) from None
    os.environ.setdefault("TVM_CUDA_COMPILE_MODE", "nvcc" if shutil.which("nvcc") else "nvrtc")
    os.environ.setdefault("TVM_CUDA_NVCC_NO_FAST_MATH", "1")
    os.environ.setdefault("TVM_CUDA_NVRTC_EXTRA_OPTS", "--ftz=false --prec-div=true --prec-sqrt=true")


def _cpu_pipeline() -> Any:
    """Return TVM's default passes, then one that sets what reductions start from, and promises that buffers are apart.

    TVM drops this promise for a whole library if one function lacks it, and the function that computes dynamic shapes
    does: others then run up to 10 times slower. That function has one argument, which overlaps with nothing.
    """
    import tvm
    from tvm import relax
    from tvm.tirx import PrimFunc

    @tvm.transform.module_pass(opt_level=0, name="FinishFunctions")  # type: ignore[untyped-decorator]
    def finish(module: Any, _context: Any) -> Any:
        for name, function in module.functions_items():
            if not isinstance(function, PrimFunc):
                continue
            if len(function.params) <= 1:
                module.update_func(name, function.with_attr("tirx.noalias", True))
            elif not (function.attrs and function.attrs.get("tirx.is_scheduled", False)):
                module.update_func(name, with_separate_starts(function))
        return module

    return tvm.transform.Sequential([relax.get_pipeline("default"), finish])


def _import(variant: Variant, into: Any, attempt: Attempt) -> Any:
    model = folded(variant.model) if attempt.fold else variant.model
    if model is None:
        raise fail(ErrorCode.UNAVAILABLE, "constants could not be folded", "run: pip install onnxruntime")
    try:
        return imported(model, variant.function, into, unnamed_are_equal=attempt.unnamed_are_equal)
    except ImportFailedError as error:
        if is_out_of_memory(error):
            raise
        names = ", ".join(f"`{name}`" for name in error.operators)
        message = f"TVM cannot take {'operator' if len(error.operators) == 1 else 'operators'} {names} of the model"
        fixable = variant.shapes is None and not error.unknown and imports_with_sizes(variant.model, fold=attempt.fold)
        options = "`free_dimensions` or `shapes`" if has_named_dimensions(variant.model) else "`shapes`"
        hint = f"fix its sizes with {options}, or {ELSEWHERE}" if fixable else ELSEWHERE
        raise fail(ErrorCode.UNIMPLEMENTED, message, hint, cause=error.cause) from error
    except ResultError:
        raise
    except Exception as error:
        raise _not_compiled(error) from error


def _not_compiled(error: Exception) -> ResultError:
    """Return UNIMPLEMENTED for TVM's exception; raise it unchanged if memory ran out."""
    if is_out_of_memory(error):
        raise error
    text = str(error).strip()
    names = list(dict.fromkeys(_RELAX_OPERATOR.findall(text)))[:3]
    first = text.splitlines()[0][:200] if text else type(error).__name__
    what = f" at {', '.join(f'`{name}`' for name in names)}" if names else ""
    cause = f"{type(error).__name__}: {text[-2000:]}"
    return fail(ErrorCode.UNIMPLEMENTED, f"TVM cannot compile the model{what}: {first}", ELSEWHERE, cause=cause)


if __name__ == "__main__":
    child_main(build)
