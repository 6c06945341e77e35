"""`CellOptions`: everything that a file of configs/ci/ can say of a cell of the CI matrix."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from aegisrt.core.options import StrictModel

SELF_HOSTED = "self-hosted"
"""The label that every runner of one's own has: https://docs.github.com/actions/reference/runners/self-hosted-runners."""


def _as_text(value: Any) -> Any:
    """Return a version as text where an override gives a number: in `ci.python=3.12` Hydra's grammar sees one."""
    return str(value) if isinstance(value, float) else value


PythonVersion = Annotated[Literal["3.11", "3.12", "3.13"], BeforeValidator(_as_text)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Word = Annotated[str, Field(pattern=r"^\S+$")]
"""An override without blanks: a cell's steps hand several on in one environment variable."""
_NOT_EMPTY = Field(json_schema_extra={"minItems": 1})
"""For editors; `min_length` would also count entries that are wrong as missing."""


class CellOptions(StrictModel):
    """One cell of the CI matrix: `ci` in a composed configuration."""

    runs_on: Annotated[tuple[Label, ...], _NOT_EMPTY]
    """Labels of the runner, all of which it must have: `[ubuntu-24.04]`, `[self-hosted, gpu, tensorrt]`."""
    when: Literal["always", "default-branch-push"]
    """`always`, or only a push to the default branch: what a self-hosted runner needs, since it must not run code that
    nobody has reviewed."""
    python: PythonVersion | Annotated[tuple[PythonVersion, ...], _NOT_EMPTY]
    """The version of Python; of several, each is a cell."""
    extras: tuple[str, ...] = ()
    """Extras of AegisRT that are installed."""
    backend: str
    """The backend kind that the cell proves."""
    device: str = "cpu"
    """The device kind that it runs on, such as `cpu`, `cuda`, `cuda:1`."""
    conformance: str | None
    """The profile of the conformance kit, a file of configs/conformance/; null where the kit cannot run the backend."""
    demo: Literal["run", "build"] | None = None
    """What is done with the packaged demo: `run` answers it, `build` makes its engine file; null leaves it out."""
    overrides: tuple[Word, ...] = ()
    """Overrides of the packaged demo, for `demo`; checked when the matrix is made."""
    target: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    """The Makefile's target that runs the tests."""
    timeout_minutes: Annotated[int, Field(ge=1, le=360)] = 30
    """How long the cell may take."""

    @field_validator("runs_on", "python", "extras", "overrides")
    @classmethod
    def _once(cls, value: Any, info: ValidationInfo) -> Any:
        if value == () and info.field_name in ("runs_on", "python"):
            raise ValueError("it names none")
        twice = [one for one in value if value.count(one) > 1] if isinstance(value, tuple) else []
        if twice:
            raise ValueError(f"`{twice[0]}` stands in it twice")
        return value

    @property
    def versions(self) -> tuple[str, ...]:
        """Return the versions of Python."""
        return self.python if isinstance(self.python, tuple) else (self.python,)

    @property
    def is_hosted(self) -> bool:
        """Return True for a runner of GitHub's, False for one of our own."""
        return SELF_HOSTED not in self.runs_on
