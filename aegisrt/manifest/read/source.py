"""`Source`: one file of a composition as read, and `read_file`, which reads it with positions and runs nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

import yaml

from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.core.suggest import did_you_mean
from aegisrt.core.system_error import is_exhausted
from aegisrt.manifest.contained import NotRegularError, is_link_away, read_at_most
from aegisrt.manifest.diagnostics.snippet import MOST_BYTES
from aegisrt.manifest.read.forbidden import hydra_refused, refuse_keys
from aegisrt.manifest.read.limits import MOST_LEVELS, too_deep
from aegisrt.manifest.read.paths import broken_link
from aegisrt.manifest.read.tree import Tree
from aegisrt.manifest.read.yaml_causes import has_conflict, merge_conflict
from aegisrt.manifest.read.yaml_errors import not_utf8, syntax_diagnostic
from aegisrt.manifest.read.yaml_loader import ManifestLoader
from aegisrt.manifest.read.yaml_tree import YamlReader

MAPPING_NAME = "<mapping>"
"""The name of a manifest that is a mapping from Python; its values have no place in a file."""
_HEADER = re.compile(r"\s*#\s*@(package|base)\b(.*)")


@dataclass(slots=True)
class Source:
    """One file or mapping of a composition."""

    name: str
    """Its path, as messages show it."""
    folder: Path
    """The folder that its relative paths start from."""
    tree: Tree
    """Its values, without the defaults list."""
    defaults: Tree | None = None
    """The value of its key `defaults`."""
    package: str | None = None
    """The package of its header `# @package`."""
    is_generated: bool = False
    """True for the generated base: its values count as defaults."""
    has_base: bool = True
    """False if its header is `# @base none`: the base configuration is left out."""
    diagnostics: list[Diagnostic] = field(default_factory=list)
    """Its errors and warnings."""
    local: list[Diagnostic] = field(default_factory=list)
    """Those of a single key or value, which leave the rest of the file readable."""


def read_file(path: Path, name: str, *, is_manifest: bool) -> Source:
    """Return a file's source. Raise nothing: an unreadable or broken file has diagnostics instead.

    A comment before the first value may hold `# @package NAME`, on any line (Hydra itself reads it on the first line
    only, which editors use for their modeline). A file that is not the manifest may be empty.
    """
    source = Source(name, path.parent, Tree({}, at=Location(name, 1, 1, 2)))
    text = _text(path, source)
    if text is not None:
        _read_header(text, source)
        _read_values(text, source, is_manifest=is_manifest)
    return source


def read_mapping(values: Mapping[Any, Any], folder: Path) -> Source:
    """Return the source of a mapping from Python; its relative paths are relative to `folder`."""
    source = Source(MAPPING_NAME, folder, Tree({}))
    tree = _from_python(values, (), source.local, set())
    source.diagnostics += source.local
    if isinstance(tree.value, dict):
        _accept(tree, source)
    return source


def _text(path: Path, source: Source) -> str | None:
    content = _content(path, source)
    if content is None:
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        source.diagnostics.append(not_utf8(content, error, source.name))
        return None


def _content(path: Path, source: Source) -> bytes | None:
    """Return the content of a file; its size is that of what is read, since files of the system report none."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # some devices do something when they are opened
            raise NotRegularError
        content = read_at_most(path, MOST_BYTES)
        if content is None:
            what = f"`{source.name}` has more than {MOST_BYTES} bytes, the most that a manifest has"
            _failed(source, "not-a-file", what, hint="give the YAML file; the manifest names the model's file")
        return content
    except NotRegularError:
        _failed(source, "not-a-file", f"`{source.name}` is not a regular file", hint="copy it to a file first")
    except (FileNotFoundError, NotADirectoryError):
        _failed(source, "file-not-found", f"no such file: `{source.name}`", hint=_beside(path))
    except IsADirectoryError:
        _failed(source, "is-a-directory", f"`{source.name}` is a folder, not a file", hint=_yaml_files(path))
    except PermissionError:
        _failed(source, "unreadable-file", f"no permission to read `{source.name}`", hint="change the file's mode")
    except (OSError, ValueError) as error:
        if is_exhausted(error):  # not an error of the manifest
            raise
        _failed(source, "unreadable-file", f"`{source.name}` cannot be read: {error}", hint="give another file")
    return None


def _beside(path: Path) -> str:
    """Return a hint: a file with a similar name, or the folder that does not exist."""
    if link := broken_link(path):
        return f"`{link}` is a link to `{link.readlink()}`, which does not exist"
    if not path.parent.is_dir():
        return f"the folder `{path.parent}` does not exist"
    label = did_you_mean(path.name, (file.name for file in path.parent.glob("*.y*ml")))
    return label or "give the path of a YAML file; without one, the packaged demo runs"


