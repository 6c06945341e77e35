"""`ServerOptions`: how `aegisrt serve` and `aegisrt.asgi` serve a deployment over HTTP and gRPC."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from aegisrt.core.options import Name, StrictModel

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})")


def _listen(value: str) -> str:
    if value.startswith("unix:/") and "\0" not in value and not value.endswith("/"):
        return value
    match = _ADDRESS.fullmatch(value)
    if match is None or int(match["port"]) > 65_535:
        raise ValueError("a listener is `host:port`, `[::]:port` or `unix:/path`")
    return value


Listen = Annotated[str, AfterValidator(_listen)]
"""`host:port`, `[ipv6]:port` or `unix:/absolute/path`; port 0 takes a free one."""
Seconds = Annotated[float, Field(gt=0, le=1e6)]


class HttpOptions(StrictModel):
    """The HTTP listener."""

    listen: Listen | None = "127.0.0.1:8000"
    """`host:port`, `[::]:port` or `unix:/path`; null serves no HTTP."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=2**31)] = 71_303_168
    """The largest body of a request, also after decompression; a larger one is answered 413."""
    max_header_bytes: Annotated[int, Field(ge=1024, le=2**20)] = 16_384
    """The largest request line with all headers; larger ones are answered 431."""
    idle_timeout_s: Seconds = 75.0
    """How long a connection without a request is kept."""
    read_timeout_s: Seconds = 30.0
    """How long a client may take to send a request; then it is answered 408."""
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    """How many connections are held; further ones are closed when they are accepted."""


class GrpcOptions(StrictModel):
    """The gRPC listener."""

    listen: Listen | None = "127.0.0.1:8001"
    """`host:port`, `[::]:port` or `unix:/path`; null serves no gRPC."""
    max_message_bytes: Annotated[int, Field(ge=1024, le=2**31 - 1)] = 71_303_168
    """The largest message; a larger one is answered RESOURCE_EXHAUSTED."""
    max_streams: Annotated[int, Field(ge=1, le=100_000)] = 128
    """How many calls of one connection run at once."""
    max_connection_age_s: Seconds | None = None
    """How long a connection may live before its client is asked to connect again, so that load spreads over replicas;
    null keeps it. gRPC varies it by 10 % of itself."""
    keepalive_time_s: Seconds = 300.0
    """How long a connection may be silent before the server pings its client."""
    min_ping_interval_s: Seconds = 10.0
    """How often a client may ping; one that pings more often is disconnected."""


class MonitoringOptions(StrictModel):
    """The listener for metrics and health, in a thread of its own: it answers while the server's loop is blocked."""

    listen: Listen | None = "127.0.0.1:8002"
    """`host:port`, `[::]:port` or `unix:/path`; null serves neither."""
    triton_names: bool = False
    """Add Triton's names (`nv_inference_*`), which existing dashboards and autoscalers read."""


class AdminOptions(StrictModel):
    """Changes of a running server."""

    token_file: Path | None = None
    """A file with bearer tokens, one a line; with it, clients that send one may load and unload models. Null refuses
    both with PERMISSION_DENIED."""


class TlsOptions(StrictModel):
    """TLS for HTTP and gRPC, not for metrics; the files are read again when they change."""

    certificate: Path
    """The server's certificate and those that signed it, in PEM."""
    key: Path
    """Its private key, in PEM."""
    client_ca: Path | None = None
    """Certificates of authorities, in PEM; then each client must have a certificate that one of them signed."""


class AuthOptions(StrictModel):
    """Bearer tokens that clients must send."""

    token_file: Path
    """A file with tokens, one a line; it is read again when it changes."""
    protect: tuple[Literal["infer", "metadata", "metrics"], ...] = ("infer", "metadata")
    """Which calls need a token. Health never does."""


class CorsOptions(StrictModel):
    """Pages of other origins that may call the server from a browser."""

    origins: Annotated[tuple[str, ...], Field(min_length=1)]
    """Origins such as `https://app.example.com`; `*` allows every one."""


