"""`aegisrt`: finds the verb, and imports only what that verb needs."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence

from aegisrt import __version__
from aegisrt.core.suggest import did_you_mean

VERBS = {
    "init": "write a first manifest for an ONNX file, and inputs to try it with",
    "run": "run a model of a manifest, and print what it answers",
    "validate": "check a manifest: every error at once, each with its place",
    "build": "build every engine file that a manifest needs",
    "graph": "show what would run where, as text, JSON or Mermaid",
    "explain": "show which file, line or override set each value",
    "config": "print the composed manifest as YAML",
    "artifacts": "list, verify and prune the cache of engine files",
    "backends": "list every known backend: available, or why not and what to install",
    "devices": "list the devices of this machine: usable, or why not",
    "doctor": "tell what is wrong with this machine, and the command that mends it",
    "schema": "write the JSON Schemas for editors and checkers",
    "conformance": "prove that a backend keeps the contract",
    "bench": "measure a model, beside its bare engine",
    "ci-matrix": "print the CI matrix that the files of configs/ci/ make",
    "completion": "print the script with which bash, zsh or fish completes all of this",
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

MANIFEST is a file that ends in .yaml or .yml; without one, the packaged digits demo is meant.
OVERRIDE is Hydra's grammar: `models.digits.backend=mock`, `env=prod`, `+models.x.path=x.onnx`, `~models.x`.
Exit codes: 0 fine, 1 it ran and something failed, 2 usage or manifest.

`aegisrt VERB --help` says more of a verb; `aegisrt --version` prints the version.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 fine, 1 it ran and something failed, 2 usage or manifest."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            code = _answered(words)
        finally:  # argparse exits when it has helped
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.filename is not None:  # of a file, not of a stream: no verb should let it through
            raise
        _discard_stdout()
        sys.stderr.write(f"aegisrt: cannot write to stdout: {error.strerror}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("aegisrt: interrupted\n")
        return 128 + signal.SIGINT
    return code


def _answered(words: list[str]) -> int:
    if len(words) > 1 and words[0] == "help" and words[1] in VERBS:
        words = [words[1], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return 0
    if words[0] in ("-V", "--version"):
        sys.stdout.write(f"aegisrt {__version__}\n")
        return 0
    if words[0] == "__complete":
        from aegisrt.cli.completion.complete import main as complete

        return complete(words[1:], VERBS)
    verb, *rest = _verb_first(words)
    if verb not in VERBS:
        return _usage_error(f"`{verb}` is not a verb", _meant(verb), words)
    code: int = importlib.import_module(f"aegisrt.cli.verbs.{verb.replace('-', '_')}").main(rest)
    return code


def _meant(word: str) -> str:
    """Return the hint for a word that is no verb: the near one, or the verb that a file belongs to."""
    if word.endswith((".yaml", ".yml")):
        return f"did you mean `aegisrt run {word}`?"
    if word.endswith(".onnx"):
        return f"did you mean `aegisrt init --model {word}`?"
    return did_you_mean(word, VERBS) or f"verbs are {', '.join(VERBS)}"


def entry() -> None:
    """Run the command and exit with its code; the console script."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell, as `>&-` does
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without Unicode still gets its answer
    sys.exit(main())


def _discard_stdout() -> None:
    """Send what is still buffered nowhere, so that Python's own flush at exit does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _verb_first(words: list[str]) -> list[str]:
    """Return the words with the verb before the options that stood before it: `--json run` is `run --json`."""
    at = next((index for index, word in enumerate(words) if word in VERBS), 0) if words[0].startswith("-") else 0
    return [words[at], *words[:at], *words[at + 1 :]]


def _usage_error(message: str, hint: str, words: Sequence[str]) -> int:
    from aegisrt.cli.arguments import asks_json, usage_error

    if asks_json(words):
        sys.stdout.write(usage_error(message, hint))
    else:
        sys.stderr.write(f"aegisrt: {message}; {hint}\n")
    return 2


if __name__ == "__main__":
    entry()
