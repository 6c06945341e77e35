"""`Manifest`: everything that a deployment declares."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field, field_validator

from aegisrt.core.options import BackendOptions, Name, StrictModel
from aegisrt.core.tensor import DataType
from aegisrt.devices.options import DeviceOptions, StreamOptions
from aegisrt.manifest.queueing import BatchingOptions, QueueOptions
from aegisrt.manifest.server import ServerOptions

BackendT = TypeVar("BackendT", bound=BackendOptions)


class SampleOptions(StrictModel):
    """Real inputs that `aegisrt run` uses if the command names none."""

    inputs: Path
    """A .npz file with one array for each input, or a .npy file for a model with one input."""
    labels: Path | None = None
    """A .npy file with the correct class of each row, shape `(batch,)`, integers; `run` then prints the accuracy."""


class TensorOptions(StrictModel):
    """The declared dtype and shape of one input or output."""

    dtype: DataType
    """Element type, by its Open Inference Protocol name."""
    shape: tuple[Annotated[int, Field(ge=0)] | str | None, ...] | None = None
    """One entry for each dimension: a size, a name for a dynamic one, or null; leave out to declare no shape."""
    optional: bool = False
    """Of an input: whether a request may leave it out, because the model has a default value for it."""


class SignatureOptions(StrictModel):
    """The inputs and outputs that the user expects of a model; checked against the engine's own when it loads."""

    inputs: dict[str, TensorOptions] = Field(default_factory=dict)
    """By input name; empty declares nothing."""
    outputs: dict[str, TensorOptions] = Field(default_factory=dict)
    """By output name; empty declares nothing."""


_ROUTE = re.compile(r"^stats$|/(infer|ready|config|stats|versions/[^/]+)?$")
"""Names whose metadata clients could not reach: the server would take the end of the path for a call."""
ServedName = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/ -]*$")]


class ModelOptions(StrictModel):
    """One model: a file and the backend that runs it."""

    path: Path
    """The model's file, relative to the file that names it (in an override: to the current folder)."""
    backend: Name
    """The name of an option set under `backends`."""
    sha256: str | None = None
    """The expected digest of the model's file, 64 hexadecimal digits; another file is refused. That of an engine file
    that AegisRT built covers its sidecar too."""
    on_damage: Literal["rebuild", "fail"] = "rebuild"
    """If the cached engine file of this model is damaged: build it again, or fail with DATA_LOSS."""
    instances: Annotated[int, Field(ge=1, le=1024)] = 1
    """How many calls of this model may run at once; instances share one set of weights if the engine can."""
    warmup: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Calls that each instance runs before it serves, on the sample, or on zeros of the declared shape."""
    queue: QueueOptions = Field(default_factory=QueueOptions)
    """Requests that wait for an instance."""
    batching: BatchingOptions | None = None
    """Dynamic batching; if left out, each request is a call of its own."""
    served_name: ServedName | None = None
    """A further name of the model for clients of the server, such as one with capital letters."""
    dispatch: Literal["auto", "inline", "worker"] | None = None
    """Where the server runs calls of this model; null takes `server.dispatch.mode`."""
    signature: SignatureOptions | None = None
    """Expected inputs and outputs."""
    sample: SampleOptions | None = None
    """Real inputs, for `aegisrt run` and for warm-up."""

    @field_validator("served_name")
    @classmethod
    def _is_no_route(cls, value: str | None) -> str | None:
        if value is not None and _ROUTE.search(value):
            raise ValueError("a served name is not `stats`, and ends neither as a path of the protocol nor with `/`")
        return value

    @field_validator("sha256")
    @classmethod
    def _hexadecimal(cls, value: str | None) -> str | None:
        if value is not None and (len(value) != 64 or set(value.lower()) - set("0123456789abcdef")):
            raise ValueError("a sha256 is 64 hexadecimal digits")
        return value and value.lower()


class LimitOptions(StrictModel):
    """Limits of a deployment's memory."""

    input_bytes: Annotated[int, Field(ge=1, le=2**50)] = 2**30
    """The most memory for the inputs of one call that come from a file (`run --input`, a sample) or are made up."""


class Manifest(StrictModel, Generic[BackendT]):
    """A deployment, composed and valid. Generic in its backends' options; deployment.py forms their union."""

    api_version: Literal["aegisrt/v1"] = "aegisrt/v1"
    """The version of this format."""
    devices: dict[Name, DeviceOptions] = Field(default_factory=dict)
    """Devices, by name."""
    streams: dict[Name, StreamOptions] = Field(default_factory=dict)
    """Streams, by name."""
    backends: dict[Name, BackendT] = Field(default_factory=dict)
    """Option sets of backends, by name; one that no model uses costs nothing."""
    models: dict[Name, ModelOptions] = Field(default_factory=dict)
    """Models, by name."""
    limits: LimitOptions = Field(default_factory=LimitOptions)
    """Limits of memory."""
    server: ServerOptions = Field(default_factory=ServerOptions)
    """How `aegisrt serve` serves the models."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (dict(self),)


def _restore(fields: dict[str, Any]) -> Manifest[Any]:
    """Return an unpickled manifest; its parts are validated already, so that no registry is needed here."""
    return Manifest.model_construct(**fields)
