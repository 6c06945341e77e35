"""Load, execute, unload: the rules of the original design, and what a server that replaces models needs beyond them."""

from __future__ import annotations

import shutil
import sys
import time
import types
from collections.abc import Callable

from aegisrt.conformance import verdict
from aegisrt.conformance.check import check
from aegisrt.conformance.processes.forked import end_of_fork
from aegisrt.conformance.subject import Subject
from aegisrt.conformance.target import Backend
from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import ErrorCode
from aegisrt.core.timing import StepTimes

_REST_S = 0.5
"""After which the engine's idle threads sleep: spinning ones are noticed less often in a fork."""


@check(
    "lifecycle.load-valid-model",
    why="Rule 1 of the original design. Nothing else can be judged if a good file does not load.",
    fix="Run `backend.load(path)` on the file that the failure names, and fix what its error reports.",
)
def load_valid_model(subject: Subject) -> None:
    """`load` of a valid model file answers Ok."""
    file = subject.model("affine")
    value = verdict.ok(subject.fresh().load(file), f"load({file.name})")
    verdict.that(value is None, f"load answers Ok(None), got Ok({value!r})")


@check(
    "lifecycle.execute-after-load",
    why="Rule 2 of the original design. Callers read every field of the result without checking whether it is there.",
    fix="Let the base class make the ExecutionResult: write `_execute`, which returns arrays, and not `execute`.",
)
def execute_after_load(subject: Subject) -> None:
    """`execute` after `load` answers an ExecutionResult whose fields are all filled in."""
    backend = subject.loaded()
    inputs = subject.inputs("affine")
    result = subject.call(backend, inputs, id="request-7")
    verdict.that(isinstance(result, ExecutionResult), f"wanted an ExecutionResult, got a {type(result).__name__}")
    verdict.that(type(result.outputs) is dict, f"`outputs` is a {type(result.outputs).__name__}, wanted a dict")
    verdict.that(isinstance(result.timings, StepTimes), f"`timings` is a {type(result.timings).__name__}")
    verdict.that(result.backend == backend.kind, f"`backend` is {result.backend!r}, wanted {backend.kind!r}")
    verdict.that(result.device == backend.device.name, f"`device` is {result.device!r}, the backend was given another")
    verdict.that(result.metadata.get("request_id") == "request-7", "`metadata` lacks the `request_id` of the request")
    subject.matches("affine", inputs, result.outputs)


@check(
    "lifecycle.not-loaded-before-load",
    why="Rule 3 of the original design. A call that is too early must be distinguishable from a call that failed.",
    fix="Do not override `execute`; the base class answers NOT_LOADED while nothing is loaded.",
)
def not_loaded_before_load(subject: Subject) -> None:
    """`execute` before `load` answers NOT_LOADED."""
    _not_loaded(subject, subject.fresh(), "execute before load")


@check(
    "lifecycle.unload-any-number-of-times",
    why="Rule 4 of the original design. Clean-up code runs in `finally`, after a failed load, and twice.",
    fix="Let `_unload` and `_close` release only what is held; the base class calls them once for each model.",
)
def unload_any_number_of_times(subject: Subject) -> None:
    """`unload` answers Ok before any load, after one, and again."""
    backend = subject.fresh()
    verdict.ok(backend.unload(), "unload before any load")
    verdict.ok(backend.load(subject.model("affine")), "load")
    for turn in ("first", "second", "third"):
        verdict.ok(backend.unload(), f"{turn} unload")


@check(
    "lifecycle.load-after-unload",
    why="Rule 5 of the original design. A model that was unloaded to free memory is loaded again on demand.",
    fix="Keep no state of the old model: everything that `_load` made belongs to the object that it returned.",
)
def load_after_unload(subject: Subject) -> None:
    """`load` after `unload` serves again, any number of times."""
    backend = subject.loaded()
    for turn in range(3):
        verdict.ok(backend.unload(), "unload")
        verdict.ok(backend.load(subject.model("affine")), "load after unload")
        subject.serves(backend, seed=turn, when="after load, unload, load")


