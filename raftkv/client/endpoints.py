"""Where the members are, and which of them is talked to now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import grpc

from raftkv.client.authentication import Tokens
from raftkv.client.unverified import fetch_certificate

DEFAULT_PORT = 2379

CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_receive_message_length", -1),  # ranges are as large as the server lets them be
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),  # a client's connections are its own
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """TLS material in PEM; `certificate` and `key` go together."""

    ca: bytes | None = None
    """Who signs the servers' certificates; None: whom the machine trusts."""
    certificate: bytes | None = None
    key: bytes | None = None
    skip_verification: bool = False
    """Take whatever certificate a server shows when it is first talked to."""


def parse_endpoint(endpoint: str) -> tuple[str, bool]:
    """Read `host:port`, an http(s) URL or unix(s)://path as (gRPC target, whether it is TLS).

    Raises ValueError on another scheme or an empty host.
    """
    for scheme in ("unix", "unixs"):
        if endpoint.startswith(f"{scheme}://"):
            return f"unix:{endpoint.removeprefix(f'{scheme}://')}", scheme == "unixs"
    if "://" not in endpoint:
        endpoint = f"http://{endpoint}"
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"endpoint {endpoint!r}: the scheme must be http or https")
    if not parts.hostname:
        raise ValueError(f"endpoint {endpoint!r} names no host")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port or DEFAULT_PORT}", parts.scheme == "https"


class Endpoints:
    """One channel an endpoint, opened when first used; `current` moves on when one fails.

    Requests stick to one member while it answers, so that a client's reads and writes share a
    connection and see each other's member.
    """

    def __init__(self, endpoints: Sequence[str], credentials: Credentials | None = None) -> None:
        if not endpoints:
            raise ValueError("a client needs at least one endpoint")
        self._targets = [parse_endpoint(endpoint) for endpoint in endpoints]
        self._credentials = credentials
        self.tokens = Tokens()
        """What authenticates requests and streams."""
        self._channels: dict[int, grpc.aio.Channel] = {}
        self._current = 0

    def __len__(self) -> int:
        return len(self._targets)

    def channel(self, position: int | None = None) -> tuple[int, grpc.aio.Channel]:
        """Give (position, channel) of the current endpoint, or of the one asked for."""
        at = self._current if position is None else position
        if at not in self._channels:
            self._channels[at] = self._open(*self._targets[at])
        return at, self._channels[at]

    def failed(self, position: int) -> None:
        """Move on from an endpoint that did not serve, unless another is current by now."""
        if position == self._current:
            self._current = (position + 1) % len(self._targets)

    def _open(self, target: str, tls: bool) -> grpc.aio.Channel:
        if not tls:
            return grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
        given = self._credentials or Credentials()
        ca, options = given.ca, CHANNEL_OPTIONS
        if given.skip_verification:
            try:
                ca, name = fetch_certificate(target)
            except OSError:
                pass  # the channel fails likewise, and says so in gRPC's words
            else:
                options = (*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", name))
        credentials = grpc.ssl_channel_credentials(ca, given.key, given.certificate)
        return grpc.aio.secure_channel(target, credentials, options=options)

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()
