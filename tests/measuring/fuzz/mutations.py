"""Changes of valid files: of bytes, of texts, and of the structure of protobuf, PNG, numpy's files and JSON.

A change of structure keeps lengths and checksums right, so that it reaches what is behind them.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np

LARGEST = 1 << 17
"""Bytes of an input: more than that is another limit's concern, and slows the fuzzer down."""
Change = Callable[[bytes, Random], bytes]

_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 65535, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, 1 << 40, 1 << 62, 1 << 63)
_LARGE = ((1 << 63) - 1, (1 << 64) - 1)
_WORDS = (
    "${", "}", "${a}", "${.b}", "${oc.env:HOME}", "${oc.decode:${oc.env:PATH}}", "&a ", "*a", "<<: *a", "!!python/x ",
    "!!binary ", "!!float ", "!!set ", "? ", ": ", "- ", "\n", "\t", "{", "[", "]", "}", "'", '"', "\\", "|", ">", "#",
    "---\n", "...\n", "%YAML 1.1\n", "null", "~", "true", "0x", "1:59:59", "1" + ":59" * 400, "1" + ":59" * 400 + ".5",
    "1e999", "-1", ".nan", ".inf", "9" * 400,
    "1" * 5000, "\0", "\x1b[2J", "\u2028", "\ufeff", "\U0001f600", "@package", "defaults", "models", "backends",
    "../" * 40, "/dev/zero", "/proc/self/environ", "=", "+", "~", "++", ",", "choice(", "range(1,9)", "glob(*)",
    "::error::x", "[" * 300, "{a: " * 300, "(" * 300, "${" * 300, "&b [*a,*a,*a,*a]\n", "\ud7ff", "_self_", "override ",
)  # fmt: skip


def bytes_changed(data: bytes, random: Random) -> bytes:
    """Change, add, remove, repeat or cut bytes."""
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice((1, 2, 4, 8, 40, 400)))
    match random.randrange(7):
        case 0:
            new = bytes([random.randrange(256)])
        case 1:
            number = random.choice(_NUMBERS + _LARGE)
            size = random.choice((1, 2, 4, 8))
            new = (number % (1 << 8 * size)).to_bytes(size, random.choice(("little", "big")))
            end = min(len(data), at + size)
        case 2:
            new = b""
        case 3:
            new = data[at:end] * random.choice((2, 3, 50, 2000))
        case 4:
            return data[:at]
        case 5:
            new, end = random.randbytes(random.choice((1, 4, 64))), at
        case _:
            other = random.randrange(len(data) + 1)
            new = data[other : other + random.choice((4, 40, 400))]
    return (data[:at] + new + data[end:])[:LARGEST]


def text_changed(data: bytes, random: Random) -> bytes:
    """Insert a word of YAML, of Hydra's grammar or of JSON, once or often; move or repeat a line; or change bytes."""
    kind = random.randrange(5)
    if kind == 0:
        return bytes_changed(data, random)
    if kind == 1:
        lines = data.splitlines(keepends=True) or [b""]
        line = random.choice(lines)
        lines.insert(random.randrange(len(lines) + 1), line * random.choice((1, 1, 2, 1000)))
        return b"".join(lines)[:LARGEST]
    at = random.randrange(len(data) + 1)
    word = random.choice(_WORDS).encode() * random.choice((1, 1, 1, 2, 30, 3000))
    replaced = random.choice((0, 0, 1, 5, 20))
    return (data[:at] + word + data[at + replaced :])[:LARGEST]


def protobuf_changed(data: bytes, random: Random) -> bytes:
    """Change one field somewhere in the tree of messages; lengths stay right."""
    fields = _fields(data)
    if not fields or random.random() < 0.1:
        return bytes_changed(data, random)
    index = random.randrange(len(fields))
    number, wire, value = fields[index]
    action = random.randrange(8)
    if isinstance(value, bytes) and value and action < 5:
        fields[index] = (number, wire, protobuf_changed(value, random))
    elif action == 5:
        fields[index:index] = [fields[index]] * random.choice((1, 2, 500))
    elif action == 6:
        del fields[index]
    elif isinstance(value, int):
        fields[index] = (number, wire, random.choice(_NUMBERS + _LARGE))
    else:
        fields[index] = (random.randrange(1, 30), wire, _nested(value, random))
    return b"".join(map(_field, fields))[:LARGEST]


def _nested(value: bytes, random: Random) -> bytes:
    """Return a message inside of others, as often as one that nests graphs: node, attribute, graph."""
    for _ in range(random.choice((0, 1, 3, 400))):
        for number in (5, 6, 1):
            value = _field((number, 2, value))
    return value


