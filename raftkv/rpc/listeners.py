"""The sockets of the client port: plain, TLS and Unix ones, each as its URL says."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from raftkv.config import Config, Endpoint
from raftkv.tls.context import server_context
from raftkv.tls.listener import Admission, ProtocolFactory, listen, listen_unix
from raftkv.tls.self_signed import with_self_signed

__all__ = ["Listeners"]

log = logging.getLogger(__name__)

ALPN = ("h2", "http/1.1")


class Listeners:
    """Everything that one member listens on for clients."""

    def __init__(self, config: Config, connections_max: int) -> None:
        self._config = config
        self._admission = Admission(connections_max)
        self._servers: list[asyncio.Server] = []
        self._socket_files: list[Path] = []
        self._context: ssl.SSLContext | None = None

    async def open(self, endpoint: Endpoint, factory: ProtocolFactory) -> None:
        """Listen on one URL. Raises OSError, of which TlsError is one."""
        context = self._tls() if endpoint.is_tls else None
        if endpoint.is_unix:
            server = await listen_unix(factory, endpoint.host, context, self._admission)
            self._socket_files.append(Path(endpoint.host))
        else:
            server = await listen(factory, endpoint.host, endpoint.port, context, self._admission)
        self._servers.append(server)
        log.info("listening for clients", extra={"url": endpoint.url})

    def close(self) -> None:
        """Take no more connections; those that are open stay."""
        for server in self._servers:
            server.close()
        for file in self._socket_files:
            with suppress(FileNotFoundError):
                file.unlink()
        self._servers.clear()
        self._socket_files.clear()

    def _tls(self) -> ssl.SSLContext:
        """Return the context that all TLS listeners share, made when the first needs it."""
        if self._context is None:
            config = self._config
            settings = config.client_tls
            if settings.needs_self_signed:
                hosts = _hosts((*config.listen_client, *config.listen_metrics))
                directory = config.data_dir / "fixtures" / "client"
                settings = with_self_signed(settings, directory, hosts, datetime.now(UTC))
            self._context = server_context(settings, ALPN)
        return self._context


def _hosts(endpoints: Sequence[Endpoint]) -> list[str]:
    """Return the names and addresses that a certificate for these should have."""
    hosts = [one.host for one in endpoints if not one.is_unix]
    return list(dict.fromkeys([*hosts, "localhost"]))