class DispatchOptions(StrictModel):
    """Where a model's call runs."""

    mode: Literal["auto", "inline", "worker"] = "auto"
    """`inline` runs calls in the server's loop, which no other request passes meanwhile; `worker` runs them in the
    model's worker threads; `auto` runs a call inline if its model is idle, has no batching, and is quick, and
    its inputs have at most 64 KiB, or four times the mean of the calls that ran inline."""
    inline_below_us: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """With `auto`: the mean time of a call up to which a model is quick, measured at warm-up and while serving."""


class ServerLimitOptions(StrictModel):
    """What the server accepts at once; a request beyond it is answered 429."""

    requests_in_flight: Annotated[int, Field(ge=1, le=10_000_000)] = 2048
    """Requests that are not answered yet."""
    bytes_in_flight: Annotated[int, Field(ge=1024, le=2**50)] = 2**30
    """Sum of the bodies of these requests."""


class ShutdownOptions(StrictModel):
    """What SIGTERM does: not ready at once, then serve `drain_delay_s`, then answer what is there, then end."""

    drain_delay_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """How long requests are still accepted, so that load balancers notice first."""
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    """How long accepted requests may take after that; the rest are answered CANCELLED."""


class ServerLogOptions(StrictModel):
    """The access log, to stderr."""

    access: Literal["off", "errors", "all"] = "errors"
    """Which requests are logged."""
    format: Literal["text", "json"] = "text"
    """One line of text, or one JSON object a line."""


class ServerOptions(StrictModel):
    """The server of a deployment."""

    http: HttpOptions = Field(default_factory=HttpOptions)
    """The HTTP listener."""
    grpc: GrpcOptions = Field(default_factory=GrpcOptions)
    """The gRPC listener."""
    metrics: MonitoringOptions = Field(default_factory=MonitoringOptions)
    """The listener for metrics and health."""
    admin: AdminOptions = Field(default_factory=AdminOptions)
    """Changes of a running server."""
    tls: TlsOptions | None = None
    """TLS for HTTP and gRPC; null serves without."""
    auth: AuthOptions | None = None
    """Bearer tokens; null asks for none."""
    cors: CorsOptions | None = None
    """Browsers of other origins; null refuses them."""
    hosts: tuple[Annotated[str, Field(min_length=1, max_length=253)], ...] = ()
    """Further names of the server, as clients write them into `Host`. Browsers that use another name are refused, and
    on a loopback listener all clients: a name that points to this machine (DNS rebinding) must not reach it."""
    dispatch: DispatchOptions = Field(default_factory=DispatchOptions)
    """Where calls run."""
    limits: ServerLimitOptions = Field(default_factory=ServerLimitOptions)
    """What is accepted at once."""
    shutdown: ShutdownOptions = Field(default_factory=ShutdownOptions)
    """How the server ends."""
    ready: Literal["all", "any"] | tuple[Name, ...] = "all"
    """Which models must serve for the server to be ready: all, any, or those named."""
    log: ServerLogOptions = Field(default_factory=ServerLogOptions)
    """The access log."""
    insecure: bool = False
    """Allow listeners that other machines reach without TLS or tokens, as behind a service mesh. Without it, those of
    HTTP and gRPC need `tls`, or `auth` that protects `infer` and `metadata`; that of metrics needs `auth` that protects
    `metrics`."""

    @model_validator(mode="after")
    def _protected(self) -> ServerOptions:
        protect = set(self.auth.protect if self.auth is not None else ())
        calls = "tls, or auth that protects infer and metadata"
        for name, is_safe, remedy in (
            ("http", self.tls is not None or protect >= {"infer", "metadata"}, calls),
            ("grpc", self.tls is not None or protect >= {"infer", "metadata"}, calls),
            ("metrics", "metrics" in protect, "auth that protects metrics (tls does not cover this listener)"),
        ):
            listen: str | None = getattr(self, name).listen
            if listen is not None and not is_local(listen) and not is_safe and not self.insecure:
                raise ValueError(
                    f"{name}.listen is {listen}, which other machines reach: set {remedy}, or insecure: true"
                )
        return self


def is_local(listen: str) -> bool:
    """Return whether only this machine reaches a listener: a Unix socket, `localhost` or a loopback address."""
    if listen.startswith("unix:"):
        return True
    host = split_address(listen)[0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def split_address(listen: str) -> tuple[str, int]:
    """Return the host, without brackets, and the port of a listener that is not a Unix socket."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)