def _fields(data: bytes) -> list[tuple[int, int, int | bytes]]:
    """Return the fields of a message; none if it is not one."""
    found: list[tuple[int, int, int | bytes]] = []
    at = 0
    while at < len(data):
        tag, at = _number(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = _number(data, at)
            found.append((tag >> 3, wire, value))
            continue
        size, at = _number(data, at) if wire == 2 else ({1: 8, 5: 4}.get(wire, -1), at)
        if size < 0 or at + size > len(data) or not tag >> 3:
            return []
        found.append((tag >> 3, wire, data[at : at + size]))
        at += size
    return found


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at] if at < len(data) else 0
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return value, at


def _field(field: tuple[int, int, int | bytes]) -> bytes:
    number, wire, value = field
    start = _varint(number << 3 | wire)
    if isinstance(value, int):
        return start + _varint(value)
    return start + (_varint(len(value)) if wire == 2 else b"") + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def png_changed(data: bytes, random: Random) -> bytes:
    """Change a chunk of a PNG with its checksum."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    if not chunks or random.random() < 0.2:
        return bytes_changed(data, random)
    index = random.randrange(len(chunks))
    name, content = chunks[index]
    name = random.choice((name, name, name, b"eXIf", b"iCCP", b"zTXt", b"tRNS", b"PLTE", b"acTL", b"gAMA"))
    if name == b"zTXt":
        content = b"k\0\0" + zlib.compress(bytes(random.choice((10, 1 << 26))))
    chunks[index:index] = [] if random.random() < 0.7 else [chunks[index]]
    chunks[index] = (name, bytes_changed(content, random))
    out = b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
    return data[:8] + out


def npy_changed(data: bytes, random: Random) -> bytes:
    """Change the header of a .npy; its length stays right."""
    if data[:6] != b"\x93NUMPY" or len(data) < 10 or random.random() < 0.3:
        return bytes_changed(data, random)
    (size,) = struct.unpack("<H", data[8:10])
    shape = random.choice(((), (0,), (-1,), (4,), (1 << 40, 1 << 40), (1 << 29,), (2, 2), (1 << 62, 4), (0,) * 70, 3.0))
    descr = random.choice(
        ("<f4", "<f8", "|O", "<U4", "<U99999999", "|V2", "<M8[s]", [("a", "<f4")], "", "x", None, "<i8")
    )
    header = {"descr": descr, "fortran_order": random.choice((False, True, 7)), "shape": shape}
    text = repr(header).encode() if random.random() < 0.8 else text_changed(data[10 : 10 + size], random)[:60000]
    return data[:8] + struct.pack("<H", len(text)) + text + data[10 + size :]


def npz_changed(data: bytes, random: Random) -> bytes:
    """Change one array of a .npz or its name, and pack it again; or change bytes."""
    if random.random() < 0.4:
        return bytes_changed(data, random)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(one.filename, archive.read(one)) for one in archive.infolist() if one.file_size < LARGEST]
    except Exception:  # noqa: BLE001  (it was changed before)
        return bytes_changed(data, random)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            changed = npy_changed(content, random) if random.random() < 0.7 else content
            changed += bytes(random.choice((0, 0, 0, 1 << 24)))
            archive.writestr(
                random.choice((name, name, name, "y.npy", "../x.npy", "x", "\x1b.npy", "é" * 400)), changed
            )
    return stream.getvalue()


def json_changed(plain: Any, random: Random) -> Any:
    """Return JSON's values with one of them changed, somewhere."""
    if isinstance(plain, dict | list) and plain and random.random() < 0.85:
        copied: Any = dict(plain) if isinstance(plain, dict) else list(plain)
        key: Any = random.choice(list(plain)) if isinstance(plain, dict) else random.randrange(len(plain))
        match random.randrange(8):
            case 0:
                del copied[key]
            case 1 if isinstance(plain, dict):
                copied[random.choice(("x", "", "name", "\x1b"))] = plain[key]
            case _:
                copied[key] = json_changed(plain[key], random)
        return copied
    small: Sequence[Any] = (
        None,
        True,
        0,
        -1,
        1 << 63,
        1 << 70,
        1.5,
        "",
        "x",
        "\x1b[2J",
        [],
        {},
        [[]],
        {"x": 1},
        "a" * 9999,
    )
    return random.choice((*small, [plain], [plain] * 500, {"x": plain}, _deep(random)))


def _deep(random: Random) -> list[Any]:
    value: list[Any] = []
    for _ in range(random.choice((3, 90, 700))):
        value = [value]
    return value


def json_text_changed(data: bytes, random: Random) -> bytes:
    """Change values of a JSON file, or its text."""
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError):
        return text_changed(data, random)
    return (
        json.dumps(json_changed(plain, random)).encode()[:LARGEST]
        if random.random() < 0.6
        else text_changed(data, random)
    )


def array_bytes(**arrays: Any) -> bytes:
    """Return arrays as the bytes of a .npz."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()
