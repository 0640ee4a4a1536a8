"""Conversations with random damage: the front end survives, serves on, and forgets all of it."""

import asyncio
import contextlib
import random
import struct

import grpc
import pytest

from raftkv._native.http2 import Limits
from tests.raftkv.native.http2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    frame,
    message,
    request_headers,
)
from tests.raftkv.native.http2_serving import Serving, serving

CONVERSATIONS = 60
PATHS = (b"/test.Test/Echo", b"/test.Test/Later", b"/test.Test/Chat", b"/test.Test/No", b"/x")


def conversation(rng: random.Random) -> bytes:
    """Some valid requests, whole or in parts, on streams that are sometimes reset."""
    parts = [PREFACE, frame(SETTINGS, 0, 0)]
    for stream_id in range(1, rng.randrange(3, 30), 2):
        more = ((b"grpc-timeout", b"5S"), (b"x", b"y" * rng.randrange(200)))
        block = request_headers(rng.choice(PATHS), *more[: rng.randrange(3)])
        parts.append(frame(HEADERS, END_HEADERS, stream_id, block))
        for _ in range(rng.randrange(3)):
            body = message(rng.randbytes(rng.randrange(5_000)))
            cut = rng.randrange(len(body) + 1)
            parts += [frame(DATA, 0, stream_id, body[:cut]), frame(DATA, 0, stream_id, body[cut:])]
        match rng.randrange(4):
            case 0:
                parts.append(frame(RST_STREAM, 0, stream_id, struct.pack(">I", 8)))
            case 1 | 2:
                parts.append(frame(DATA, END_STREAM, stream_id))
            case _:
                parts.append(frame(PING, 0, 0, rng.randbytes(8)))
    return b"".join(parts)


def damaged(rng: random.Random, whole: bytes) -> bytes:
    """Flip, cut or repeat bytes, mostly behind the preface."""
    raw = bytearray(whole)
    for _ in range(rng.choice((0, 1, 1, 2, 5, 50))):
        at = rng.randrange(len(PREFACE) if rng.random() < 0.95 else 0, len(raw))
        match rng.randrange(4):
            case 0:
                del raw[at : at + rng.randrange(20)]
            case 1:
                raw[at:at] = rng.randbytes(rng.randrange(20))
            case 2:
                raw[at:at] = raw[at : at + rng.randrange(200)]
            case _:
                raw[at] ^= 1 << rng.randrange(8)
    return bytes(raw)


async def talk(front: Serving, rng: random.Random) -> None:
    """Send one damaged conversation in pieces; read as it pleases; go at any moment."""
    raw = damaged(rng, conversation(rng))
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    with contextlib.suppress(ConnectionError, TimeoutError):
        while raw:
            size = rng.choice((1, 9, 100, 10_000))
            writer.write(raw[:size])
            raw = raw[size:]
            if rng.random() < 0.1:
                await writer.drain()
            if rng.random() < 0.01:
                break
        async with asyncio.timeout(0.02):
            await reader.read()
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize("seed", range(8))
async def test_damaged_conversations(seed: int) -> None:
    rng = random.Random(seed)
    limits = Limits(partial_bytes_max=1 << 20, queued_bytes_max=1 << 20, header_list_bytes_max=1024)
    async with serving(limits) as front:
        for _ in range(CONVERSATIONS // 10):
            await asyncio.gather(*(talk(front, random.Random(rng.random())) for _ in range(10)))
        async with grpc.aio.insecure_channel(front.target) as channel:
            assert await channel.unary_unary("/test.Test/Echo")(b"x") == b"x"
