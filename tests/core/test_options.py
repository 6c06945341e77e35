"""The docstrings of fields are descriptions in JSON Schemas, those of a third party's options too."""

from __future__ import annotations

from typing import Literal

import pytest

from aegisrt.core.options import BackendOptions, StrictModel


class Inner(StrictModel):
    depth: int = 1
    """How deep it is.

    Two paragraphs.
    """
    bare: int = 2


class Outer(BackendOptions):
    kind: Literal["outer"] = "outer"
    inner: Inner = Inner()
    """What is in it."""
    device: str = "cpu"
    """Its own text."""


def test_descriptions_are_docstrings_of_the_class_and_of_those_that_it_extends():
    schema = Outer.model_json_schema()
    fields = schema["properties"]
    assert fields["inner"]["description"] == "What is in it."
    assert fields["device"]["description"] == "Its own text."
    assert fields["stream"]["description"].startswith("The name of a stream")
    assert fields["kind"]["description"].startswith("Which backend")
    inner = schema["$defs"]["Inner"]["properties"]
    assert inner["depth"]["description"] == "How deep it is.\n\nTwo paragraphs."
    assert "description" not in inner["bare"]


@pytest.mark.parametrize("error", [OSError, TypeError, KeyError])
def test_a_class_without_its_source_has_no_descriptions(error, monkeypatch):
    def getfile(obj):
        raise error("nowhere")  # KeyError: as TVM's own `inspect.getfile` raises it

    monkeypatch.setattr("inspect.getfile", getfile)
    made = {"__name__": "nowhere"}
    exec("from aegisrt.core.options import StrictModel\nclass M(StrictModel):\n    a: int = 1\n    'text'\n", made)
    assert "description" not in made["M"].model_json_schema()["properties"]["a"]
