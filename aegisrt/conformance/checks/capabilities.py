"""Declarations: what is declared works, and everything else is refused, not answered with a wrong number."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from aegisrt.backends.base.backend import Availability
from aegisrt.conformance import verdict
from aegisrt.conformance.check import check, declares, declares_some
from aegisrt.conformance.references.models import REFERENCES
from aegisrt.conformance.references.supply import MODELS, NotBuilt
from aegisrt.conformance.subject import Subject
from aegisrt.core.options import BackendOptions
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import Err, ErrorCode, Result, ResultError
from aegisrt.core.tensor import DataType
from aegisrt.devices.base import KINDS, Device

_HONEST = "The graph plans by what is declared: {}. An engine with partial support answers a wrong number. "
_REFUSE = "Do not override `load` or `execute`: the base class refuses anything undeclared. Or declare it."
_NO = (ErrorCode.UNIMPLEMENTED, ErrorCode.INVALID_ARGUMENT)


@check(
    "capabilities.well-formed",
    why="`aegisrt backends`, the graph and this kit rely on the declaration.",
    fix="Fill in `kind`, `capabilities` and `Options` as docs/adding-a-backend.md shows.",
)
def well_formed(subject: Subject) -> None:
    """`kind`, `capabilities`, `Options` and `availability` are well formed and agree with each other."""
    backend, can = subject.target.backend, subject.can
    verdict.that(re.fullmatch(r"[a-z0-9][a-z0-9_-]*", backend.kind), f"kind {backend.kind!r} is not an override key")
    endings = (*can.formats, *can.builds_from)
    verdict.that(can.formats, "`formats` is empty: it loads nothing")
    verdict.that(all(ending.startswith(".") for ending in endings), f"file name endings need their dot: {endings}")
    verdict.that(can.dtypes and all(isinstance(dtype, DataType) for dtype in can.dtypes), "`dtypes` are not DataTypes")
    verdict.that(can.devices and set(can.devices) <= set(KINDS), f"`devices` {can.devices} are not among {KINDS}")
    verdict.that(issubclass(backend.Options, BackendOptions), "`Options` is not a subclass of BackendOptions")
    verdict.that(subject.target.parsed_options().kind == backend.kind, "`Options.kind` differs from `kind`")
    try:
        found = backend.availability()
    except (Exception, SystemExit) as error:  # noqa: BLE001  (the reason names what it raises)
        raise verdict.Failed(f"`availability()` raises {type(error).__name__}: {error}") from None
    verdict.that(isinstance(found, Availability), f"`availability()` is {found!r}, wanted an Availability")
    verdict.that(found.available is True, "it runs, but `availability()` reports that it does not")


@check(
    "capabilities.options-are-strict",
    fix="Subclass BackendOptions, pin `kind` to a Literal, and give defaults.",
    why="If a mistyped option is ignored, the deployment runs with the default, and the user does not notice.",
)
def options_are_strict(subject: Subject) -> None:
    """Options refuse an unknown field, another kind and a wrong type; and they have a JSON Schema."""
    backend = subject.target.backend
    for wrong in ({"no_such_option": 1}, {"kind": "another"}, {"kind": 7}, {"device": 7}):
        try:
            backend(wrong, device=subject.target.device)
        except (ValidationError, ResultError):
            continue
        raise verdict.Failed(f"options {wrong} were accepted")
    schema = backend.Options.model_json_schema()
    verdict.that(schema.get("additionalProperties") is False, "the JSON Schema of the options allows unknown fields")
    kind = schema.get("properties", {}).get("kind", {})
    verdict.that(kind.get("const") == backend.kind, f"the JSON Schema does not pin `kind` to {backend.kind!r}: {kind}")


@check("capabilities.undeclared-dtypes", why=_HONEST.format("dtypes"), fix=_REFUSE)
def undeclared_dtypes(subject: Subject) -> None:
    """A model of a dtype that is not declared is UNIMPLEMENTED (or INVALID_ARGUMENT) at build, load or execute."""
    undeclared = frozenset(DataType) - subject.can.dtypes - subject.can.narrowed
    names = [f"identity-{dtype.lower()}" for dtype in sorted(undeclared)]
    if not names:
        raise verdict.Skipped("declares every dtype")
    _all_refused(subject, names)


@check(
    "capabilities.undeclared-dynamic-shapes",
    needs=[declares("dynamic_shapes", False)],
    why=_HONEST.format("shapes"),
    fix=_REFUSE,
)
def undeclared_dynamic_shapes(subject: Subject) -> None:
    """A model with dynamic dimensions is UNIMPLEMENTED (or INVALID_ARGUMENT)."""
    _all_refused(subject, ["batch", "rows-and-columns", "unnamed"])


@check("capabilities.undeclared-scalars", needs=[declares("scalars", False)], why=_HONEST.format("ranks"), fix=_REFUSE)
def undeclared_scalars(subject: Subject) -> None:
    """A model with scalars is UNIMPLEMENTED (or INVALID_ARGUMENT)."""
    _all_refused(subject, ["scalar"])


@check(
    "capabilities.undeclared-zero-size",
    needs=[declares("zero_size", False), declares("dynamic_shapes")],
    why=_HONEST.format("sizes"),
    fix=_REFUSE,
)
def undeclared_zero_size(subject: Subject) -> None:
    """A batch of no rows is UNIMPLEMENTED (or INVALID_ARGUMENT), and the backend serves on."""
    backend = subject.loaded("batch")
    request = ExecutionRequest(inputs=subject.inputs("batch", batch=0))
    verdict.refused(backend.execute(request), _NO, "execute with no rows")
    subject.serves(backend, "batch", when="after a call with no rows")


@check(
    "capabilities.undeclared-output-subset",
    needs=[declares("output_subset", False)],
    why=_HONEST.format("outputs"),
    fix=_REFUSE,
)
def undeclared_output_subset(subject: Subject) -> None:
    """A request for fewer than all outputs is UNIMPLEMENTED."""
    backend = subject.loaded("multi-io")
    request = ExecutionRequest(inputs=subject.inputs("multi-io"), outputs=["first"])
    verdict.refused(backend.execute(request), ErrorCode.UNIMPLEMENTED, "execute with outputs=['first']")
    subject.serves(backend, "multi-io", when="after a call for fewer outputs")


@check(
    "capabilities.undeclared-external-data",
    needs=[declares("external_data", False)],
    why=_HONEST.format("files") + "Weights that were not found are zeros in some engines.",
    fix=_REFUSE,
)
def undeclared_external_data(subject: Subject) -> None:
    """A model whose weights lie beside it is refused with an error."""
    _all_refused(subject, ["external"])


@check(
    "capabilities.undeclared-device",
    why="A model that was placed on a GPU must not silently run elsewhere.",
    fix="Do not override `load`: the base class checks the device's kind.",
)
def undeclared_device(subject: Subject) -> None:
    """`load` on a device kind that is not declared is UNIMPLEMENTED."""
    kinds = [kind for kind in KINDS if kind not in subject.can.devices]
    if not kinds:
        raise verdict.Skipped("declares every device kind")
    target = subject.target
    for kind in kinds:
        backend = target.backend(target.parsed_options(), device=Device.parse(kind))
        verdict.refused(backend.load(subject.model("affine")), ErrorCode.UNIMPLEMENTED, f"load on device {kind}")
        verdict.ok(backend.unload(), "unload")


@check(
    "capabilities.undeclared-build",
    why="A build that does nothing, and is Ok, looks like a finished one.",
    fix="Do not override `build`; leave `_build` unchanged if the engine compiles nothing.",
)
def undeclared_build(subject: Subject) -> None:
    """`build` is UNIMPLEMENTED if `builds_from` is empty, and leaves no file."""
    if subject.can.builds_from:
        raise verdict.Skipped(f"declares builds_from={subject.can.builds_from}")
    target = subject.scratch / "built"
    result = subject.fresh().build(subject.model("affine"), target)
    verdict.refused(result, ErrorCode.UNIMPLEMENTED, "build")
    verdict.that(not target.exists(), "build answered UNIMPLEMENTED and wrote a file")


@check(
    "capabilities.build",
    needs=[declares_some("builds_from")],
    isolated=True,
    why="The build step is part of a deployment: its file must load, and a bad source must leave none behind.",
    fix="Write to a temporary file beside `target` in `_build`, and rename it when it is complete.",
)
def build(subject: Subject) -> None:
    """`build` makes a file that loads and answers correctly, also over an old one; a bad source leaves no file."""
    target = subject.scratch / f"affine{subject.can.formats[0]}"
    for name in ("affine", "affine-other"):
        backend = subject.fresh()
        subject.building(name)
        verdict.ok(backend.build(MODELS / f"{name}.onnx", target), f"build of `{name}`")
        verdict.ok(backend.load(target), "load of what was built")
        subject.serves(backend, name, when="of what was built")
    other = subject.scratch / f"other{subject.can.formats[0]}"
    broken = subject.scratch / "broken.onnx"
    broken.write_bytes((MODELS / "affine.onnx").read_bytes()[:60])
    for source, code in ((subject.scratch / "none.onnx", ErrorCode.NOT_FOUND), (broken, ErrorCode.DATA_LOSS)):
        verdict.refused(subject.fresh().build(source, other), code, f"build from {source.name}")
        verdict.that(not other.exists(), f"the failed build from {source.name} left a file")


@check(
    "capabilities.external-data",
    needs=[declares("external_data")],
    isolated=True,
    why="Models above 2 GB have their weights beside them; an incomplete copy must fail at load, not answer wrongly.",
    fix="Resolve the weights against the model's folder, and map the engine's error in `_classify`.",
)
def external_data(subject: Subject) -> None:
    """A model with its weights in a file beside it loads and answers correctly; without that file it is an error."""
    subject.serves(subject.loaded("external"), "external")
    file = subject.copy("external", "whole")
    backend = subject.fresh()
    verdict.ok(backend.load(file), "load of a copy with its weights")
    subject.serves(backend, "external")
    for weights in file.parent.glob("*.weights"):
        weights.unlink()
        codes = (ErrorCode.NOT_FOUND, ErrorCode.DATA_LOSS, ErrorCode.FAILED_PRECONDITION)
        verdict.refused(subject.fresh().load(file), codes, "load without the weights")


def _all_refused(subject: Subject, names: list[str]) -> None:
    tried = 0
    for what, result in _answers(subject, names):
        tried += 1
        if result is not None:
            verdict.refused(result, _NO, f"{what}, which is not declared")
    if not tried:
        raise verdict.Skipped(f"declares no model for `{names[0]}`")


def _answers(subject: Subject, names: list[str]) -> Iterator[tuple[str, Result[Any] | None]]:
    """Yield the result of loading or executing each model; None if its build was refused."""
    for name in names:
        try:
            file = subject.model(name, even_undeclared=True)
        except NotBuilt:
            yield f"build of `{name}`", None
            continue
        except verdict.Skipped:
            continue
        backend = subject.fresh()
        loaded = backend.load(file)
        if isinstance(loaded, Err):
            yield f"load of `{name}`", loaded
        else:
            inputs = REFERENCES[name].inputs()
            yield f"execute of `{name}`", backend.execute(ExecutionRequest(inputs=inputs))
