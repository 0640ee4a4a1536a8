"""Everything that a member serves over plain HTTP, and on which of its listeners."""

from __future__ import annotations

import asyncio

from raftkv._native.http2 import MethodTable, Server, Stream, StreamHandler
from raftkv.config import REQUEST_OVERHEAD_BYTES
from raftkv.rpc.access_control import AccessControl
from raftkv.rpc.debug import register_profiles, register_variables
from raftkv.rpc.gateway import Gateway
from raftkv.rpc.health import HealthService
from raftkv.rpc.http1 import Http1Protocol
from raftkv.rpc.http_routes import HttpRoutes
from raftkv.rpc.metrics_grpc import CallMetrics
from raftkv.rpc.metrics_network import NetworkMetrics
from raftkv.rpc.metrics_source import MemberMetrics
from raftkv.server.bootstrap import OpenMember

__all__ = ["HttpFront"]

GRPC_ONLY = b"HTTP is served on the URLs of --listen-client-http-urls\n"


class HttpFront:
    """The routes of the client port and those of the metrics listeners."""

    def __init__(self, opened: OpenMember, methods: MethodTable) -> None:
        config = opened.member.config
        self._has_own_listeners = bool(config.listen_http)
        self._client = HttpRoutes(AccessControl(config.http))
        self._metrics = HttpRoutes()
        self._none = HttpRoutes()
        health = HealthService(opened.member)
        self._calls = CallMetrics(methods, is_extensive=config.http.extensive_metrics)
        self._network = NetworkMetrics(opened.member)
        metrics = MemberMetrics(opened, health, self._calls, self._network)
        for routes in (self._client, self._metrics):
            health.register_http(routes)
            metrics.register(routes)
        health.register_version(self._client)
        register_variables(self._client)
        if config.http.profiling:
            register_profiles(self._client)
        if config.http.gateway:
            Gateway(methods, config.request_bytes_max + REQUEST_OVERHEAD_BYTES).register(
                self._client
            )
        self._http_server = Server(
            MethodTable(),
            lambda: Http1Protocol(self._client),
            http_handler=self._client.serve_stream,
            http_open=self._client.open_stream,
        )

    def count_bytes_of(self, server: Server) -> None:
        """Show what goes through a server's connections in the metrics."""
        self._calls.servers = (server, self._http_server)

    def start(self) -> None:
        """Begin what is measured all the time."""
        self._network.start()

    # On the client URLs.

    def client_protocol(self) -> asyncio.Protocol:
        """Serve HTTP/1 there, or refuse it where HTTP has URLs of its own."""
        return Http1Protocol(self._none if self._has_own_listeners else self._client)

    def open_stream(self, stream: Stream) -> StreamHandler | None:
        """Begin a plain HTTP/2 request there."""
        if self._has_own_listeners:
            stream.reply_http(415, b"text/plain", GRPC_ONLY)
            return None
        return self._client.open_stream(stream)

    def serve_stream(self, stream: Stream, body: bytes) -> None:
        """Never needed: every request is opened."""

    # On the others.

    def http_protocol(self) -> asyncio.BaseProtocol:
        """Serve both HTTPs, without gRPC."""
        return self._http_server.protocol_factory()

    def metrics_protocol(self) -> asyncio.BaseProtocol:
        """Serve metrics and health."""
        return Http1Protocol(self._metrics)

    def close(self) -> None:
        """Close every connection."""
        self._network.close()
        self._http_server.close()
        for routes in (self._client, self._metrics, self._none):
            routes.close()
