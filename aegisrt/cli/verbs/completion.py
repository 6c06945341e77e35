"""`aegisrt completion`: print the completion script of a shell."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from aegisrt.cli import completion
from aegisrt.cli.arguments import parse, verb_parser
from aegisrt.cli.output import print_json

SHELLS = ("bash", "zsh", "fish")
DESCRIPTION = """Print the script that completes verbs, options, files, groups, key paths and values in a shell.

    eval "$(aegisrt completion bash)"                             in ~/.bashrc
    eval "$(aegisrt completion zsh)"                              in ~/.zshrc, after compinit
    aegisrt completion fish > ~/.config/fish/completions/aegisrt.fish

exit codes: 0 success, 2 a usage error."""


def main(argv: Sequence[str]) -> int:
    """Return 0."""
    parser = verb_parser("completion", DESCRIPTION, takes="bash|zsh|fish")
    parser.keys = SHELLS
    arguments = parse(parser, argv, takes_key=True)
    if arguments.key not in SHELLS:
        parser.error(f"name a shell: {', '.join(SHELLS)}")
    script = Path(str(completion.__file__)).with_name(f"completion.{arguments.key}").read_text(encoding="utf-8")
    if arguments.format == "json":
        print_json({"ok": True, "shell": arguments.key, "script": script})
    else:
        sys.stdout.write(script)
    return 0
