"""Reads tests/manifest/corpus/*.txt: broken manifests and overrides, each with the exact places of its errors.

A case is `=== its name`, directives (`@@ ...`), and text. `«` and `»` stand around what an error must point at; they
are taken out before use, so that a place is what the case says, whatever the code computes. The directives:

    @@ error ID...      the ids of the errors in the order of their marks: the manifest's, other files', overrides'
    @@ override TEXT    one override of the command line, which may hold marks
    @@ file NAME        another file, whose text follows; a name may lie in folders
    @@ bytes ENCODING   the manifest is saved in this encoding (utf-8-sig, latin-1, utf-16, ...)
    @@ crlf             the manifest's lines end as on Windows
    @@ folder           the manifest is a folder
    @@ none             there is no manifest file
    @@ manifest         the manifest's text follows (as it does after the last other directive)

`{sha256}` in a text is the digest of the model file `digits.onnx`, which each case has beside its manifest, and `\\xNN`
in a manifest with `@@ bytes raw` is a byte.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

MODEL = b"not a model, but a file"
FOLDER = Path(__file__).parent / "corpus"


@dataclass
class Case:
    name: str
    source: str
    ids: list[str] = field(default_factory=list)
    manifest: str = ""
    overrides: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    encoding: str = "utf-8"
    flags: set[str] = field(default_factory=set)

    def expected(self) -> list[tuple[str, str, int, int, int | None]]:
        """Return id, file, line, column and end column of each error; no end where a mark is empty or of many lines."""
        places = [("deploy.yaml", *mark) for mark in marks(self.manifest)]
        for name, text in self.files.items():
            places += [(name, *mark) for mark in marks(text)]
        for text in self.overrides:
            places += [(f"override {unmarked(text)}", *mark) for mark in marks(text)]
        assert len(places) == len(self.ids), f"{self.name}: {len(places)} marks, ids {self.ids}"
        return sorted((error_id, *place) for error_id, place in zip(self.ids, places, strict=True))

    def write(self, folder: Path) -> Path:
        """Write all files of the case and return the manifest's path."""
        (folder / "digits.onnx").write_bytes(MODEL)
        for name, text in self.files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(unmarked(text), encoding="utf-8", newline="")
        manifest = folder / "deploy.yaml"
        if "folder" in self.flags:
            manifest.mkdir()
        elif "none" not in self.flags:
            manifest.write_bytes(self._bytes())
        return manifest

    def _bytes(self) -> bytes:
        text = unmarked(self.manifest)
        if "crlf" in self.flags:
            text = text.replace("\n", "\r\n")
        if self.encoding == "raw":
            return text.encode("latin-1").decode("unicode_escape").encode("latin-1")
        return text.encode(self.encoding)


def marks(text: str) -> list[tuple[int, int, int | None]]:
    """Return line, column and end column of each marked part of a text, as they are once the marks are gone."""
    found: list[tuple[int, int, int | None]] = []
    line, column = 1, 1
    open_marks: list[tuple[int, int]] = []
    for char in _filled(text):
        if char == "«":
            open_marks.append((line, column))
        elif char == "»":
            start = open_marks.pop()
            one_line = start[0] == line and start[1] < column
            found.append((*start, column if one_line else None))
        elif char == "\n":
            line, column = line + 1, 1
        else:
            column += 1
    return found


def unmarked(text: str) -> str:
    return _filled(text).replace("«", "").replace("»", "")


def _filled(text: str) -> str:
    return text.replace("{sha256}", hashlib.sha256(MODEL).hexdigest())


def read_cases() -> list[Case]:
    return [case for file in sorted(FOLDER.glob("*.txt")) for case in _parse(file)]


def _parse(file: Path) -> list[Case]:
    cases: list[Case] = []
    target = "manifest"
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.startswith("=== "):
            cases.append(Case(line[4:].strip(), file.stem))
            target = "manifest"
        elif line.startswith("@@ "):
            target = _directive(cases[-1], line[3:].rstrip("\n"), target)
        elif not cases:
            continue  # what a file says about itself, before its first case
        elif target == "manifest":
            cases[-1].manifest += line
        else:
            cases[-1].files[target] += line
    for case in cases:
        case.manifest = case.manifest.rstrip("\n") + "\n" if case.manifest.strip() else ""
    return cases


def _directive(case: Case, text: str, target: str) -> str:
    word, _, rest = text.partition(" ")
    match word:
        case "error":
            case.ids += rest.split()
        case "override":
            case.overrides.append(rest)
        case "bytes":
            case.encoding = rest
        case "file":
            case.files[rest] = ""
            return rest
        case "manifest":
            return "manifest"
        case "crlf" | "folder" | "none":
            case.flags.add(word)
        case _:
            raise AssertionError(f"{case.name}: unknown directive {text!r}")
    return target
