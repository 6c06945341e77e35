"""`drop_unfit`: removes packaged options of a kind that the user has changed."""

from __future__ import annotations

from dataclasses import replace

from aegisrt.manifest.compose.fields import MANIFEST, Fields
from aegisrt.manifest.read.tree import Tree

_SECTIONS = ("devices", "backends")


def drop_unfit(root: Tree, fields: Fields) -> Tree:
    """Return `root` without the packaged options that the new kind of an option set does not have.

    So `backends.onnx.kind=mock` works under an env that tunes ONNX Runtime. An option set that only packaged files set,
    without a kind, belongs to a backend that is not installed: it is removed too. Options from the user's own files
    stay, and are errors if they do not fit.
    """
    if not isinstance(root.value, dict):
        return root
    sections = dict(root.value)
    for name in _SECTIONS:
        section = sections.get(name)
        if section is not None and isinstance(section.value, dict):
            around = fields.inside(MANIFEST, name, root)
            fitting = {
                key: _fitting(child, fields.inside(around, key, section), fields)
                for key, child in section.value.items()
                if child.child("kind") is not None or not _all_packaged(child)
            }
            sections[name] = replace(section, value=fitting)
    return replace(root, value=sections)


def _fitting(options: Tree, expected: object, fields: Fields) -> Tree:
    kind = options.child("kind")
    if not isinstance(options.value, dict) or kind is None or kind.is_packaged:
        return options
    kept = {
        key: child
        for key, child in options.value.items()
        if not child.is_packaged or fields.inside(expected, key, options) is not None
    }
    return replace(options, value=kept)


def _all_packaged(tree: Tree) -> bool:
    return isinstance(tree.value, dict) and all(child.is_packaged for _, child in tree.walk())
