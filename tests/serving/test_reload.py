"""Files that a running server reads again, and listeners that need them."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import pytest
from pydantic import ValidationError

from aegisrt.manifest.server import ServerOptions, TlsOptions
from aegisrt.serving.tls import TlsFiles
from tests.serving.test_protection import certificate

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
