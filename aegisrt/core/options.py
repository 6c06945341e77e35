"""`StrictModel`: the pydantic base of everything in a manifest."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]*$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A name in a manifest: lower-case letters, digits, `_` and `-`, so that it is a plain override key."""

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

    _Kind: TypeAlias = Any
    """A text. pyright does not know that options are immutable, and would let no subclass narrow it to a Literal."""
else:
    _Kind = str


class StrictModel(BaseModel):
    """Refuses unknown fields and casts nothing; immutable. Fields are documented by their docstrings.

    A JSON Schema has them as descriptions. They are read when it is made: pydantic's `use_attribute_docstrings` reads
    the source of each class when the class is made, which takes a twelfth of the time of `aegisrt validate`.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        validate_default=True,
        ser_json_inf_nan="constants",
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        """Return the JSON Schema with the fields' docstrings."""
        made = handler(core_schema)
        fields = handler.resolve_ref_schema(made).get("properties", {})
        for name, text in _docstrings(cls).items():
            if name in fields:
                fields[name].setdefault("description", text)
        return made


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


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstrings of the fields of a class, and of those that it extends, by the fields' names."""
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if issubclass(owner, StrictModel) and not owner.__pydantic_generic_metadata__["origin"]:
            for field, after in pairwise(_body(owner)):
                text = _text(after)
                if text is not None and isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    found[field.target.id] = inspect.cleandoc(text)
    return found


def _text(statement: ast.stmt) -> str | None:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def _body(owner: type) -> list[ast.stmt]:
    try:
        (made,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    except (OSError, TypeError, SyntaxError, ValueError, KeyError):
        return []  # there is no source, as in a frozen application; KeyError is of TVM, which replaces inspect.getfile
    return made.body if isinstance(made, ast.ClassDef) else []
