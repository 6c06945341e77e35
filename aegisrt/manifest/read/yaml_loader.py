"""`ManifestLoader` and `ManifestDumper`: the YAML of manifests, which is YAML 1.1 by OmegaConf's rules.

The rules are those of `omegaconf._utils.get_yaml_loader` (OmegaConf 2.3), so that a value is what Hydra would read:
numbers with an exponent and no dot are floats (`1e3`), and dates stay text. Written over PyYAML's public API; a test
holds both classes to OmegaConf's.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from aegisrt.core.suggest import with_unseen_escaped
from aegisrt.manifest.read.limits import MOST_LEVELS, MOST_VALUES, TOO_DEEP, TOO_MANY

_FLOAT = "tag:yaml.org,2002:float"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_FLOATS = re.compile(
    r"""^(?:
     [-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)
    |\.[0-9]+(?:_[0-9]+)*(?:[eE][-+][0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?::[0-5]?[0-9])+\.[0-9_]*
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
_BOOLS_OF_OTHERS = frozenset("yYnN")
"""Booleans of YAML 1.1 that PyYAML reads as text; other readers do not."""
_COMMAND = re.compile(r"^\s*::", re.MULTILINE)
"""A line that GitHub Actions would execute in a log as a workflow command."""


class TooDeepError(yaml.MarkedYAMLError):
    """A mapping or a list inside of too many others."""


class TooManyError(yaml.MarkedYAMLError):
    """A key or a value beyond the limit."""


class ManifestLoader(yaml.SafeLoader):
    """Reads the nodes of a manifest. It makes scalars only; `YamlReader` refuses duplicate keys and other tags."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._levels = 0
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return the next node, as PyYAML's own method does, which calls this one for each level.

        Raises TooDeepError, and TooManyError before PyYAML spends its time on the rest of a large file.
        """
        self._nodes += 1
        if self._nodes > MOST_VALUES:
            raise TooManyError(problem=TOO_MANY, problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        is_collection = self.check_event(yaml.MappingStartEvent, yaml.SequenceStartEvent)
        if is_collection and self._levels == MOST_LEVELS:
            raise TooDeepError(problem=TOO_DEEP, problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        self._levels += is_collection
        try:
            return super().compose_node(parent, index)
        finally:
            self._levels -= is_collection

    def fetch_flow_collection_start(self, token: Any) -> None:
        """Read the bracket that opens a mapping or a list, as PyYAML's own method does.

        Raises TooDeepError: the time of PyYAML's scanner grows with the square of the brackets that are open, and it
        also runs alone, to find the cause of an error. It reads ahead of `compose_node`, so levels by indentation count
        here too: both report the same bracket.
        """
        if len(self.indents) + self.flow_level == MOST_LEVELS:
            raise TooDeepError(problem=TOO_DEEP, problem_mark=self.get_mark())
        super().fetch_flow_collection_start(token)

    def scan_yaml_directive_number(self, start_mark: Any) -> int:
        """Read a number of `%YAML 1.1`, as PyYAML's own method does, which raises ValueError for thousands of digits.

        Raises yaml.MarkedYAMLError.
        """
        try:
            number: int = super().scan_yaml_directive_number(start_mark)
        except ValueError:
            problem = "found a version of YAML that is too long"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=start_mark) from None
        return number


class ManifestDumper(yaml.SafeDumper):
    """Writes plain data so that `ManifestLoader` reads the same data; numbers and booleans as text are quoted."""


def _text(dumper: ManifestDumper, text: str) -> yaml.ScalarNode:
    style = "'" if text in _BOOLS_OF_OTHERS or is_number(text) else None
    if _COMMAND.search(text) or with_unseen_escaped(text) != text:
        style = '"'  # in other styles, PyYAML also folds the line breaks among the unseen to a blank
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def is_number(text: str) -> bool:
    """Return True if Python reads the text as a number: readers of YAML 1.2 may do so too (`08`)."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _without_timestamps(resolvers: dict[str, list[tuple[str, Any]]]) -> dict[str, list[tuple[str, Any]]]:
    return {start: [pair for pair in pairs if pair[0] != _TIMESTAMP] for start, pairs in resolvers.items()}


for _class in (ManifestLoader, ManifestDumper):
    _class.add_implicit_resolver(_FLOAT, _FLOATS, list("-+0123456789."))
ManifestLoader.yaml_implicit_resolvers = _without_timestamps(ManifestLoader.yaml_implicit_resolvers)
ManifestDumper.add_representer(str, _text)
