"""`TlsFiles`: the certificate of a server, read again when its files change."""

from __future__ import annotations

import ssl
from pathlib import Path

from aegisrt.core.result import ErrorCode, fail
from aegisrt.manifest.server import TlsOptions


class TlsFiles:
    """Files in PEM, and the context of new HTTP connections."""

    def __init__(self, options: TlsOptions) -> None:
        """Read the files.

        INVALID_ARGUMENT: if they cannot be read, or are not a certificate and its key.
        """
        self._options = options
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        if options.client_ca is not None:
            self.context.verify_mode = ssl.CERT_REQUIRED
        self._stamps = self._load()

    @property
    def _paths(self) -> list[Path]:
        options = self._options
        return [path for path in (options.certificate, options.key, options.client_ca) if path is not None]

    def content(self) -> tuple[bytes, bytes, bytes | None]:
        """Return the certificate, its key and the clients' authorities, in PEM."""
        options = self._options
        authorities = None if options.client_ca is None else options.client_ca.read_bytes()
        return options.certificate.read_bytes(), options.key.read_bytes(), authorities

    def refresh(self) -> bool:
        """Load the files again if one has changed; return whether they are loaded. Files that do not fit are left."""
        try:
            if self._stamps == self._times():
                return False
            self._stamps = self._load()
        except Exception:  # noqa: BLE001  (a file that is being replaced; the next call tries again)
            return False
        return True

    def _times(self) -> list[float]:
        return [path.stat().st_mtime for path in self._paths]

    def _load(self) -> list[float]:
        options = self._options
        try:
            stamps = self._times()
            self.context.load_cert_chain(options.certificate, options.key)
            if options.client_ca is not None:
                self.context.load_verify_locations(options.client_ca)
        except (OSError, ssl.SSLError) as error:
            message = f"the certificate of `server.tls` cannot be used: {error}"
            hint = f"check {', '.join(map(str, self._paths))}"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, hint) from None
        return stamps
