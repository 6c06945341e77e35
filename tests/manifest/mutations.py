"""Strategies that break a good manifest: lines deleted, swapped, reindented, keys renamed, values of another type."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import strategies as st

GOOD = """\
# A manifest that has a little of everything.
api_version: aegisrt/v1
defaults:
  - stream: default
devices:
  cpu: {kind: cpu, threads: 2}
  gpu0:
    kind: cuda
    ordinal: 0
streams:
  main: {device: gpu0, priority: high}
backends:
  slow: &slow
    kind: mock
    device: gpu0
    stream: main
    delay_ms: 0.5
  slower:
    <<: *slow
    delay_ms: 1.5
  fast: {kind: tensorrt, device: gpu0, precision: "fp16", workspace_bytes: 1024}
models:
  digits:
    path: digits.onnx   # beside this file
    backend: slow
    instances: 2
    sha256: null
    signature:
      inputs:
        "画像 1": {dtype: FP32, shape: [batch, 1, 8, null]}
      outputs: {probabilities: {dtype: FP32}}
  second:
    path: digits.onnx
    backend: ${models.digits.backend}
    warmup: 1
"""


def _words(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from(text.split())


VALUES = _words(
    r"""'' "" ' " null ~ yes 5 -1 1.5 .nan .inf 1e400 0x1F 010 1:30 99999999999999999999 "5" [] {} [a {a [1, {b: 2}] {a:
    1} *slow *nothing &x &slow !!int !!str !!set !x | > >- |- %x @x `x ? - : # ??? ${ ${x} ${models}
    ${models.digits} ${..x} ${oc.env:HOME} ${oc.env:NONE_OF_THIS} ${x:y} \${x} ${models.digits.path}
    ${models.second.backend} << a:b a: mock onnx tensorrt cuda cpu gpu0 main Main digits.onnx /dev/null /dev/zero .
    .. / 画像 \x00 "\0" "\ud800" "\x1b[31m" 2026-01-01 2026-01-01T00:00:00 !!timestamp !!binary _target_ hydra
    defaults _self_ override {_target_:x} -5 +5 🚀
    {{x}} {{ {%x%} <<<<<<< ======= >>>>>>> 010 1:30:00 089 ${HOME} ${HOME:-x} ${env:X} $HOME/x https://x/y file:///x a=b
    input.1 ${oc.decode:${oc.env:NONE,[}} ${oc.decode:} {"a":1} ${a"""
)
KEYS = _words(
    r"""path bakend Backend kind hydra _target_ defaults models << 5 yes null ~ "" '' "a 画像 ? : & * ! | > ' " % @ `
    device stream 1.5 {a:1} [a] env "\0" a.b a/b"""
)
LOOKALIKES = [*"\u00a0\u3000\uff1a\uff1d\u201c\u200b"]
CHARS = st.sampled_from(
    [
        *LOOKALIKES,
        *"\t\r\n\x00\x01\x1b\x7f\x85\u2028\u202e\ufeff\ud800{}[]:#,-?&*!|>'\"%@` $\\=~<",
        "画",
        "🚀",
        "e\u0301",
    ]
)

_KEY = re.compile(r"^(\s*)([^\s:#-][^:#]*?)(\s*:.*)$", re.DOTALL)
_VALUE = re.compile(r"^(\s*[^\s:#][^:#]*?:\s+)(\S.*)$", re.DOTALL)


@st.composite
def broken_manifests(draw, most: int = 4) -> str:
    """Return the good manifest after one to `most` mutations."""
    lines = GOOD.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, most))):
        if not lines:
            break
        mutate = draw(st.sampled_from(_MUTATIONS))
        mutate(draw, lines, draw(st.integers(0, len(lines) - 1)))
    return "".join(lines)


def _delete(draw, lines, at):
    del lines[at : at + draw(st.integers(1, 4))]


def _duplicate(draw, lines, at):
    lines[at:at] = lines[at : at + draw(st.integers(1, 4))]


def _swap(draw, lines, at):
    other = draw(st.integers(0, len(lines) - 1))
    lines[at], lines[other] = lines[other], lines[at]


def _reindent(draw, lines, at):
    text = lines[at].lstrip(" ")
    lines[at] = draw(st.sampled_from(["", " ", "  ", "   ", "    ", "      ", "\t", "  \t", "- ", "  - "])) + text


def _rename(draw, lines, at):
    if match := _KEY.match(lines[at]):
        lines[at] = f"{match[1]}{draw(KEYS)}{match[3]}"


def _retype(draw, lines, at):
    if match := _VALUE.match(lines[at]):
        lines[at] = f"{match[1]}{draw(VALUES)}\n"


def _retype_inside(draw, lines, at):
    words = re.split(r"([\s{}\[\],]+)", lines[at])
    index = draw(st.integers(0, len(words) - 1))
    lines[at] = "".join([*words[:index], draw(VALUES), *words[index + 1 :]])


def _insert(draw, lines, at):
    column = draw(st.integers(0, len(lines[at])))
    lines[at] = lines[at][:column] + draw(CHARS) + lines[at][column:]


def _truncate(draw, lines, at):
    column = draw(st.integers(0, len(lines[at])))
    lines[at:] = [lines[at][:column]]


def _unbreak(draw, lines, at):
    lines[at] = lines[at].rstrip("\n")


_MUTATIONS = [
    _delete, _duplicate, _swap, _reindent, _rename, _retype, _retype_inside, _insert, _truncate, _unbreak,
]  # fmt: skip

_PATHS = _words(
    """models.digits.path models.digits.backend models.digits.instances models.digits.sha256 models.digits models
    models.digits.signature.inputs models.digits.signature.outputs.probabilities.shape models.digts.path models.second
    backends.slow backends.slow.kind backends.slow.stream backends.slow.delay_ms backends.slower.device backends.fast
    backends devices.gpu0 devices.gpu0.ordinal devices.cpu devices streams.main.device streams.main streams.main.shared
    api_version defaults hydra hydra.run.dir hydra/launcher env backend backend@backends.x device model model@models.y
    stream stream@_global_ env@x _target_ models._target_ models.x.y.z x models.0 models.digits.path.deeper a.b.c /
    models/digits .. . @ backend@hydra conformance ci"""
)
_PREFIXES = st.sampled_from(["", "", "", "+", "++", "~", "~~", "+++", " ", "-"])


def overrides() -> st.SearchStrategy[str]:
    """Return overrides by the grammar, near it, and far from it."""
    simple = st.one_of(VALUES, st.integers().map(str), st.floats().map(str), st.text(max_size=6))
    value = st.recursive(
        simple,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]"),
            st.dictionaries(KEYS, inner, max_size=3).map(
                lambda pairs: "{" + ",".join(f"{key}:{item}" for key, item in pairs.items()) + "}"
            ),
            st.lists(inner, min_size=2, max_size=3).map(",".join),
            inner.map(lambda item: f"choice({item})"),
            inner.map(lambda item: f"int({item})"),
        ),
        max_leaves=5,
    )
    key = st.one_of(_PATHS, _PATHS, _PATHS, st.text(max_size=12))
    shaped = st.builds(lambda prefix, path, given: f"{prefix}{path}={given}", _PREFIXES, key, value)
    bare = st.builds(lambda prefix, path: prefix + path, _PREFIXES, key)
    return st.one_of(shaped, shaped, shaped, bare, st.text(max_size=20))


def python_values() -> st.SearchStrategy[object]:
    """Return what a program could pass for a value of a manifest, sensible or not."""
    plain = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), VALUES, st.binary(max_size=4),
        st.dates(), st.sets(st.integers(), max_size=2), st.complex_numbers(), st.just(object()), st.decimals(),
        st.sampled_from(["mock", "onnx", "digits.onnx", "cpu", Path("digits.onnx"), 1 << 5000, int, ...]),
    )  # fmt: skip
    keys = st.one_of(KEYS, st.sampled_from([5, None, True, 1.5, ("a",), b"x"]))
    return st.recursive(
        plain,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.tuples(inner, inner),
            st.dictionaries(keys, inner, max_size=4),
        ),
        max_leaves=8,
    )


@st.composite
def mappings(draw) -> dict[object, object]:
    """Return a manifest as a mapping from Python, with some of its values replaced."""
    manifest = {
        "devices": {"gpu0": {"kind": "cuda", "ordinal": 0}},
        "backends": {"slow": {"kind": "mock", "delay_ms": 1.0}},
        "models": {"digits": {"path": "digits.onnx", "backend": "slow", "signature": {"inputs": {}}}},
    }
    for _ in range(draw(st.integers(1, 3))):
        parent, key = manifest, draw(st.sampled_from(list(manifest)))
        for _ in range(draw(st.integers(0, 3))):
            if isinstance(parent[key], dict) and parent[key]:
                parent = parent[key]
                key = draw(st.sampled_from(list(parent)))
        parent[draw(KEYS) if draw(st.booleans()) else key] = draw(python_values())
    return manifest
