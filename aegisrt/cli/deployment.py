"""What the verbs that read a manifest share: the options of its inputs, and its resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aegisrt.cli.arguments import Arguments, UsageParser
from aegisrt.cli.output import engine_output, print_error

if TYPE_CHECKING:
    from aegisrt.core.result import Result
    from aegisrt.deployment import Resolved


def add_model(parser: UsageParser) -> None:
    """Add the option that names one model of the manifest."""
    parser.add_argument("--model", metavar="NAME", help="which model; needed if there are several")


def add_inputs(parser: UsageParser) -> None:
    """Add the option of the files with a request's inputs."""
    parser.add_argument(
        "--input",
        metavar="NAME=FILE",
        action="append",
        default=[],
        help="a .npy, .npz, .json, .png or .jpg file; may be repeated",
    )


def resolve_arguments(arguments: Arguments) -> Result[Resolved]:
    """Return the deployment that a verb's arguments name; the errors of `resolve`."""
    from aegisrt.deployment import resolve

    with engine_output():
        return resolve(
            arguments.manifest, arguments.overrides, config_dir=arguments.config_dir, environment=arguments.environment
        )


def resolved_or_code(arguments: Arguments) -> Resolved | int:
    """Return the deployment that a verb's arguments name; print an error and return the exit code if it is invalid."""
    from aegisrt.core.result import Err

    found = resolve_arguments(arguments)
    return print_error(found.error, arguments.format) if isinstance(found, Err) else found.value
