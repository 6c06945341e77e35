"""`find_route`: from a method and a path to what the protocol does there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Action = Literal[
    "live", "ready", "server", "index", "statistics", "model", "model_ready", "model_config", "model_statistics",
    "infer", "load", "unload", "regions", "unregister", "register", "metrics",
]  # fmt: skip
Group = Literal["health", "metadata", "infer", "metrics", "admin"]


@dataclass(frozen=True, slots=True)
class Route:
    """One call of the protocol."""

    action: Action
    methods: tuple[str, ...]
    group: Group
    model: str = ""
    version: str = ""


_READ, _WRITE = ("GET", "HEAD"), ("POST",)
_FIXED: dict[str, tuple[Action, tuple[str, ...], Group]] = {
    "v2": ("server", _READ, "metadata"),
    "v2/health/live": ("live", _READ, "health"),
    "v2/health/ready": ("ready", _READ, "health"),
    "v2/models/stats": ("statistics", _READ, "metadata"),
    "v2/repository/index": ("index", _WRITE, "metadata"),
    "metrics": ("metrics", _READ, "metrics"),
}
_OF_MODEL: dict[str, tuple[Action, tuple[str, ...], Group]] = {
    "infer": ("infer", _WRITE, "infer"),
    "ready": ("model_ready", _READ, "health"),
    "config": ("model_config", _READ, "metadata"),
    "stats": ("model_statistics", _READ, "metadata"),
}
_LONGEST_CACHED = 256
_MEMORY = ("systemsharedmemory", "cudasharedmemory")


def find_route(path: str) -> Route | None:
    """Return the route of a decoded path without the mount's prefix; None if the protocol has none.

    A model's name may have slashes: clients do not escape them.
    """
    return _cached_route(path) if len(path) <= _LONGEST_CACHED else _route(path)


@lru_cache(maxsize=256)
def _cached_route(path: str) -> Route | None:
    return _route(path)


def _route(path: str) -> Route | None:
    path = path.strip("/")
    fixed = _FIXED.get(path)
    if fixed is not None:
        return Route(*fixed)
    head, _, rest = path.partition("/")
    if head != "v2":
        return None
    kind, _, rest = rest.partition("/")
    if kind == "models" and rest:
        return _model_route(rest)
    if kind == "repository" and rest.startswith("models/"):
        name, _, action = rest.removeprefix("models/").rpartition("/")
        if name and action == "load":
            return Route("load", _WRITE, "admin", name)
        if name and action == "unload":
            return Route("unload", _WRITE, "admin", name)
    return _memory_route(rest) if kind in _MEMORY else None


def _model_route(path: str) -> Route:
    name, _, last = path.rpartition("/")
    found = _OF_MODEL.get(last) if name else None
    action, methods, group = found or ("model", _READ, "metadata")
    return Route(action, methods, group, *_versioned(name if found else path))


def _versioned(path: str) -> tuple[str, str]:
    name, marker, version = path.rpartition("/versions/")
    return (name, version) if marker and name and version and "/" not in version else (path, "")


def _memory_route(path: str) -> Route | None:
    """Return the routes of shared memory, which is never registered: clients unregister and list it all the same."""
    last = path.rpartition("/")[2]
    if last == "status":
        return Route("regions", _READ, "metadata")
    if last == "unregister":
        return Route("unregister", _WRITE, "metadata")
    return Route("register", _WRITE, "metadata") if last == "register" else None
