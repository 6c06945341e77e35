"""Files that a running server reads again, and listeners that need them."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from aegisrt.core.result import Error, ErrorCode, ResultError
from aegisrt.manifest.schema import ModelOptions
from aegisrt.manifest.server import ServerLogOptions, ServerOptions, TlsOptions
from aegisrt.serving.access_log import AccessLog
from aegisrt.serving.tls import TlsFiles
from aegisrt.serving.tokens import TokenFile
from tests.serving.http import raw
from tests.serving.running import running
from tests.serving.test_protection import certificate, manifest_of

FAR = {"listen": "0.0.0.0:8000"}
TLS = {"certificate": Path("c"), "key": Path("k")}


def auth(*protect):
    return {"token_file": Path("t"), "protect": protect}


@pytest.mark.parametrize(
    "server",
    [
        {"metrics": FAR},
        {"metrics": FAR, "tls": TLS},
        {"metrics": FAR, "auth": auth("infer", "metadata")},
        {"http": FAR, "auth": auth()},
        {"http": FAR, "auth": auth("metrics")},
        {"grpc": FAR, "auth": auth("infer")},
    ],
)
def test_a_listener_that_other_machines_reach_needs_protection(server):
    with pytest.raises(ValidationError, match="which other machines reach"):
        ServerOptions.model_validate(server)
    ServerOptions.model_validate(server | {"insecure": True})


@pytest.mark.parametrize(
    "server",
    [
        {"http": FAR, "grpc": FAR, "tls": TLS},
        {"http": FAR, "auth": auth("infer", "metadata")},
        {"metrics": FAR, "auth": auth("metrics")},
    ],
)
def test_a_protected_listener_is_allowed(server):
    ServerOptions.model_validate(server)


def pair(folder, name):
    folder.mkdir()
    certificate(folder, name)
    return folder / "cert.pem", folder / "key.pem"


def is_accepted(files, client_certificate=None):
    """Return whether a client passes the handshake; as an event loop makes it, in memory."""
    client = ssl.create_default_context()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    if client_certificate is not None:
        client.load_cert_chain(*client_certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server)
    other = files.context.wrap_bio(to_server, to_client, server_side=True)
    pending = [one, other]
    for _ in range(8):
        for end in list(pending):
            try:
                end.do_handshake()
                pending.remove(end)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                return False
    return not pending


def test_a_new_certificate_with_the_old_key_changes_nothing(tmp_path, caplog):
    first, second = pair(tmp_path / "a", "first"), pair(tmp_path / "b", "second")
    files = TlsFiles(TlsOptions(certificate=first[0], key=first[1]))
    before = files.content()
    first[0].write_bytes(second[0].read_bytes())
    with caplog.at_level(logging.WARNING, "aegisrt"):
        assert not files.refresh()
        assert not files.refresh()
    assert [record.getMessage().count("still in use") for record in caplog.records] == [1]
    assert is_accepted(files)
    assert files.content() == before
    first[1].write_bytes(second[1].read_bytes())
    assert files.refresh()
    assert is_accepted(files)
    assert files.content()[0] == second[0].read_bytes()


def test_an_authority_that_was_removed_is_trusted_no_more(tmp_path):
    own, one, other = (pair(tmp_path / name, name) for name in ("own", "one", "other"))
    authorities = tmp_path / "ca.pem"
    authorities.write_bytes(one[0].read_bytes())
    files = TlsFiles(TlsOptions(certificate=own[0], key=own[1], client_ca=authorities))
    assert is_accepted(files, one)
    assert not is_accepted(files, other)
    assert not is_accepted(files)
    authorities.write_bytes(other[0].read_bytes() + b"\n")
    assert files.refresh()
    assert is_accepted(files, other)
    assert not is_accepted(files, one)


def test_a_line_is_one_token(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("aegisrt.serving.tokens._CHECK_EVERY_S", -1.0)
    path = tmp_path / "tokens"
    path.write_text("frontend-team s3cret\n")
    with pytest.raises(ResultError, match="blanks"):
        TokenFile(path)
    path.write_text("first-token\r\n\n  second-token \n")
    tokens = TokenFile(path)
    assert tokens.accepts(b"Bearer first-token")
    assert tokens.accepts(b"Bearer second-token")
    with caplog.at_level(logging.WARNING, "aegisrt"):
        path.write_text("a b c d e f g h i j\n")
        assert tokens.accepts(b"Bearer first-token")
        assert tokens.accepts(b"Bearer first-token")
    assert [record.getMessage().count("still valid") for record in caplog.records] == [1]
    path.write_text("third-token\n")
    assert tokens.accepts(b"Bearer third-token")
    assert not tokens.accepts(b"Bearer first-token")


def test_a_text_line_has_no_field_of_a_client(capsys):
    scope = {"client": ("127.0.0.1", 1), "method": "GET", "path": '/x status=200 "'}
    error = Error(ErrorCode.NOT_FOUND, "e" * 5000)
    AccessLog(ServerLogOptions()).http(scope, "m", 404, error, 0, 1, None)
    line = capsys.readouterr().err
    assert 'path="/x status=200 \\"" model=m' in line
    assert " status=404 " in line
    assert len(line) < 1500


@pytest.mark.parametrize("name", ["stats", "x/infer", "x/versions/1", "x/ready", "x/"])
def test_a_served_name_hides_no_route(name):
    with pytest.raises(ValidationError, match="served name"):
        ModelOptions.model_validate({"path": Path("m"), "backend": "mock", "served_name": name})
    ModelOptions.model_validate({"path": Path("m"), "backend": "mock", "served_name": f"{name.strip('/')}/m"})


def test_pages_reach_neither_calls_nor_metrics(tmp_path):
    pytest.importorskip("prometheus_client")
    tokens = tmp_path / "tokens"
    tokens.write_text("0123456789abcdef")
    server = {"auth": {"token_file": str(tokens)}, "cors": {"origins": ["https://app.example"]}}
    with running(manifest_of(tmp_path, **server)) as one:
        monitor = SimpleNamespace(http_address=("127.0.0.1", int(one.metrics.rpartition(":")[2])))
        rebound = b"GET /metrics HTTP/1.1\r\nHost: evil.example:1\r\nConnection: close\r\n\r\n"
        assert raw.answers(raw.exchange(monitor, rebound)) == [403]
        assert raw.answers(raw.exchange(monitor, raw.get("/metrics", raw.CLOSE))) == [200]
        crossing = raw.CLOSE + b"Sec-Fetch-Site: cross-site\r\n"
        assert raw.answers(raw.exchange(one, raw.get("/v2/health/ready", crossing))) == [403]
        unknown = raw.exchange(one, raw.get("/v2/models/zz/ready", raw.CLOSE + b"Origin: https://app.example\r\n"))
        assert raw.answers(unknown) == [404]
        assert b"id_fp32" not in unknown
        assert b"access-control-expose-headers: inference-header-content-length" in unknown
