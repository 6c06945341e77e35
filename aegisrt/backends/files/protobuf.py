"""`Protobuf`: reads the fields of a message in a file by `pread`, and skips the data that the caller does not ask for.

The wire format is that of https://protobuf.dev/programming-guides/encoding/. A hostile file costs a bounded time and a
bounded memory: at most `_MOST_FIELDS` fields are visited, and at most `_MOST_TEXT` bytes of texts are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]
"""Where the bytes of a field start and end."""
Value: TypeAlias = int | Span
"""Of a field: a number, or where its bytes are."""

_MOST_FIELDS = 2_000_000
"""About two seconds. A node of an ONNX model has about 15 fields, if each of them is visited."""
_MOST_TEXT = 2**26
_LEAST_PIECE, _LARGEST_PIECE = 2**12, 2**16
"""Bytes to read at once: one page after a jump, then twice as much each time."""
_LONGEST_VARINT = 10
_64_BITS = (1 << 64) - 1
_SHORT_TAGS = frozenset(number << 3 | 2 for number in range(1, 16))
"""The tags of fields 1 to 15 that have bytes."""


class DamagedError(ValueError):
    """The bytes are not protobuf, or not those of the message that is expected."""


class TooLargeError(DamagedError):
    """The message has more fields, or longer texts, than are read here."""


class Protobuf:
    """One message, in a file or in memory. Used by one thread at a time; iterations may be nested."""

    def __init__(self, read: Callable[[int, int], bytes], size: int, content: bytes | bytearray = b"") -> None:
        """Read by `read(at, size)`, or from `content` if it is the whole message."""
        self.whole: Span = (0, size)
        self._read = read
        self._piece: bytes | bytearray = content
        self._piece_at = 0
        self._piece_size = _LEAST_PIECE
        self._fields_left = _MOST_FIELDS
        self._text_left = _MOST_TEXT

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Protobuf]:
        """Yield the message in a file; raise OSError if it cannot be read."""
        with path.open("rb", buffering=0) as stream:
            descriptor = stream.fileno()

            def read(at: int, size: int) -> bytes:
                if hasattr(os, "pread"):
                    return os.pread(descriptor, size, at)
                stream.seek(at)
                return stream.read(size)

            yield cls(read, os.fstat(descriptor).st_size)

    @classmethod
    def of(cls, content: bytes | bytearray) -> Protobuf:
        """Return the message in memory."""
        return cls(lambda at, size: bytes(content[at : at + size]), len(content), content)

    def head(self) -> bytes:
        """Return the first bytes of the file: 64, if it has as many."""
        return self._bytes(0, min(64, self.whole[1]))

    def fields(self, span: Span) -> Iterator[tuple[int, Value]]:
        """Yield the number and the value of each field of a message.

        Raise DamagedError if it is not one, TooLargeError after too many fields of the whole message.
        """
        at, end = span
        while at < end:
            self._count()
            piece, index = self._piece, at - self._piece_at
            if 0 <= index < len(piece) - 1 and piece[index] in _SHORT_TAGS and piece[index + 1] < 0x80:
                value = at + 2, at + 2 + piece[index + 1]  # nearly every field: without calls it takes half the time
                if value[1] > end:
                    raise DamagedError(f"a field ends past byte {end}")
                yield piece[index] >> 3, value
                at = value[1]
                continue
            tag, at = self._varint(at, end)
            number, wire = tag >> 3, tag & 7
            if tag >> 32:  # protobuf's C++ reader cuts a tag to 32 bits, and would see another field
                raise DamagedError(f"a field with the tag {tag} at byte {at}")
            if wire == 0:
                integer, at = self._varint(at, end)
                yield number, integer
                continue
            if wire == 2:
                size, at = self._varint(at, end)
            elif wire in (1, 5):
                size = 8 if wire == 1 else 4
            else:
                raise DamagedError(f"wire type {wire} at byte {at}")
            if number == 0 or at + size > end:
                raise DamagedError(f"a field of {size} bytes ends past byte {end}")
            yield number, (at, at + size)
            at += size

    def inside(self, span: Span, *path: int) -> Iterator[Span]:
        """Yield the messages below one message at a path of field numbers."""
        for number, value in self.fields(span):
            if number == path[0]:
                below = span_of(value)
                yield from self.inside(below, *path[1:]) if len(path) > 1 else (below,)

    def integers(self, value: Value) -> list[int]:
        """Return the signed numbers of a repeated field: of one entry, or packed."""
        if isinstance(value, int):
            return [signed(value)]
        at, found = value[0], []
        while at < value[1]:
            self._count()
            number, at = self._varint(at, value[1])
            found.append(signed(number))
        return found

    def content(self, value: Value) -> bytes:
        """Return the bytes of a field."""
        start, end = span_of(value)
        self._text_left -= end - start
        if self._text_left < 0:
            raise TooLargeError(f"more than {_MOST_TEXT} bytes of texts")
        return self._bytes(start, end)

    def text(self, value: Value, errors: str = "strict") -> str:
        """Return the text of a field; raise DamagedError if it is not UTF-8, unless `errors` is as of `str`."""
        try:
            return str(self.content(value), "utf-8", errors)
        except UnicodeDecodeError as error:
            raise DamagedError(str(error)) from None

    def mentions(self, span: Span, text: bytes) -> bool:
        """Return whether the bytes of a message contain a text; True for a large message, which is not read."""
        start, end = span
        if end - start > _LEAST_PIECE:
            return True
        self._fetch(start, end)
        return self._piece.find(text, start - self._piece_at, end - self._piece_at) >= 0

    def _count(self) -> None:
        self._fields_left -= 1
        if self._fields_left < 0:
            raise TooLargeError(f"more than {_MOST_FIELDS} fields")

    def _bytes(self, start: int, end: int) -> bytes:
        self._fetch(start, end)
        found = bytes(self._piece[start - self._piece_at : end - self._piece_at])
        if len(found) < end - start:
            raise DamagedError(f"the file ends before byte {end}")
        return found

    def _fetch(self, start: int, end: int) -> None:
        """Have the bytes of a span in `_piece`, as far as the file has them."""
        last = self._piece_at + len(self._piece)
        if self._piece_at <= start and end <= last:
            return
        goes_on = self._piece_at <= start <= last
        self._piece_size = min(2 * self._piece_size, _LARGEST_PIECE) if goes_on else _LEAST_PIECE
        self._piece = self._read(start, max(self._piece_size, end - start))
        self._piece_at = start

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """Return the number at a position, and the position after it."""
        index = at - self._piece_at
        if not 0 <= index < len(self._piece) - _LONGEST_VARINT:
            self._fetch(at, min(at + _LONGEST_VARINT, end))
            index = at - self._piece_at
        piece, value, shift = self._piece, 0, 0
        for position in range(index, min(index + min(_LONGEST_VARINT, end - at), len(piece))):
            byte = piece[position]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & _64_BITS, self._piece_at + position + 1
            shift += 7
        raise DamagedError(f"a number that does not end at byte {at}")


def span_of(value: Value) -> Span:
    """Return where the bytes of a field are; raise DamagedError for a number."""
    if isinstance(value, int):
        raise DamagedError("a number where bytes belong")
    return value


def number_of(value: Value) -> int:
    """Return the number of a field, without a sign; raise DamagedError for bytes."""
    if isinstance(value, int):
        return value
    raise DamagedError("bytes where a number belongs")


def signed(value: Value) -> int:
    """Return the number of a field of the type `int64`."""
    number = number_of(value)
    return number - (1 << 64) if number >= 1 << 63 else number
