"""`ExecutionRequest` and `ExecutionResult`: one call of a model, and its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aegisrt.core.priority import Priority
from aegisrt.core.result import Ok
from aegisrt.core.timing import Moments, StepTimes

MODEL_METADATA = "model_metadata"
"""A request's parameter, and the key of its answer in the result's metadata."""


@dataclass(slots=True, kw_only=True, repr=False)
class ExecutionRequest:
    """One call of one model. It may be executed several times: its timeout starts at each call of `execute`."""

    inputs: Mapping[str, Any]
    """Arrays by input name; read, never written, while the call lasts."""
    model: str | None = None
    """The model's name in the manifest; optional if there is only one."""
    outputs: Sequence[str] | None = None
    """Names of the outputs to return, in this order; None returns all, in the model's order."""
    timeout_ms: float | None = None
    """Time limit of the whole call, from the moment that `execute` is entered."""
    id: str | None = None
    """The caller's own name of the call: in the result's metadata as `request_id`, and in the log if it fails."""
    priority: Priority = "normal"
    """Of the requests that wait, `high` runs before `normal`, and `normal` before `low`."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """`model_metadata: True` puts the model's own metadata into the result's `metadata`."""

    def __repr__(self) -> str:
        from aegisrt.core.shown.tensors import short_repr, tensors_text

        facts = {"model": self.model, "outputs": self.outputs, "timeout_ms": self.timeout_ms, "id": self.id}
        facts["priority"] = None if self.priority == "normal" else self.priority
        return short_repr("ExecutionRequest", tensors_text(self.inputs), facts)


def wants_model_metadata(request: ExecutionRequest) -> bool:
    """Return whether the result is to have the model's own metadata."""
    parameters = request.parameters
    return isinstance(parameters, Mapping) and bool(parameters.get(MODEL_METADATA))


@dataclass(frozen=True, slots=True)
class ResultOrigin:
    """What all results of one loaded model have in common."""

    model: str | None
    """As `ExecutionResult.model`."""
    backend: str
    """As `ExecutionResult.backend`."""
    device: str
    """As `ExecutionResult.device`."""
    metadata: dict[str, Any]
    """Of the loaded model; its engine may add to it."""


class _Unread:
    """The part of a result that few callers read: it is computed when it is first read."""

    __slots__ = ("_moments", "_origin")
    _moments: Moments
    _origin: ResultOrigin

    def __getattr__(self, name: str) -> Any:
        """Set a field that is not set yet: Python calls this for those alone."""
        value: Any
        if name == "timings":
            value = StepTimes.of(self._moments)
        elif name == "metadata":
            value = self._origin.metadata.copy()
        elif name in ("model", "backend", "device"):
            value = getattr(self._origin, name)
        else:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        setattr(self, name, value)
        return value


@dataclass(slots=True, repr=False)
class ExecutionResult(_Unread):
    """The answer of one call. The caller owns the outputs: they share no memory with the engine."""

    outputs: dict[str, Any]
    """Arrays by output name, in the order of the request's `outputs`, or in the model's."""
    timings: StepTimes
    """How long each step took, in nanoseconds."""
    model: str | None = None
    """The model's name in the manifest; None for a backend without one."""
    backend: str = ""
    """The name of the backend in the manifest, or its kind."""
    device: str = ""
    """The device that ran the model: `cpu`, `cuda:0`."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What the engine reports about the loaded model, and `request_id`; the caller's own."""

    def __repr__(self) -> str:
        from aegisrt.core.shown.tensors import short_repr, tensors_text

        facts = {"model": self.model, "backend": self.backend or None, "device": self.device or None}
        return short_repr("ExecutionResult", tensors_text(self.outputs), facts)

    def _repr_html_(self) -> str:
        """Return a table of the outputs and their first values, for a notebook."""
        from aegisrt.core.shown.html import html_table
        from aegisrt.core.shown.tensors import tensor_row

        where = " on ".join(filter(None, (self.model, self.backend, self.device)))
        ms = sum(self.timings) / 1e6
        rows = [tensor_row(name, value) for name, value in self.outputs.items()]
        return html_table(f"{where or 'outputs'}, {ms:.3f} ms", ("output", "dtype", "shape", "values"), rows)

    def __getstate__(self) -> list[Any]:
        """Return the fields, to be pickled."""
        return [getattr(self, name) for name in _FIELDS]

    def __setstate__(self, state: list[Any]) -> None:
        """Set the fields of a result that was pickled."""
        for name, value in zip(_FIELDS, state, strict=True):
            setattr(self, name, value)


_FIELDS = tuple(ExecutionResult.__dataclass_fields__)
_new = object.__new__
_set_value = Ok.__dict__["value"].__set__


def answer_of(outputs: dict[str, Any], moments: Moments, origin: ResultOrigin) -> Ok[ExecutionResult]:
    """Return `Ok` of a result whose other fields are computed when they are first read.

    It takes half the time of calling both classes: `__init__` of a frozen dataclass sets fields by
    `object.__setattr__`, and few callers read the times of every result.
    """
    result = _new(ExecutionResult)
    result.outputs = outputs
    result._moments = moments  # type: ignore[misc]  # a slot of its base class
    result._origin = origin  # type: ignore[misc]
    answer: Ok[ExecutionResult] = _new(Ok)
    _set_value(answer, result)
    return answer
