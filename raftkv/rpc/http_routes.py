"""Which handler answers which path; the same table for HTTP/1.1 and plain HTTP/2 requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

from raftkv._native.http2 import Stream
from raftkv.rpc.http2_exchange import Http2Exchange
from raftkv.rpc.http_exchange import (
    Answer,
    BadRequest,
    BodyBudget,
    Exchange,
    Headers,
    Query,
)

__all__ = ["ExchangeHandler", "Handler", "HttpRoutes"]

log = logging.getLogger(__name__)

Handler = Callable[[str, str, Query, Headers, bytes], Awaitable[Answer]]
"""`(method, path, query, headers, body)`; header names are lower-case."""
ExchangeHandler = Callable[[Exchange], Awaitable[None]]
"""Reads the body as it comes, answers in pieces, lives as long as it likes."""
Gate = Callable[[Exchange], bool]
"""Looks at each request first; False if it has answered."""

BODY_BYTES_MAX = 2 << 20
"""Body of a request to a `Handler`; more is 413."""
BODIES_BYTES_MAX = 256 << 20
"""Bodies of all requests under way on one table; more is 503."""
CONNECTIONS_MAX = 4096
"""HTTP/1 connections on one table; one more is closed at once."""


class Closable(Protocol):
    """A connection that is open on the table."""

    def close(self) -> None:
        """Close it."""


@dataclass(frozen=True, slots=True)
class _Route:
    methods: frozenset[str]
    handler: Handler | None = None
    exchange_handler: ExchangeHandler | None = None


class HttpRoutes:
    """The routes, and the requests and connections that are under way on them."""

    def __init__(self, gate: Gate | None = None) -> None:
        self._gate = gate
        self._exact: dict[str, _Route] = {}
        self._prefixes: list[tuple[str, _Route]] = []
        self._connections: set[Closable] = set()
        self.budget = BodyBudget(BODIES_BYTES_MAX)
        """Room for the bodies of all requests under way."""

    def add(self, path: str, handler: Handler, methods: tuple[str, ...] = ("GET",)) -> None:
        """Route `path`, or all paths below it where it ends in a slash. GET implies HEAD."""
        allowed = frozenset(methods) | ({"HEAD"} if "GET" in methods else frozenset())
        self._add(path, _Route(allowed, handler=handler))

    def add_exchange(self, path: str, handler: ExchangeHandler) -> None:
        """Route `path`, as `add` does, to a handler that sees to everything itself."""
        self._add(path, _Route(frozenset(), exchange_handler=handler))

    def _add(self, path: str, route: _Route) -> None:
        if path.endswith("/"):
            self._prefixes.append((path, route))
        else:
            self._exact[path] = route

    def opened(self, connection: Closable) -> bool:
        """Remember a connection, for `close`. False if there are too many: close it."""
        if len(self._connections) >= CONNECTIONS_MAX:
            return False
        self._connections.add(connection)
        return True

    def closed(self, connection: Closable) -> None:
        """Forget a connection."""
        self._connections.discard(connection)

    def close(self) -> None:
        """Close every HTTP/1 connection that was opened on this table, what it answers included."""
        for connection in list(self._connections):
            connection.close()

    def begin(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        """Find who answers; returns the work, which never raises but when it is cancelled."""
        route = self._find(exchange.path)
        exchange.budget = self.budget
        exchange.is_long = route is not None and route.exchange_handler is not None
        return self._serve(exchange, route)

    def _find(self, path: str) -> _Route | None:
        found = self._exact.get(path)
        if found is not None:
            return found
        return next((route for prefix, route in self._prefixes if path.startswith(prefix)), None)

    async def _serve(self, exchange: Exchange, route: _Route | None) -> None:
        try:
            if self._gate is None or self._gate(exchange):
                await _answer(exchange, route)
        except BadRequest as error:
            _refuse(exchange, error.status, error.text)
        except Exception:
            log.exception("http handler failed", extra={"path": exchange.path})
            _refuse(exchange, HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")
        finally:
            exchange.let_go()

    # Plain requests on HTTP/2.

    def open_stream(self, stream: Stream) -> Http2Exchange | None:
        """Begin a plain HTTP/2 request; give this to `Server` as its `http_open`."""
        try:
            exchange = Http2Exchange(stream)
        except BadRequest as error:
            stream.reply_http(int(error.status), b"text/plain", error.text.encode())
            return None
        exchange.task = start(exchange, self.begin(exchange))
        return exchange

    def serve_stream(self, stream: Stream, body: bytes) -> None:
        """Answer a complete plain HTTP/2 request; give this to `Server` as its `http_handler`."""
        exchange = self.open_stream(stream)
        if exchange is not None:
            stream.on_closed = exchange.on_closed
            exchange.push(body)
            exchange.push_end()


async def _answer(exchange: Exchange, route: _Route | None) -> None:
    if route is None:
        _refuse(exchange, HTTPStatus.NOT_FOUND, "404 page not found")
    elif route.exchange_handler is not None:
        await route.exchange_handler(exchange)
    elif exchange.method not in route.methods:
        exchange.answer_fields.append(("allow", ", ".join(sorted(route.methods))))
        _refuse(exchange, HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed")
    else:
        assert route.handler is not None
        body = await exchange.read_all(BODY_BYTES_MAX)
        exchange.reply(
            *await route.handler(
                exchange.method, exchange.path, exchange.query, exchange.headers, body
            )
        )


def _refuse(exchange: Exchange, status: HTTPStatus, text: str) -> None:
    if exchange.began:
        exchange.abort()
    else:
        exchange.reply(int(status), "text/plain; charset=utf-8", f"{text}\n".encode())


def start(exchange: Exchange, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run the work of `begin` in a task of its own."""
    return asyncio.get_running_loop().create_task(work, name=f"http {exchange.path[:60]}")
