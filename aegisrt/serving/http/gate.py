"""`Gate`: the requests that may pass, by their origin, their host and their token."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache

from aegisrt.core.result import Error, ErrorCode
from aegisrt.manifest.server import ServerOptions, is_local
from aegisrt.serving.http.answer import Header, HttpAnswer, error_answer
from aegisrt.serving.http.routes import Route
from aegisrt.serving.tokens import NO_ADMIN, TokenFile

_ASK: Header = (b"www-authenticate", b"Bearer")
_METHODS = b"GET, HEAD, POST, OPTIONS"
_PREFLIGHT_S = b"600"

Headers = Mapping[bytes, bytes]


class Gate:
    """Refuses requests before their bodies are read. It belongs to the loop's thread.

    A page in a browser must not reach the server: neither by a form of another site (`Origin`), nor by a name that
    points to this machine (`Host`, DNS rebinding). Clients that are not browsers send no `Origin`.
    """

    def __init__(self, options: ServerOptions, *, mounted: bool = False, listen: str | None = None) -> None:
        """Raise ResultError if a file of tokens cannot be read. `listen` is that of HTTP if left out.

        A `mounted` application answers for any host: the one that mounts it knows its names.
        """
        self._mounted = mounted
        self._auth = options.auth
        self._tokens = TokenFile(options.auth.token_file) if options.auth else None
        self._admin = TokenFile(options.admin.token_file) if options.admin.token_file else None
        self._origins = frozenset(origin.lower().encode() for origin in (options.cors.origins if options.cors else ()))
        self._hosts = frozenset(host.lower().encode() for host in options.hosts)
        listen = listen or options.http.listen
        self._is_local = listen is not None and is_local(listen)

    def refusal(self, route: Route, headers: Headers) -> HttpAnswer | None:
        """Return the answer to a request that may not pass; None if it may."""
        return self.wrong_site(headers) or self._wrong_token(route, headers.get(b"authorization"))

    def wrong_site(self, headers: Headers) -> HttpAnswer | None:
        """Return the answer to a request of a page that may not call the server, or by a name that is not its own."""
        host, origin = headers.get(b"host", b"").lower(), headers.get(b"origin", b"").lower()
        trusted = self._mounted or _is_own_name(host) or _without_port(host) in self._hosts
        from_browser = bool(origin) or b"sec-fetch-site" in headers
        if origin and self._allows(origin):
            return None
        if not trusted and (from_browser or self._is_local):
            message = f"the host {host.decode('latin-1')!r} is not one of this server"
            return error_answer(
                Error(ErrorCode.PERMISSION_DENIED, message, "add it to `server.hosts`, or use the address")
            )
        if not origin and headers.get(b"sec-fetch-site", b"").lower() == b"cross-site":
            message = "pages of other sites may not call this server"
            return error_answer(Error(ErrorCode.PERMISSION_DENIED, message, "add the origin to `server.cors.origins`"))
        if origin and origin.partition(b"://")[2] != host:
            message = f"pages of {origin.decode('latin-1')!r} may not call this server"
            return error_answer(Error(ErrorCode.PERMISSION_DENIED, message, "add the origin to `server.cors.origins`"))
        return None

    def _wrong_token(self, route: Route, authorization: bytes | None) -> HttpAnswer | None:
        if route.group == "admin":
            if self._admin is None:
                return error_answer(NO_ADMIN)
            return None if self._admin.accepts(authorization) else _no_token()
        if self._auth is None or self._tokens is None or route.group not in self._auth.protect:
            return None
        return None if self._tokens.accepts(authorization) else _no_token()

    def _allows(self, origin: bytes) -> bool:
        return origin in self._origins or b"*" in self._origins

    def cors_headers(self, headers: Headers) -> list[Header]:
        """Return the headers that let a page of an allowed origin read an answer."""
        origin = headers.get(b"origin")
        if origin is None or not self._origins or not self._allows(origin.lower()):
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", b"inference-header-content-length"),
            (b"vary", b"Origin"),
        ]

    def preflight(self, headers: Headers) -> HttpAnswer:
        """Return the answer to an OPTIONS request: what a page of an allowed origin may send."""
        allowed = self.cors_headers(headers)
        if not allowed:
            return HttpAnswer(204, [(b"allow", _METHODS)])
        asked = headers.get(b"access-control-request-headers", b"")
        allowed += [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", asked or b"*"),
            (b"access-control-max-age", _PREFLIGHT_S),
        ]
        return HttpAnswer(204, allowed)


def _no_token() -> HttpAnswer:
    error = Error(ErrorCode.PERMISSION_DENIED, "a valid token is missing", "send `Authorization: Bearer TOKEN`")
    return error_answer(error, 401, _ASK)


def _without_port(host: bytes) -> bytes:
    if host.startswith(b"["):
        return host.partition(b"]")[0] + b"]"
    return host.partition(b":")[0]


@lru_cache(maxsize=256)
def _is_own_name(host: bytes) -> bool:
    """Return whether a host is `localhost` or an IP address, which no DNS server can point elsewhere."""
    name = _without_port(host).decode("latin-1").strip("[]")
    if name in ("localhost", ""):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
