"""A composition read from YAML text alone: no Hydra, no base configuration; positions by `yaml.compose`."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from aegisrt.core.diagnostic import Location
from aegisrt.core.options import BackendOptions
from aegisrt.manifest.origin import Origin


class MockLike(BackendOptions):
    kind: Literal["mock"] = "mock"
    delay_ms: Annotated[float, Field(ge=0)] = 0.0


class TensorRTLike(BackendOptions):
    nicknames = ("trt",)
    kind: Literal["tensorrt"] = "tensorrt"
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    workspace_bytes: Annotated[int, Field(ge=0)] = 0


KINDS = {"mock": MockLike, "tensorrt": TensorRTLike}


@dataclass
class YamlOrigins:
    places: dict[tuple[Any, ...], Origin]

    def of(self, path):
        return self.places.get(tuple(path), Origin("default"))


@dataclass
class YamlComposition:
    values: dict[str, Any]
    origins: YamlOrigins
    name: str = "deploy.yaml"
    text: str = ""
    diagnostics: list[Any] = field(default_factory=list)
    variables: frozenset[str] = frozenset()


def composed(text: str, name: str = "deploy.yaml", set_by: str | None = None) -> YamlComposition:
    text = textwrap.dedent(text).lstrip("\n")
    places: dict[tuple[Any, ...], Origin] = {}
    root = yaml.compose(text)

    def visit(node, path, key=None):
        places[path] = Origin("file", key, place(node, name), set_by=set_by)
        if isinstance(node, yaml.MappingNode):
            for key_node, value_node in node.value:
                visit(value_node, (*path, yaml.safe_load(key_node.value)), place(key_node, name))
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                visit(item, (*path, index))

    if root is not None:
        visit(root, ())
    return YamlComposition(yaml.safe_load(text) or {}, YamlOrigins(places), name, text)


def place(node, name):
    start, end = node.start_mark, node.end_mark
    width = end.column - start.column if start.line == end.line else 1
    return Location(name, start.line + 1, start.column + 1, start.column + 1 + max(1, width))
