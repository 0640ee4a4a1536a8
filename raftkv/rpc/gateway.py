"""The JSON gateway: etcd's RPCs as POSTs of JSON, answered by the same handlers as gRPC.

A unary call is a body and an answer. A stream reads one JSON object after the other while it
answers with a line `{"result": ...}` each; it ends when the service ends it or the client goes
away, not when the client has no more to say: `curl -d` has said all at once.
"""

from __future__ import annotations

import asyncio
import logging
import re
from http import HTTPStatus
from typing import Any, cast

import orjson

from raftkv._native.http2 import MethodTable, Stream, StreamHandler
from raftkv._native.http2_methods import Method
from raftkv.errors import GrpcStatus
from raftkv.rpc.gateway_json import JsonError, decode
from raftkv.rpc.gateway_paths import GatewayMethod, gateway_methods
from raftkv.rpc.gateway_splitter import ObjectSplitter
from raftkv.rpc.gateway_stream import (
    CONTENT_TYPE,
    GATEWAY_FIELDS,
    GatewayStream,
    http_status,
    status_json,
)
from raftkv.rpc.http_exchange import BadRequest, Exchange
from raftkv.rpc.http_routes import HttpRoutes
from raftkv.rpc.websocket import WebSocketExchange, wants_websocket

__all__ = ["Gateway"]

log = logging.getLogger(__name__)

JSON_OVERHEAD_BYTES = 64 << 10
"""What field names and numbers may add to a request of the largest size, in base64."""

METADATA_PREFIX = "grpc-metadata-"
"""A header of this prefix becomes metadata without it."""

