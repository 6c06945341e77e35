"""Hints for interpolations that are written as another program has them: `${HOME}`, `${env:NAME}`, `${NAME:-VALUE}`."""

from __future__ import annotations

import os
import re
from typing import Any

from aegisrt.manifest.origin import KeyPath


def environment_hint(path: KeyPath) -> str | None:
    """Return a hint if a key looks like the name of an environment variable: `${HOME}`, `${env.HOME}`."""
    name = str(path[-1])
    is_variable = len(path) == 1 and (name in os.environ or re.fullmatch("[A-Z][A-Z0-9_]*", name))
    if is_variable or path[0] == "env" or path[:2] == ("oc", "env"):
        return f"for the environment variable write `${{oc.env:{name}}}`"
    return None


def resolver_hint(name: str, args: tuple[Any, ...]) -> str | None:
    """Return a hint for a shell's default, `${NAME:-VALUE}`, and for `${env:NAME}`."""
    if name.casefold() == "env" and args:
        return f"write `${{oc.env:{','.join(map(str, args))}}}`"
    if re.fullmatch("[A-Z][A-Z0-9_]*", name):
        value = str(args[0]).removeprefix("-") if args else "VALUE"
        return f"for the environment variable with a default write `${{oc.env:{name},{value}}}`"
    return None
