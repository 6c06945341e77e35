"""`TlsFiles`: the certificate of a server, read again when its files change."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.shown.log import Log
from aegisrt.core.system_error import system_error
from aegisrt.manifest.server import TlsOptions

_log = Log(__name__)


class NewestContext(ssl.SSLContext):
    """A context whose connections begin in `newest`.

    A context that is in use cannot forget an authority, nor the sessions of its clients: a change needs another one,
    and a listener keeps the one that it began with.
    """

    newest: ssl.SSLContext

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """As `SSLContext.wrap_bio`, which event loops call for each connection."""
        return self.newest.wrap_bio(*arguments, **named)


class TlsFiles:
    """Files in PEM, and the context of new HTTP connections.

    `refresh` belongs to one thread; `content` may be called in any.
    """

    def __init__(self, options: TlsOptions) -> None:
        """Read the files.

        INVALID_ARGUMENT: if they cannot be read, or are not a certificate and its key.
        """
        self._options = options
        self._failing = False
        self.context = NewestContext(ssl.PROTOCOL_TLS_SERVER)
        self._stamps, self._content = self._load()

    @property
    def _hint(self) -> str:
        return f"check {', '.join(map(str, self._paths))}"

    @property
    def _paths(self) -> list[Path]:
        options = self._options
        return [path for path in (options.certificate, options.key, options.client_ca) if path is not None]

    def content(self) -> tuple[bytes, bytes, bytes | None]:
        """Return the certificate, its key and the clients' authorities, in PEM, as they were loaded last."""
        return self._content

    def refresh(self) -> bool:
        """Load the files again if one has changed; return whether they are loaded.

        Files that do not fit change nothing, are tried again at the next call, and are reported once.
        """
        try:
            if self._stamps == self._times():
                return False
            self._stamps, self._content = self._load()
        except (ResultError, OSError) as error:
            if not self._failing:
                reason = error.error.message if isinstance(error, ResultError) else str(error)
                _log.warning("the earlier certificate is still in use: %s", reason)
            self._failing = True
            return False
        self._failing = False
        return True

    def _times(self) -> list[tuple[int, int, int]]:
        return [(found.st_mtime_ns, found.st_size, found.st_ino) for found in (path.stat() for path in self._paths)]

    def _load(self) -> tuple[list[tuple[int, int, int]], tuple[bytes, bytes, bytes | None]]:
        """Load the files into a context of their own, which new connections then take."""
        options = self._options
        try:
            stamps = self._times()
            certificate, key, *authorities = [path.read_bytes() for path in self._paths]
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.set_alpn_protocols(["http/1.1"])
            context.load_cert_chain(options.certificate, options.key, password="")  # never asks at the terminal
            if options.client_ca is not None:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(options.client_ca)
            if stamps != self._times():
                raise OSError("the files change at this moment")
        except ssl.SSLError as error:
            message = f"the certificate of `server.tls` cannot be used: {error}"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, self._hint) from None
        except OSError as error:
            message = "the certificate of `server.tls` cannot be read"
            raise system_error(error, message, self._hint, otherwise=ErrorCode.INVALID_ARGUMENT) from None
        self.context.newest = context
        return stamps, (certificate, key, authorities[0] if authorities else None)