_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])")
_TIMEOUT_UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class Gateway:
    """Answers `/v3/...` by the handlers of a method table."""

    def __init__(self, methods: MethodTable, message_bytes_max: int) -> None:
        """`message_bytes_max`: the largest request, as protobuf, as on the gRPC side."""
        self._methods = methods
        self._message_bytes_max = message_bytes_max
        self._body_bytes_max = message_bytes_max * 4 // 3 + JSON_OVERHEAD_BYTES
        self._by_path = gateway_methods()

    def register(self, routes: HttpRoutes) -> None:
        """Add the paths; those of etcd 3.3 (`/v3beta/`) are the same."""
        routes.add_exchange("/v3/", self.serve)
        routes.add_exchange("/v3beta/", self.serve)

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request."""
        called = self.find(exchange)
        if called is None:
            _fail(exchange, GrpcStatus.NOT_FOUND, "Not Found")
        elif wants_websocket(exchange):
            await self.call(WebSocketExchange(exchange, self._body_bytes_max), called)
        elif exchange.method != "POST":
            status = HTTPStatus.METHOD_NOT_ALLOWED
            _fail(exchange, GrpcStatus.UNIMPLEMENTED, "Method Not Allowed", status)
        else:
            await self.call(exchange, called)

    def find(self, exchange: Exchange) -> GatewayMethod | None:
        """Return what a path leads to, if anything."""
        return self._by_path.get(exchange.path.replace("/v3beta/", "/v3/", 1))

    async def call(self, exchange: Exchange, called: GatewayMethod) -> None:
        """Run one call to its end."""
        method = self._methods.find(called.grpc_path)
        if method is None:
            refusal = self._methods.refusal(called.grpc_path)
            _fail(exchange, GrpcStatus.UNIMPLEMENTED, refusal)
            return
        stream = GatewayStream(
            exchange, method, called.response_type, _metadata(exchange), _deadline_s(exchange)
        )
        is_line = stream.is_streaming
        try:
            async with asyncio.timeout(stream.deadline_s):
                if called.takes_stream and method.is_streaming:
                    await self._converse(stream, exchange, method, called)
                else:
                    await self._ask(stream, exchange, method, called)
        except TimeoutError:
            stream.fail(GrpcStatus.DEADLINE_EXCEEDED, "context deadline exceeded")
        except JsonError as error:
            is_line = exchange.began
            stream.fail(GrpcStatus.INVALID_ARGUMENT, str(error))
        except BadRequest as error:
            stream.fail(GrpcStatus.RESOURCE_EXHAUSTED, error.text)
        except Exception:
            log.exception("handler failed", extra={"path": exchange.path})
            stream.fail(GrpcStatus.INTERNAL, "internal error")
        finally:
            stream.close()
        _end(exchange, stream, is_line, *stream.ended.result())

    async def _ask(
        self, stream: GatewayStream, exchange: Exchange, method: Method, called: GatewayMethod
    ) -> None:
        """Hand over the one request and wait for the end."""
        message = self._read(await exchange.read_all(self._body_bytes_max), called)
        stream.took()
        if method.is_streaming:
            handler = cast(StreamHandler, method.handler(cast(Stream, stream)))
            stream.tell_end_to(handler)
            handler.on_message(message)
            handler.on_half_close()
        else:
            method.handler(cast(Stream, stream), message)
        await stream.ended

    async def _converse(
        self, stream: GatewayStream, exchange: Exchange, method: Method, called: GatewayMethod
    ) -> None:
        """Hand over requests as they come, until the service has finished."""
        handler = cast(StreamHandler, method.handler(cast(Stream, stream)))
        stream.tell_end_to(handler)
        requests = asyncio.create_task(self._forward(stream, exchange, handler, called))
        requests.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            waiting: set[asyncio.Future[Any]] = {requests, stream.ended}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not stream.ended.done():
                requests.result()
                handler.on_half_close()
            await stream.ended
        finally:
            requests.cancel()

    async def _forward(
        self,
        stream: GatewayStream,
        exchange: Exchange,
        handler: StreamHandler,
        called: GatewayMethod,
    ) -> None:
        """Give the handler every object of the body. Raises JsonError, BadRequest."""
        splitter = ObjectSplitter(self._body_bytes_max)
        while piece := await exchange.read():
            for text in splitter.push(piece):
                if stream.ended.done():
                    return
                stream.took()
                handler.on_message(self._read(text, called))
        if not splitter.is_between:
            raise JsonError("unexpected EOF")

    def _read(self, text: bytes, called: GatewayMethod) -> bytes:
        message = decode(text, called.request_type).SerializeToString()
        if len(message) > self._message_bytes_max:
            raise BadRequest(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "grpc: received message larger than max"
                f" ({len(message)} vs. {self._message_bytes_max})",
            )
        return message


def _end(exchange: Exchange, stream: GatewayStream, is_line: bool, code: int, text: str) -> None:
    """Write the status: as the whole answer, or as the last line of a stream."""
    if exchange.began:
        if code:
            exchange.write(orjson.dumps({"error": status_json(code, text)}) + b"\n")
        exchange.end()
    elif code and is_line:
        body = orjson.dumps({"error": status_json(code, text)}) + b"\n"
        exchange.reply(http_status(code), CONTENT_TYPE, body)
    elif code:
        _fail(exchange, code, text)
    elif stream.is_streaming:
        exchange.reply(200, CONTENT_TYPE, b"", GATEWAY_FIELDS)
    else:
        exchange.reply(200, CONTENT_TYPE, b"".join(stream.answers), GATEWAY_FIELDS)


def _fail(exchange: Exchange, code: int, text: str, status: int | None = None) -> None:
    body = orjson.dumps(status_json(code, text))
    exchange.reply(http_status(code) if status is None else status, CONTENT_TYPE, body)


def _metadata(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """Return the metadata that a request's headers mean: the token, and what is marked as such."""
    found = [
        (name.removeprefix(METADATA_PREFIX).encode("latin-1"), value.encode("latin-1"))
        for name, value in exchange.headers.items()
        if name.startswith(METADATA_PREFIX)
    ]
    token = exchange.headers.get("authorization")
    if token:
        found.append((b"token", token.encode("latin-1")))
    return found


def _deadline_s(exchange: Exchange) -> float | None:
    """Return how long the client waits, if it says so in gRPC's way."""
    match = _TIMEOUT.fullmatch(exchange.headers.get("grpc-timeout", ""))
    return None if match is None else int(match[1]) * _TIMEOUT_UNITS_S[match[2]]
