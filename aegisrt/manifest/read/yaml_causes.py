"""`likely_cause`: the slip behind an error of YAML's syntax, at its own place.

PyYAML fails where a text can no longer be read, which is often a line after the slip: `digits` without its colon takes
the next line for its continuation.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.core.suggest import escaped
from aegisrt.manifest.diagnostics.snippet import LINE_BREAK
from aegisrt.manifest.read.lookalikes import lookalike
from aegisrt.manifest.read.yaml_loader import ManifestLoader

_CONFLICT = re.compile(r"(<{7}|={7}|>{7}|\|{7})(\s|$)")
_TEMPLATE = re.compile(r"\{\{-?|\{%-?|<%")
_PLACEHOLDER = re.compile(r"\{\{.*?\}\}|\{%.*?%\}")
_ASSIGNED = re.compile(r"([\w.-]+)\s*=\s*(.*)")
_QUOTED = re.compile(r"'[^']*'|\"(?:\\.|[^\"\\])*\"|(?:^|\s)#.*")
RENDER = "render the template first (Jinja, Helm), or write `${oc.env:NAME}` for an environment variable"


def merge_conflict(text: str, name: str) -> Diagnostic | None:
    """Return the diagnostic of the first line that a merge of version control left, or None."""
    for number, line in enumerate(LINE_BREAK.split(text), 1):
        if found := _CONFLICT.match(line):
            message = f"a merge conflict is left in this file: `{found[1]}`"
            hint = "keep one of the two versions, and remove the lines `<<<<<<<`, `=======` and `>>>>>>>`"
            return Diagnostic("yaml-syntax", message, Location(name, number, 1, len(line.rstrip()) + 1), hint=hint)
    return None


def has_conflict(text: str) -> bool:
    """Return True if a text has both ends of a conflict; such a text may well be YAML."""
    starts = {line[:7] for line in LINE_BREAK.split(text) if _CONFLICT.match(line)}
    return {"<" * 7, ">" * 7} <= starts


def placeholder(text: str) -> str | None:
    """Return the first placeholder of a template in a text, `{{ x }}` or `{% x %}`, or None."""
    found = _PLACEHOLDER.search(text)
    return found[0] if found else None


def likely_cause(error: yaml.MarkedYAMLError, text: str, name: str) -> Diagnostic | None:
    """Return the diagnostic of the slip behind an error, or None if none is known."""
    lines = LINE_BREAK.split(text)
    line = error.problem_mark.line if error.problem_mark else len(lines) - 1
    return merge_conflict(text, name) or _template(lines, line, name) or _slip(error, text, lines, name)


def _template(lines: list[str], last: int, name: str) -> Diagnostic | None:
    """Return the diagnostic of a template's bracket on the line of an error, or on the nearest line above it."""
    for number in range(min(last, len(lines) - 1), -1, -1):
        if found := _TEMPLATE.search(_blanked(lines[number])):
            rest = lines[number][found.start() :]
            end = found.start() + len(placeholder(rest) or found[0])
            place = Location(name, number + 1, found.start() + 1, end + 1)
            return template_diagnostic(lines[number][found.start() : end], place)
    return None


def template_diagnostic(shown: str, place: Location) -> Diagnostic:
    """Return the diagnostic of a placeholder that was not filled in."""
    return Diagnostic("yaml-syntax", f"`{escaped(shown)}` is a template's placeholder", place, hint=RENDER)


def _blanked(line: str) -> str:
    """Return a line with blanks for its quoted texts and its comment."""
    return _QUOTED.sub(lambda found: " " * len(found[0]), line)


def _slip(error: yaml.MarkedYAMLError, text: str, lines: list[str], name: str) -> Diagnostic | None:
    problem = error.problem or ""
    scalar = _last_scalar(text)
    if scalar is None or not problem.startswith(("mapping values are not", "could not find expected ':'")):
        return None
    start = scalar.start_mark
    last = error.problem_mark.line if error.problem_mark else start.line
    for number in range(start.line, min(last, len(lines) - 1) + 1):
        if odd := lookalike(lines[number]):
            place = Location(name, number + 1, odd.index + 1, odd.index + 2)
            return Diagnostic("yaml-syntax", odd.message, place, hint=odd.hint)
    line = lines[start.line]
    if line[: start.column].strip(" -?") or (scalar.end_mark.line == start.line and "could" not in problem):
        return None
    return _no_colon(line[start.column :].split(" #")[0].rstrip(), start, name)


def _no_colon(written: str, start: Any, name: str) -> Diagnostic | None:
    place = Location(name, start.line + 1, start.column + 1, start.column + 1 + len(written))
    if assigned := _ASSIGNED.fullmatch(written):
        message = f"`{escaped(written)}` is not YAML: a key is followed by `:`"
        return Diagnostic("yaml-syntax", message, place, hint=f"write `{escaped(f'{assigned[1]}: {assigned[2]}')}`")
    if written.startswith(("//", "/*")):
        return Diagnostic("yaml-syntax", "a comment of YAML starts with `#`", place, hint="write `# ...`")
    if not re.match(r"[\w.-]+( |$)", written) or ":" in written:
        return None
    key, _, value = written.partition(" ")
    hint = f"write `{escaped(f'{key}: {value.strip()}' if value else f'{key}:')}`"
    return Diagnostic("yaml-syntax", f"`{escaped(key)}` has no `:` after it", place, hint=hint)


def _last_scalar(text: str) -> Any:
    """Return the token of the last plain scalar before the scanner fails; None if it is of another sort."""
    loader, token = ManifestLoader(text), None
    try:
        while loader.check_token():
            token = loader.get_token()  # type: ignore[no-untyped-call]
    except yaml.YAMLError:
        token = next((one for one in reversed(loader.tokens) if isinstance(one, yaml.ScalarToken)), token)
        return token if isinstance(token, yaml.ScalarToken) and token.plain else None
    return None
