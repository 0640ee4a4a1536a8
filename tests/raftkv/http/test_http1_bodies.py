"""Bodies of HTTP/1.1 requests: chunks of any shape, and what is refused."""

import asyncio

import pytest

from raftkv.rpc.http1 import Http1Protocol
from raftkv.rpc.http_body import BodyDecoder
from raftkv.rpc.http_exchange import BadRequest, BodyBudget, Headers, Query
from raftkv.rpc.http_routes import HttpRoutes

CHUNKED = b"5;x=y\r\nhello\r\n1 \r\n \r\nA\r\n0123456789\r\n0\r\nx-trailer: 1\r\n\r\nGET"


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_chunks_are_joined_wherever_reads_end(size: int) -> None:
    decoder, buffer, found = BodyDecoder(None), bytearray(), b""
    for start in range(0, len(CHUNKED), size):
        buffer += CHUNKED[start : start + size]
        if not decoder.is_complete:
            found += decoder.take(buffer)
    assert found == b"hello 0123456789"
    assert decoder.is_complete
    assert buffer == b"GET"


@pytest.mark.parametrize(
    "body",
    [b"x\r\n", b"-1\r\n", b"\r\n", b"1" * 16 + b"\r\n", b"0x1\r\n", b"1\r\nabc", b"1" * 300],
)
def test_malformed_chunks_are_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        BodyDecoder(None).take(bytearray(body))


async def echo(
    _method: str, _path: str, _query: Query, _headers: Headers, body: bytes
) -> tuple[int, str, bytes]:
    return 200, "text/plain", body


async def talk(request: bytes) -> bytes:
    """Send bytes, then return everything until the server closes."""
    routes = HttpRoutes()
    routes.add("/echo", echo, ("POST",))
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Http1Protocol(routes), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    listener.close()
    routes.close()
    return answer


async def test_chunked_and_pipelined_requests_share_a_connection() -> None:
    head = b"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    last = b"POST /echo HTTP/1.1\r\nconnection: close\r\ncontent-length: 3\r\n\r\nend"
    answer = await talk(head + b"3\r\none\r\n0\r\n\r\n" + head + b"3\r\ntwo\r\n0\r\n\r\n" + last)
    assert [answer.count(word) for word in (b"200 OK", b"one", b"two", b"end")] == [3, 1, 1, 1]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n", b"400"),
        (b"POST /echo HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n", b"501"),
        (b"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nz\r\n", b"400"),
        (b"POST /echo HTTP/1.1\r\ncontent-length: 9999999\r\n\r\n", b"413"),
        (b"POST //[ HTTP/1.1\r\n\r\n", b"400"),
    ],
)
async def test_requests_that_cannot_be_cut_are_refused_and_closed(
    request_bytes: bytes, status: bytes
) -> None:
    assert (await talk(request_bytes)).split(b" ")[1] == status


async def test_bodies_share_a_budget_and_give_it_back() -> None:
    """Promise: many half-sent bodies cost no more than the budget, and nothing once they end."""
    routes = HttpRoutes()
    routes.add("/echo", echo, ("POST",))
    routes.budget = BodyBudget(150_000)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Http1Protocol(routes), "127.0.0.1", 0)
    address = listener.sockets[0].getsockname()
    head = b"POST /echo HTTP/1.1\r\ncontent-length: 100001\r\n\r\n"
    first_reader, first = await asyncio.open_connection(*address)
    first.write(head + b"x" * 100_000)
    while routes.budget.held_bytes < 100_000:
        await asyncio.sleep(0.005)
    second_reader, second = await asyncio.open_connection(*address)
    second.write(head + b"x" * 100_000)
    assert b" 503 " in await asyncio.wait_for(second_reader.readline(), 5)
    first.write(b"x")
    assert b" 200 " in await asyncio.wait_for(first_reader.readline(), 5)
    _, third = await asyncio.open_connection(*address)
    third.write(head + b"x" * 50_000)
    while not routes.budget.held_bytes:
        await asyncio.sleep(0.005)
    for writer in (first, second, third):
        writer.close()
        await writer.wait_closed()
    while routes.budget.held_bytes:
        await asyncio.sleep(0.005)
    listener.close()
    routes.close()
