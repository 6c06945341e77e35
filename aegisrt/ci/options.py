"""`CellOptions`: all fields of a cell of the CI matrix, a file of configs/ci/."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from aegisrt.core.options import StrictModel

HOSTED = re.compile(
    r"ubuntu-(latest|slim|\d\d\.\d\d)(-arm)?"
    r"|windows-(latest|\d{4}|11-arm)(-vs\d{4})?"
    r"|macos-(latest|\d\d)(-intel|-large|-xlarge)?"
)
"""The labels of GitHub's standard runners: https://docs.github.com/actions/reference/runners/github-hosted-runners.
An allow-list: a self-hosted runner may be reached by its custom labels alone, without the label `self-hosted`."""


def _as_text(value: Any) -> Any:
    """Return a version as text if it is a number: Hydra's grammar reads `ci.python=3.12` as one."""
    return str(value) if isinstance(value, float) else value


PythonVersion = Annotated[Literal["3.11", "3.12", "3.13", "3.14"], BeforeValidator(_as_text)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Word = Annotated[str, Field(pattern=r"^\S+$")]
"""An override without blanks: a cell's steps pass several in one environment variable."""
_NOT_EMPTY = Field(json_schema_extra={"minItems": 1})
"""For editors; `min_length` would also count invalid entries as missing."""


class CellOptions(StrictModel):
    """One cell of the CI matrix: `ci` in a composed configuration."""

    runs_on: Annotated[tuple[Label, ...], _NOT_EMPTY]
    """Labels that the runner must have, all of them: `[ubuntu-24.04]`, `[self-hosted, gpu, tensorrt]`."""
    when: Literal["always", "default-branch-push"]
    """`always`, or only a push to the default branch. A self-hosted runner needs the latter, since it must not run
    code before a review."""
    python: PythonVersion | Annotated[tuple[PythonVersion, ...], _NOT_EMPTY]
    """The version of Python; each of several becomes a job."""
    extras: tuple[str, ...] = ()
    """Extras of AegisRT to install."""
    backend: str
    """The backend kind that the cell checks."""
    device: str = "cpu"
    """The device kind that it runs on, such as `cpu`, `cuda`, `cuda:1`."""
    conformance: str | None
    """The profile of the conformance kit, a file of configs/conformance/; null if the kit cannot run the backend."""
    demo: Literal["run", "build"] | None = None
    """The step with the packaged demo: `run` runs it, `build` builds its engine file; null skips it."""
    overrides: tuple[Word, ...] = ()
    """Overrides of the packaged demo, for `demo`; checked when the matrix is made."""
    target: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    """The target of the Makefile that runs the tests."""
    timeout_minutes: Annotated[int, Field(ge=1, le=360)] = 30
    """The time limit of the job in minutes."""

    @field_validator("runs_on", "python", "extras", "overrides")
    @classmethod
    def _once(cls, value: Any, info: ValidationInfo) -> Any:
        if value == () and info.field_name in ("runs_on", "python"):
            raise ValueError("it is empty")
        repeated = [one for one in value if value.count(one) > 1] if isinstance(value, tuple) else []
        if repeated:
            raise ValueError(f"`{repeated[0]}` is repeated")
        return value

    @property
    def versions(self) -> tuple[str, ...]:
        """Return the versions of Python."""
        return self.python if isinstance(self.python, tuple) else (self.python,)

    @property
    def is_hosted(self) -> bool:
        """Return True if the labels are of a runner hosted by GitHub, False if they may reach a self-hosted one."""
        return len(self.runs_on) == 1 and HOSTED.fullmatch(self.runs_on[0]) is not None