@check(
    "lifecycle.errors-are-results",
    why="Rule 6 of the original design. An exception that passes `execute` kills a worker that serves other requests.",
    fix="Raise from the hooks only, and do not override the public calls: the base class converts once.",
    isolated=True,
)
def errors_are_results(subject: Subject) -> None:
    """Whatever goes wrong in `load`, `execute`, `build` and `memory` is a Result, never an exception."""
    backend = subject.loaded()
    junk = subject.scratch / f"junk{subject.can.formats[0]}"
    junk.write_bytes(bytes(range(256)) * 8)
    for inputs in ({}, {"x": None}, {"x": [1.0]}, {"y": 1}, None, {1: 2}, {"x": object()}):
        request = ExecutionRequest(inputs=inputs)  # type: ignore[arg-type]
        verdict.refused(backend.execute(request), ErrorCode.INVALID_ARGUMENT, f"execute with inputs={inputs!r}")
    verdict.refused(subject.fresh().load(junk), tuple(ErrorCode), "load of a file of junk")
    verdict.refused(subject.fresh().build(junk, subject.scratch / "built"), tuple(ErrorCode), "build from junk")
    verdict.that(hasattr(backend.memory(), "is_ok"), "memory() did not return a Result")


@check(
    "lifecycle.not-loaded-after-unload",
    why="A call into an engine whose model was released reads freed memory: in native engines a crash, or old answers.",
    fix="Do not override `execute` or `unload`; the base class drops the model before it calls `_unload`.",
)
def not_loaded_after_unload(subject: Subject) -> None:
    """`execute` after `unload` answers NOT_LOADED."""
    backend = subject.loaded()
    subject.serves(backend)
    verdict.ok(backend.unload(), "unload")
    _not_loaded(subject, backend, "execute after unload")


@check(
    "lifecycle.load-replaces-the-model",
    why="A new version is rolled out by loading it over the old one; answering with the old weights is silent.",
    fix="Return all that belongs to a model from `_load`, and read it from the slot in `_execute`, not from `self`.",
)
def load_replaces_the_model(subject: Subject) -> None:
    """`load` of another model over a loaded one serves the other, with its own signature, without an unload."""
    backend = subject.loaded()
    subject.serves(backend)
    for name in ("affine-other", "affine-wide", "affine"):
        verdict.ok(backend.load(subject.model(name)), f"load of `{name}` over a loaded model")
        subject.serves(backend, name, when="after a second load")


@check(
    "lifecycle.load-same-file-twice",
    why="Operators re-run a deployment; loading what is loaded already must change nothing.",
    fix="Give each `_load` an engine of its own, and release the old one in `_unload` alone.",
)
def load_same_file_twice(subject: Subject) -> None:
    """`load` of the same file twice answers Ok twice, and one `unload` unloads."""
    backend = subject.loaded()
    verdict.ok(backend.load(subject.model("affine")), "second load of the same file")
    subject.serves(backend, when="after two loads")
    verdict.ok(backend.unload(), "unload")
    _not_loaded(subject, backend, "execute after two loads and one unload")


@check(
    "lifecycle.reload-changed-file",
    why="Deployments replace a model in place. Loaders that cache by path serve the old one forever: "
    "TVM's `load_module` keeps a library mapped, and glibc's dlopen returns the old handle for a known inode.",
    fix="Load by content: copy or map the file under a name made from its digest, or read it into memory.",
)
def reload_changed_file(subject: Subject) -> None:
    """`load` of a path whose file was replaced serves the new file, with and without an `unload` between."""
    place = subject.copy("affine", "place")
    backend = subject.fresh()
    for number, name in enumerate(("affine", "affine-other", "affine", "affine-wide")):
        new = subject.copy(name, f"new{number}")
        for part in new.parent.iterdir():
            target = place.parent / part.name.replace(name, "affine", 1)
            shutil.copyfile(part, target.with_name(f"{target.name}.new"))
            target.with_name(f"{target.name}.new").replace(target)
        verdict.ok(backend.load(place), "load of a replaced file")
        subject.serves(backend, name, when="after the file was replaced and loaded again")
        if number % 2:
            verdict.ok(backend.unload(), "unload")