def _yaml_files(folder: Path) -> str:
    if is_link_away(str(folder)):
        return "it is a link to a folder; name a file"
    files = sorted(file.name for file in folder.glob("*.y*ml"))
    return f"name a file in it: {', '.join(f'`{file}`' for file in files[:5])}" if files else "it contains no YAML file"


def _read_header(text: str, source: Source) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            return
        header = _HEADER.fullmatch(line)
        if header is None:
            continue
        place = Location(source.name, number, line.index("#") + 1, len(line.rstrip()) + 1)
        words = header[2].split()
        if header[1] == "base":
            source.has_base = words != ["none"]
        elif len(words) != 1:
            hint = "write it as `# @package backends.onnx`"
            _failed(source, "package-header", "a package is one name", place, hint=hint)
        elif words[0].removeprefix("_global_.").split(".")[0] == "hydra":
            source.diagnostics.append(hydra_refused(place))
        elif words[0].count(".") >= MOST_LEVELS:
            source.diagnostics.append(too_deep(place))
        else:
            source.package = words[0]


def _read_values(text: str, source: Source, *, is_manifest: bool) -> None:
    if has_conflict(text) and (conflict := merge_conflict(text, source.name)):
        source.diagnostics.append(conflict)
        return
    try:
        loader = ManifestLoader(text)
        loader.name = source.name
        node = loader.get_single_node()
        reader = YamlReader(source.name, loader)
        tree = reader.tree(node) if node is not None else None
    except yaml.YAMLError as error:
        source.diagnostics.append(syntax_diagnostic(error, text, source.name))
        return
    source.local += reader.diagnostics
    source.diagnostics += reader.diagnostics
    if tree is None or tree.value is None:
        if is_manifest and not source.diagnostics:
            hint = "a manifest declares at least `models`; without a manifest, the packaged demo runs"
            _failed(source, "empty-file", f"`{source.name}` is empty", hint=hint)
    elif isinstance(tree.value, dict):
        _accept(tree, source)
    else:
        kind = "a list" if isinstance(tree.value, list) else "one value"
        hint = "write keys and values, such as `models:`"
        _failed(source, "not-a-mapping", f"a mapping was expected, this is {kind}", tree.at, hint=hint)


def _accept(tree: Tree, source: Source) -> None:
    assert isinstance(tree.value, dict)
    refused = refuse_keys(tree)
    source.local += refused
    source.diagnostics += refused
    kept = {key: child for key, child in tree.value.items() if key not in ("defaults", "hydra")}
    source.defaults = tree.value.get("defaults")
    source.tree = replace(tree, value=kept)


def _from_python(value: Any, path: tuple[str | int, ...], diagnostics: list[Diagnostic], seen: set[int]) -> Tree:
    is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)
    if is_list or isinstance(value, Mapping):
        if len(path) >= MOST_LEVELS:
            diagnostics.append(too_deep(Location(MAPPING_NAME, 1, 1, 2), ".".join(map(str, path))))
            return Tree(None)
        if id(value) in seen:
            return _not_plain(path, "it contains itself", diagnostics)
        seen = seen | {id(value)}
    if isinstance(value, Mapping):
        children = {}
        for key, child in value.items():
            if not isinstance(key, str):
                return _not_plain(path, f"its key {key!r} is not text", diagnostics)
            children[str(key)] = _from_python(child, (*path, key), diagnostics, seen)
        return Tree(children)
    if is_list:
        return Tree([_from_python(child, (*path, index), diagnostics, seen) for index, child in enumerate(value)])
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, PurePath):
        value = str(value)
    if value is None or type(value) in (str, int, float, bool):
        return Tree(value)
    return _not_plain(path, f"it is a {type(value).__name__}", diagnostics)


def _not_plain(path: tuple[str | int, ...], why: str, diagnostics: list[Diagnostic]) -> Tree:
    dotted = ".".join(map(str, path))
    message = f"`{dotted}` is not plain data: {why}" if path else f"the manifest is not plain data: {why}"
    hint = "use mappings with text keys, lists, text, numbers, booleans and None"
    diagnostics.append(Diagnostic("not-plain-data", message, Location(MAPPING_NAME, 1, 1, 2), path=dotted, hint=hint))
    return Tree(None)


def _failed(
    source: Source,
    id: str,  # noqa: A002
    message: str,
    place: Location | None = None,
    hint: str | None = None,
) -> None:
    place = place or Location(source.name, 1, 1, 2)
    source.diagnostics.append(Diagnostic(id, message, place, hint=hint))
