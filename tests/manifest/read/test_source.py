"""Files are read with exact positions, as OmegaConf reads them, and nothing in them runs."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from aegisrt.manifest.diagnostics.report import render_text
from aegisrt.manifest.diagnostics.snippet import MOST_BYTES
from aegisrt.manifest.read.source import MAPPING_NAME, read_file, read_mapping


@pytest.fixture
def read(tmp_path):
    def read(text, *, is_manifest=True):
        file = tmp_path / "deploy.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_file(file, "deploy.yaml", is_manifest=is_manifest)

    return read


def at(source, *path):
    node = source.tree.get(path)
    return node.key and (node.key.line, node.key.column), (node.at.line, node.at.column, node.at.end_column)


def test_every_key_and_value_has_its_place(read):
    source = read("models:\n  digits:\n    path: 'a b.onnx'  # why\n    shape: [é, 12,\n      null]\n")
    assert source.diagnostics == []
    assert at(source, "models", "digits", "path") == ((3, 5), (3, 11, 21))
    assert at(source, "models", "digits", "shape", 1) == (None, (4, 16, 18))
    assert at(source, "models", "digits", "shape", 2) == (None, (5, 7, 11))
    assert at(source, "models", "digits") == ((2, 3), (3, 5, 21)), "a mapping is where its first key is"


@pytest.mark.parametrize(("start", "line"), [("\ufeff", 1), ("# héllo\r\n", 2), ("---\n", 2)])
def test_columns_count_characters(read, start, line):
    source = read(f"{start}a: {{'ключ': 値, b: 1}}\r\n")
    assert at(source, "a", "ключ") == ((line, 5), (line, 13, 14))
    assert at(source, "a", "b") == ((line, 16), (line, 19, 20))


def test_merge_keys_and_aliases_keep_the_places_of_what_they_stand_for(read):
    source = read("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\nz: *x\nw:\n  <<: [*x, {b: 9, c: 8}]\n")
    assert source.diagnostics == []
    assert source.tree.plain()["y"] == {"a": 1, "b": 3}
    assert source.tree.plain()["w"] == {"a": 1, "b": 2, "c": 8}
    assert at(source, "y", "a") == at(source, "z", "a") == ((1, 8), (1, 11, 12))
    assert at(source, "y", "b") == ((4, 3), (4, 6, 7))


def test_all_duplicate_keys_are_found_and_name_the_first(read):
    source = read("a: 1\nb: {c: 1, c: 2}\na: 2\n")
    assert [(one.id, one.location.line, one.location.column) for one in source.diagnostics] == [
        ("duplicate-key", 2, 11),
        ("duplicate-key", 3, 1),
    ]
    assert source.diagnostics[0].notes[0].location.column == 5


SCALARS = [
    "010",
    "1:30",
    "1e3",
    "1.5e-3",
    "on",
    "No",
    "~",
    "2020-01-01",
    ".5",
    "+.inf",
    "1_000",
    "0x1F",
    "0b11",
    "'3'",
    "a",
]


@pytest.mark.parametrize("text", SCALARS)
def test_a_scalar_is_what_omegaconf_reads(read, text):
    expected = OmegaConf.to_container(OmegaConf.create(f"a: {text}"))
    got = read(f"a: {text}").tree.plain()
    assert (got, type(got["a"])) == (expected, type(expected["a"]))


@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_no_text_makes_it_raise(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("any") / "deploy.yaml"
    file.write_bytes(text.encode())
    source = read_file(file, "deploy.yaml", is_manifest=True)
    assert source.diagnostics or isinstance(source.tree.value, dict)


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [echo]",
        "a: !!python/name:os.system",
        "a: !!python/object/apply:pathlib.Path [x]",
        "!!python/object/new:type {}",
        "a: !!timestamp 2020-01-01",
        "a: =",
    ],
)
def test_tags_are_refused_before_anything_is_made(read, text):
    assert {one.id for one in read(text).diagnostics} == {"yaml-tag"}


def test_the_expansion_of_aliases_is_bounded(read):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert [one.id for one in read("\n".join(lines)).diagnostics] == ["yaml-syntax"]


def test_an_alias_of_what_holds_it_is_an_error(read):
    assert [(one.id, one.location.line) for one in read("a: &a\n  b: *a\n").diagnostics] == [("yaml-syntax", 1)]


@pytest.mark.parametrize("key", ["1", "true", "null", "1.5", "? [a, b]\n"])
def test_a_key_is_text(read, key):
    assert [one.id for one in read(f"{key}: x\n").diagnostics] == ["key-not-text"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# yaml-language-server: $schema=x.json\n# @package backends.onnx\nkind: onnx\n", "backends.onnx"),
        ("# @package _global_\nkind: onnx\n", "_global_"),
        ("#@package a.b\n\n# more\nkind: onnx\n", "a.b"),
        ("kind: onnx\n# @package late\n", None),
        ("# a word about @package\nkind: onnx\n", None),
    ],
)
def test_the_package_stands_in_any_comment_before_the_first_value(read, text, expected):
    source = read(text)
    assert (source.package, source.diagnostics) == (expected, [])


@pytest.mark.parametrize("header", ["# @package", "# @package a b"])
def test_a_wrong_header_is_an_error(read, header):
    assert [one.id for one in read(f"{header}\na: 1\n").diagnostics] == ["package-header"]


@pytest.mark.parametrize("package", ["hydra", "hydra.job", "_global_.hydra"])
def test_no_package_reaches_hydra(read, package):
    assert [one.id for one in read(f"# @package {package}\nsearchpath: [x]\n").diagnostics] == ["hydra-key"]


def test_a_group_s_file_may_be_empty_but_a_manifest_may_not(read):
    assert read("# nothing yet\n", is_manifest=False).diagnostics == []
    assert [one.id for one in read("# nothing yet\n").diagnostics] == ["empty-file"]


def test_a_file_that_is_not_there_says_what_is(tmp_path):
    (tmp_path / "deploy.yaml").write_text("a: 1")
    found = read_file(tmp_path / "deplyo.yaml", "deplyo.yaml", is_manifest=True).diagnostics
    assert [one.id for one in found] == ["file-not-found"]
    assert "`deploy.yaml`" in found[0].hint


def test_a_name_that_no_file_can_have():
    found = read_file(Path("a\0b.yaml"), "a\0b.yaml", is_manifest=True).diagnostics
    assert [one.id for one in found] == ["unreadable-file"]


def test_a_mapping_has_values_and_no_places(tmp_path):
    source = read_mapping({"a": {"b": (1, tmp_path / "x")}}, tmp_path)
    assert source.name == MAPPING_NAME
    assert source.tree.plain() == {"a": {"b": [1, str(tmp_path / "x")]}}
    assert source.tree.get(("a", "b", 0)).at is None


def test_a_mapping_holds_plain_data_only(tmp_path):
    loop = {}
    loop["self"] = loop
    for values, path in (
        ({"a": {"b": object()}}, "a.b"),
        ({"a": {1: 2}}, "a"),
        ({"x": loop}, "x.self"),
        ({"a": {1}}, "a"),
    ):
        found = read_mapping(values, tmp_path).diagnostics
        assert [(one.id, one.path) for one in found] == [("not-plain-data", path)]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (os.mkfifo, "is not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
        (lambda path: path.write_bytes(b"#" * (MOST_BYTES + 1)), f"has more than {MOST_BYTES} bytes"),
    ],
    ids=["pipe", "device", "huge"],
)
def test_what_would_never_end_is_not_read(tmp_path, make, said):
    file = tmp_path / "deploy.yaml"
    make(file)
    (found,) = read_file(file, str(file), is_manifest=True).diagnostics
    assert (found.id, found.location.line, found.location.column) == ("not-a-file", 1, 1)
    assert said in found.message
    assert said in render_text([found])


def test_too_many_aliases_are_one_error(read):
    lines = [f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 9)}]}}" for before, name in pairwise("abcdefgh")]
    assert [one.message for one in read("\n".join(["a: &a {x: 1}", *lines])).diagnostics] == [
        "more than 100000 values, once aliases are expanded"
    ]
