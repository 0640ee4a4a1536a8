"""Take connections: bounded in number, a few per turn of the loop, with TLS or without."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Admission", "TlsGate", "listen", "listen_unix"]

log = logging.getLogger(__name__)

ProtocolFactory = Callable[[], asyncio.BaseProtocol]

HANDSHAKE_TIMEOUT_S = 10
"""A client that has not finished its TLS handshake by then is cut off."""
CONNECTIONS_WAITING_MAX = 1024
"""Connections that the kernel holds until they are accepted; it turns others away."""
ACCEPTED_PER_TURN = 8
"""Connections taken in one turn of the loop: a crowd that arrives at once, or a flood, must not
keep those waiting who are connected."""
SHUTDOWN_TIMEOUT_S = 2
"""How long the other side may take to say goodbye."""
RECORD_BYTES = 16 << 10
"""What one connection reads at a time: a TLS record. asyncio's 256 KiB would be held by each."""


@dataclass(slots=True)
class Admission:
    """How many TLS connections one port has, handshakes under way included."""

    connections_max: int
    """One more is closed before its handshake begins."""
    handshake_timeout_s: int = HANDSHAKE_TIMEOUT_S
    open: int = field(default=0, init=False)


class _TlsConnection(SSLProtocol):
    """asyncio's own, which tells when the socket has gone, whatever state it was in."""

    max_size = RECORD_BYTES

    def __init__(
        self, protocol: asyncio.BaseProtocol, context: ssl.SSLContext, admission: Admission
    ) -> None:
        super().__init__(
            asyncio.get_running_loop(),
            protocol,
            context,
            None,  # type: ignore[arg-type]  # nobody waits for the end of the handshake
            server_side=True,
            ssl_handshake_timeout=admission.handshake_timeout_s,
            ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        )
        self._admission = admission
        admission.open += 1

    def _fatal_error(self, exc: BaseException, message: str = "") -> None:
        """Say what is wrong before hanging up: asyncio drops the alert that OpenSSL has written."""
        outgoing: ssl.MemoryBIO = self._outgoing  # type: ignore[attr-defined]  # typeshed lacks it
        if outgoing.pending and isinstance(self._transport, asyncio.Transport):
            self._transport.write(outgoing.read())
        super()._fatal_error(exc, message)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._admission.open -= 1
        super().connection_lost(exc)


class TlsGate(asyncio.Protocol):
    """The first protocol of an accepted socket: counts it, then lets TLS begin, or closes it."""

    def __init__(
        self, factory: ProtocolFactory, context: ssl.SSLContext, admission: Admission
    ) -> None:
        self._factory = factory
        self._context = context
        self._admission = admission

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self._admission.open >= self._admission.connections_max:
            transport.abort()
            return
        tls = _TlsConnection(self._factory(), self._context, self._admission)
        transport.set_protocol(tls)
        tls.connection_made(transport)


async def listen(
    factory: ProtocolFactory,
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    admission: Admission,
) -> asyncio.Server:
    """Listen on every address of `host`; with `context`, TLS. Raises OSError."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        gated(factory, context, admission), host, port, backlog=ACCEPTED_PER_TURN
    )
    _let_more_wait(server)
    return server


async def listen_unix(
    factory: ProtocolFactory, path: str, context: ssl.SSLContext | None, admission: Admission
) -> asyncio.Server:
    """Listen on a Unix socket, replacing one that nobody serves any more. Raises OSError."""
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(
        gated(factory, context, admission), path, backlog=ACCEPTED_PER_TURN
    )
    _let_more_wait(server)
    return server


def gated(
    factory: ProtocolFactory, context: ssl.SSLContext | None, admission: Admission
) -> ProtocolFactory:
    """Return the factory for a listener's sockets."""
    if context is None:
        return factory
    return lambda: TlsGate(factory, context, admission)


def _let_more_wait(server: asyncio.Server) -> None:
    """Give the kernel its queue: asyncio uses one number for that and for what a turn accepts."""
    for one in server.sockets:
        duplicate = socket.socket(one.family, one.type, one.proto, os.dup(one.fileno()))
        with duplicate:
            duplicate.listen(CONNECTIONS_WAITING_MAX)
