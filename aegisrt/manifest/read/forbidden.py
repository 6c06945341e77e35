"""`refuse_keys`: keys that would let data choose code; no file, mapping or override may contain them."""

from __future__ import annotations

from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.manifest.origin import KeyPath
from aegisrt.manifest.read.tree import Tree

INSTANTIATE_KEYS = frozenset({"_target_", "_recursive_", "_partial_", "_args_", "_convert_"})
NOWHERE = Location("<mapping>", 1, 1, 2)


def refuse_keys(tree: Tree) -> list[Diagnostic]:
    """Return a diagnostic for the key `hydra` at the top of a file's `tree`, and for each key of `refuse_targets`."""
    diagnostics = []
    if isinstance(tree.value, dict) and "hydra" in tree.value:
        diagnostics.append(hydra_refused(tree.value["hydra"].key or NOWHERE))
    return diagnostics + refuse_targets(tree)


def refuse_targets(tree: Tree, around: KeyPath = ()) -> list[Diagnostic]:
    """Return a diagnostic for each of Hydra's instantiate keys in `tree`, which is at the path `around`."""
    return [
        target_refused(str(path[-1]), node.key or NOWHERE, ".".join(map(str, (*around, *path))))
        for path, node in tree.walk()
        if path and path[-1] in INSTANTIATE_KEYS
    ]


def hydra_refused(place: Location, path: str = "hydra") -> Diagnostic:
    """Return the diagnostic of an attempt to configure Hydra: its search path and callbacks import and run code."""
    hint = "remove it; give folders of groups with `--config-dir`"
    message = "a manifest cannot configure Hydra itself, since that can run code"
    return Diagnostic("hydra-key", message, place, path=path, hint=hint)


def target_refused(key: str, place: Location, path: str) -> Diagnostic:
    """Return the diagnostic of one of Hydra's instantiate keys."""
    message = f"`{key}` names code to run; a manifest is data and never chooses code"
    hint = "remove it; a backend's code is chosen by its `kind`"
    return Diagnostic("target-key", message, place, path=path, hint=hint)
