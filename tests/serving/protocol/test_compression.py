import gzip
import zlib

import pytest

from aegisrt.core.result import ResultError
from aegisrt.serving.protocol.compression import BodyTooLargeError, accepted, compressed, decompressed

BODY = b"abc" * 1000
GZIPPED = gzip.compress(BODY, mtime=0)


def words(value):
    """Return the name of a case: its words, without its bytes."""
    return value if isinstance(value, str) else "body"


def raw_deflate(body):
    writer = zlib.compressobj(wbits=-15)
    return writer.compress(body) + writer.flush()


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (BODY, ""),
        (BODY, "identity"),
        (GZIPPED, "gzip"),
        (GZIPPED, "X-GZip "),
        (zlib.compress(BODY), "deflate"),
        (raw_deflate(BODY), "deflate"),
        (compressed(BODY, "gzip"), "gzip"),
        (compressed(BODY, "deflate"), "deflate"),
    ],
    ids=words,
)
def test_a_body_is_decompressed(body, encoding):
    assert decompressed(body, encoding, len(BODY)) == BODY


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (BODY, "br", "encoding `br`"),
        (BODY, "gzip, gzip", "encoding `gzip, gzip`"),
        (BODY, "gzip", "not gzip"),
        (GZIPPED[:-5], "gzip", "cut short"),
        (GZIPPED + b"x", "gzip", "behind its end"),
        (b"", "gzip", "cut short"),
    ],
    ids=words,
)
def test_a_damaged_body_is_refused(body, encoding, message):
    with pytest.raises(ResultError, match=message):
        decompressed(body, encoding, 1 << 20)


def test_a_bomb_makes_no_more_than_the_limit():
    bomb = zlib.compress(bytes(1 << 26), 9)
    with pytest.raises(BodyTooLargeError):
        decompressed(bomb, "deflate", 1 << 20)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("br, deflate;q=0.5, gzip;q=0.1", "deflate"),
        ("*", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=x, br", None),
    ],
)
def test_the_preferred_encoding_is_chosen(header, wanted):
    assert accepted(header) == wanted