@check(
    "lifecycle.two-backends-are-independent",
    why="One process serves many models. Engine state that is global (a registry, a session, a context) mixes them up.",
    fix="Hold engine objects in what `_load` returns, never in the module or the class.",
)
def two_backends_are_independent(subject: Subject) -> None:
    """Two backends with different models answer each with its own, and unloading one leaves the other."""
    first, second = subject.loaded("affine"), subject.loaded("affine-other")
    for turn in range(3):
        subject.serves(first, "affine", turn, when="beside another backend")
        subject.serves(second, "affine-other", turn, when="beside another backend")
    verdict.ok(first.unload(), "unload of the first")
    subject.serves(second, "affine-other", when="after another backend was unloaded")
    _not_loaded(subject, first, "execute of the unloaded one beside a loaded one")


@check(
    "lifecycle.construction-opens-nothing",
    why="A manifest declares backends that this machine never uses; constructing one must not cost memory or a device.",
    fix="Open the engine in `_load`, not in `__init__`.",
)
def construction_opens_nothing(subject: Subject) -> None:
    """A backend that was only constructed has no signature and no memory to report, and `unload` is Ok."""
    backend = subject.fresh()
    verdict.that(backend.signature is None, "`signature` is not None before load")
    verdict.refused(backend.memory(), ErrorCode.NOT_LOADED, "memory() before load")
    verdict.ok(backend.unload(), "unload")


@check(
    "lifecycle.fork-after-load",
    isolated=True,
    why="`gunicorn --preload`, multiprocessing and daemons fork a process that has loaded a model. A fork does not "
    "copy the engine's threads, so a destructor that waits for them hangs forever, or crashes.",
    fix="Hold engine objects only in what `_load` and `_open` return: the base class never destroys those in a child. "
    "If the engine's library itself fails at exit, register an `os.register_at_fork` handler.",
)
def fork_after_load(subject: Subject) -> None:
    """A fork after `load` ends with its own exit code, its calls are FAILED_PRECONDITION, and the parent serves on."""
    # A module of its own holds the backend, as an application's does: Python clears it when the child ends. A variable
    # of this function would never be cleared there, since the child ends inside of it.
    application = types.ModuleType("application_of_the_fork_check")
    sys.modules[application.__name__] = application
    application.backend = backend = subject.loaded()  # type: ignore[attr-defined]
    subject.serves(backend)
    subject.forget(backend)
    del backend
    time.sleep(_REST_S)
    limit_s = subject.settings.time_limit_s / 4

    def serve_a_model_of_its_own() -> None:
        own = subject.loaded()
        subject.serves(own, when="in a forked child")
        verdict.ok(own.unload(), "unload in a forked child")

    def call_the_parents_model() -> None:
        request = ExecutionRequest(inputs=subject.inputs("affine"))
        verdict.refused(application.backend.execute(request), ErrorCode.FAILED_PRECONDITION, "execute")

    children: dict[str, Callable[[], object]] = {
        "keeps the backend": lambda: None,
        "calls the backend": call_the_parents_model,
        "drops the backend": application.__dict__.clear,
    }
    if subject.target.device.kind == "cpu":  # CUDA cannot be used in a fork of a process that uses it
        children["loads a model of its own"] = serve_a_model_of_its_own
    for what, work in children.items():
        problem = end_of_fork(work, limit_s)
        verdict.that(problem is None, f"a child that was forked after load and {what} {problem}")
    backend = application.backend
    subject.serves(backend, when="after forks")
    verdict.ok(backend.unload(), "unload after forks")


def _not_loaded(subject: Subject, backend: Backend, doing: str) -> None:
    request = ExecutionRequest(inputs=subject.inputs("affine"))
    error = verdict.refused(backend.execute(request), ErrorCode.NOT_LOADED, doing)
    verdict.that(error.message, f"{doing}: NOT_LOADED has no message")
