"""`aegisrt`: find the verb, and import only what that verb needs."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from shlex import quote

from aegisrt import __version__
from aegisrt.core.suggest import did_you_mean

VERBS = {
    "init": "write a first manifest for an ONNX file, and made-up inputs to try it",
    "run": "run a model of a manifest, and print its outputs",
    "serve": "serve the models of a manifest over HTTP and gRPC",
    "validate": "check a manifest: every error at once, each with its location",
    "build": "build every engine file that a manifest needs",
    "graph": "show what would run where, as text, JSON or Mermaid",
    "explain": "show which file, line or override set each value",
    "config": "print the composed manifest as YAML",
    "artifacts": "list, verify and prune the cache of engine files",
    "backends": "list every known backend: available, or why not and what to install",
    "devices": "list the devices of this machine: usable, or why not",
    "doctor": "diagnose this machine: each problem with the command that fixes it",
    "schema": "write the JSON Schemas for editors and checkers",
    "conformance": "check that a backend meets the contract",
    "compare": "run a model on several backends, and compare their outputs and times",
    "bench": "measure a model, and compare it with the bare engine",
    "ci-matrix": "print the CI matrix that the files of configs/ci/ describe",
    "completion": "print the completion script for bash, zsh or fish",
}


def usage() -> str:
    """Return the help of the whole command."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {text}" for verb, text in VERBS.items())
    return f"""usage: aegisrt VERB [MANIFEST] [OVERRIDE...] [options]

One YAML manifest, any engine.

    aegisrt run                                                      the packaged demo
    aegisrt init --model net.onnx && aegisrt run aegisrt.yaml        a model of your own

verbs:
{verbs}

MANIFEST is a file that ends in .yaml or .yml; the default is the packaged digits demo.
OVERRIDE follows Hydra's grammar: `models.digits.backend=mock`, `env=prod`, `+models.x.path=x.onnx`, `~models.x`.
Exit codes: 0 success, 1 something failed at run time, 2 an error in the command line or the manifest.

`aegisrt VERB --help` describes a verb; `aegisrt --version` prints the version.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 success, 1 a failure at run time, 2 an error in the command line or the manifest."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            code = _dispatch(argv)
        finally:  # argparse exits after it printed help
            if logs := sys.modules.get("aegisrt.cli.logs"):
                logs.end()
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.filename is not None:
            from aegisrt.cli.output import warn
            from aegisrt.core.system_error import exhausted_hint, is_exhausted

            if not is_exhausted(error):  # about a file, not a stream: a verb should have caught it
                raise
            warn(f"aegisrt: RESOURCE_EXHAUSTED: {error}; {exhausted_hint(error)}")
            return 1
        _discard_stdout()
        sys.stderr.write(f"aegisrt: cannot write to stdout: {error.strerror}\n")
        return 1
    except MemoryError as error:
        from aegisrt.core.system_error import exhausted_hint

        sys.stderr.write(f"aegisrt: RESOURCE_EXHAUSTED: no memory is left; {exhausted_hint(error)}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("aegisrt: interrupted\n")
        return 128 + signal.SIGINT
    return code


def _dispatch(argv: list[str]) -> int:
    if len(argv) > 1 and argv[0] == "help" and argv[1] in VERBS:
        argv = [argv[1], "--help"]
    if not argv or argv[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return 0
    if argv[0] in ("-V", "--version"):
        sys.stdout.write(f"aegisrt {__version__}\n")
        return 0
    if argv[0] == "__complete":
        from aegisrt.cli.completion.complete import main as complete

        return complete(argv[1:], VERBS)
    verb, *rest = _verb_first(argv)
    if verb not in VERBS:
        return _usage_error(f"`{verb}` is not a verb", _suggestion(verb), argv)
    code: int = importlib.import_module(f"aegisrt.cli.verbs.{verb.replace('-', '_')}").main(rest)
    return code


def _suggestion(word: str) -> str:
    """Return the hint for an unknown verb: the nearest verb, or the verb that takes such a file."""
    if word.endswith((".yaml", ".yml")):
        return f"did you mean `aegisrt run {quote(word)}`?"
    if word.endswith(".onnx"):
        return f"did you mean `aegisrt init --model {quote(word)}`?"
    return did_you_mean(word, VERBS) or f"verbs are {', '.join(VERBS)}"


def entry() -> None:
    """Run the command and exit with its code; the console script."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell, as `>&-` does
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without Unicode still gets the output
        own_stdout(sys.stdout)
    sys.exit(main())


def own_stdout(stdout: io.TextIOWrapper) -> None:
    """Give `sys.stdout` a file descriptor of its own, and let descriptor 1 point to stderr, for the whole process.

    Engines, and programs that they start, write to descriptor 1, and C buffers that until the process ends: so it is
    not restored. If the descriptors cannot be duplicated, everything stays as it is.
    """
    try:
        if stdout.fileno() != 1:
            return
        own = os.dup(1)
        os.dup2(2, 1)
    except OSError:
        return
    encoding, errors, lines = stdout.encoding, stdout.errors, stdout.line_buffering
    sys.stdout = open(own, "w", encoding=encoding, errors=errors, buffering=1 if lines else -1)  # noqa: PTH123, SIM115


def _discard_stdout() -> None:
    """Redirect buffered output to the null device, so that Python's flush at exit does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _verb_first(argv: list[str]) -> list[str]:
    """Return the arguments with the verb moved before any options: `--json run` becomes `run --json`."""
    at = next((index for index, word in enumerate(argv) if word in VERBS), 0) if argv[0].startswith("-") else 0
    return [argv[at], *argv[:at], *argv[at + 1 :]]


def _usage_error(message: str, hint: str, argv: Sequence[str]) -> int:
    from aegisrt.cli.arguments import asks_json, usage_error

    if asks_json(argv):
        sys.stdout.write(usage_error(message, hint))
    else:
        from aegisrt.cli.output import warn

        warn(f"aegisrt: {message}; {hint}")
    return 2


if __name__ == "__main__":
    entry()
