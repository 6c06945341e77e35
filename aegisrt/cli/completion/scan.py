"""`read_yaml`: a file's YAML as plain texts, under limits.

manifest/read, which checks manifests, imports too much for a prompt. A prompt must not hang, fill memory or end its
shell, whatever the file is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_MOST_BYTES = 1 << 20
_DEEPEST = 64
_MOST_EVENTS = 100_000


def read_yaml(file: Path) -> tuple[str, Any]:
    """Return a file's text and its values; scalars are text, and merge keys stay. Without a readable one: "" and None.

    A file that is not regular, has more than 1 MiB, or nests too deeply is not read.
    """
    import yaml

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        if not file.is_file():
            return "", None
        with file.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
        text = content.decode("utf-8")
        if len(content) > _MOST_BYTES or not _is_small(text, loader):
            return "", None
        return text, yaml.load(text, loader)  # noqa: S506  (it makes lists, mappings and texts alone)
    except (OSError, ValueError, RecursionError, MemoryError, yaml.YAMLError):
        return "", None


def _is_small(text: str, loader: Any) -> bool:
    """Return whether a text nests little enough: composing it takes the C stack at each level."""
    import yaml

    depth = 0
    for count, event in enumerate(yaml.parse(text, loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST or count > _MOST_EVENTS:
            return False
    return True
