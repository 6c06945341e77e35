"""`StrictModel`: the pydantic base of everything in a manifest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]*$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A name in a manifest: lower-case letters, digits, `_` and `-`, so that it is a plain override key."""

if TYPE_CHECKING:
    _Kind: TypeAlias = Any
    """A text. pyright does not know that options are immutable, and would let no subclass narrow it to a Literal."""
else:
    _Kind = str


class StrictModel(BaseModel):
    """Refuses unknown fields and casts nothing; immutable. Fields are documented by their docstrings."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        validate_default=True,
        ser_json_inf_nan="constants",
    )


class BackendOptions(StrictModel):
    """Options of one named backend in a manifest. A backend's own options subclass it, and pin `kind` to a Literal."""

    nicknames: ClassVar[tuple[str, ...]] = ()
    """Other names that users write for the kind, in lower case; a message suggests the kind for them."""
    kind: _Kind
    """Which backend: its entry point's name."""
    device: Name = "cpu"
    """The name of a device under `devices`; left out, a kind that does not run on a CPU takes the first that it can."""
    stream: Name | None = None
    """The name of a stream under `streams`; each instance opens its own, unless the stream is `shared`."""
    isolation: Literal["none", "process"] = "none"
    """`process` runs the engine of each instance of a deployed model in a process of its own, which may crash alone."""
    isolation_timeout_ms: Annotated[float, Field(gt=0, le=1e9)] | None = 60_000.0
    """With `isolation: process`: a process whose call takes longer is hung, and replaced; null waits forever."""
    isolation_memory_bytes: Annotated[int, Field(ge=2**24, le=2**50)] | None = None
    """With `isolation: process`: memory that the process may allocate for the model, its warm-up and its requests, on
    Linux, beyond what it has after it imported the engine; null sets no limit."""
    isolation_output_bytes: Annotated[int, Field(ge=2**16, le=2**50)] = 2**30
    """With `isolation: process`: memory that the outputs of one request may take."""
    environment: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], ...] = ()
    """Further environment variables, by name, for the processes of `isolation: process` and of builds."""

    @classmethod
    def parse(cls, values: dict[str, Any] | None = None) -> BackendOptions:
        """Return validated options from plain values, as a manifest has them, with `kind` filled in."""
        kind = cls.model_fields["kind"].default
        return cls.model_validate_json(json.dumps({"kind": kind, **(values or {})}, default=str))
