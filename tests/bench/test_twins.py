"""The native parts and the plain twins that they are measured beside do the same, whatever comes.

The store's twin is held by tests/raftkv/native/test_mvcc_store_equivalence, the log's by
tests/raftkv/storage/test_log_segments; here are batches, HTTP/2 frames and watchers.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.hot_paths import Nobody, Transport
from bench.micro.plain_http2 import PlainServer
from bench.raw_client import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    SETTINGS,
    SETTINGS_WIDE,
    WINDOW_UPDATE,
    frame,
    headers,
    message,
)
from raftkv._native import watch_hub, watch_hub_reference
from raftkv._native.command_batch import CommandBatch, check_batch, read_commands, read_header
from raftkv._native.http2 import MethodTable, Server, Stream
from tests.raftkv.native.test_watch_hub import History, Wire

U64 = st.integers(0, (1 << 64) - 1)
COMMANDS = st.lists(
    st.tuples(st.integers(0, 255), st.binary(max_size=300)), min_size=1, max_size=20
)


def plain_batch(origin: int, number: int, commands: list[tuple[int, bytes]]) -> bytes:
    parts = [struct.pack("<QQI", origin, number, len(commands))]
    parts += [struct.pack("<BI", kind, len(data)) + data for kind, data in commands]
    return b"".join(parts)


def plain_commands(batch: bytes) -> list[tuple[int, bytes]] | None:
    """Read a batch as ARCHITECTURE.md says it is; None where it is none."""
    if len(batch) < 20:
        return None
    _, _, count = struct.unpack_from("<QQI", batch)
    commands, at = [], 20
    for _ in range(count):
        if at + 5 > len(batch):
            return None
        kind, length = struct.unpack_from("<BI", batch, at)
        if at + 5 + length > len(batch):
            return None
        commands.append((kind, batch[at + 5 : at + 5 + length]))
        at += 5 + length
    return commands if at == len(batch) and commands else None


@given(U64, U64, COMMANDS)
def test_both_write_the_same_batch(
    origin: int, number: int, commands: list[tuple[int, bytes]]
) -> None:
    batch = CommandBatch()
    for kind, data in commands:
        batch.add(kind, data, Nobody())
    sealed = batch.seal(origin, number)
    assert sealed == plain_batch(origin, number, commands)
    assert read_commands(sealed) == commands
    assert read_header(sealed)[:3] == (origin, number, len(commands))


@given(COMMANDS, st.data())
def test_both_believe_the_same_of_damaged_batches(
    commands: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    raw = bytearray(plain_batch(1, 2, commands))
    for _ in range(data.draw(st.integers(0, 3))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    expected = plain_commands(damaged)
    if expected is None:
        with pytest.raises(ValueError, match="batch"):
            check_batch(damaged)
    else:
        check_batch(damaged)
        assert read_commands(damaged) == expected


PATHS = ("/etcdserverpb.KV/Put", "/etcdserverpb.KV/Range")
REQUESTS = st.lists(st.tuples(st.sampled_from(PATHS), st.binary(max_size=400)), max_size=8)


def natively(pieces: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Return what the native front end reads out of these pieces of one connection."""
    asked: list[tuple[bytes, bytes]] = []
    methods = MethodTable()
    for path in PATHS:

        def handler(stream: Stream, body: bytes, path: str = path) -> None:
            asked.append((path.encode(), body))
            stream.reply(b"yes")

        methods.unary(path.encode(), handler)
    server = Server(methods, asyncio.Protocol)
    protocol = server.protocol_factory()

    async def converse() -> None:
        protocol.connection_made(Transport())
        for piece in pieces:
            at = 0
            while at < len(piece):
                room = memoryview(protocol.get_buffer(-1))
                part = piece[at : at + len(room)]
                room[: len(part)] = part
                protocol.buffer_updated(len(part))
                at += len(part)
        protocol.connection_lost(None)
        server.close()

    with closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(converse())
    return asked


@settings(max_examples=60, deadline=None)
@given(REQUESTS, st.data())
def test_both_read_the_same_requests_out_of_frames(
    requests: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    """However the bytes are cut, and whatever control frames are between them."""
    parts = [PREFACE, frame(SETTINGS, 0, 0, SETTINGS_WIDE)]
    for number, (path, body) in enumerate(requests):
        stream_id = 2 * number + 1
        parts.append(frame(HEADERS, END_HEADERS, stream_id, headers(path)))
        if data.draw(st.booleans()):
            parts.append(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1000)))
        parts.append(frame(DATA, END_STREAM, stream_id, message(body)))
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    edges = [0, *cuts, len(whole)]
    pieces = [whole[edges[i] : edges[i + 1]] for i in range(len(edges) - 1)]
    plainly: list[tuple[bytes, bytes]] = []

    def answer(path: bytes, body: bytes) -> bytes:
        plainly.append((path, body))
        return b"yes"

    plain = PlainServer(answer)
    plain.receive(whole)
    assert natively(pieces) == plainly == [(path.encode(), body) for path, body in requests]


KEYS = st.binary(min_size=1, max_size=2).map(lambda key: bytes(97 + byte % 3 for byte in key))
ENDS = st.one_of(st.just(b""), st.just(b"\0"), KEYS)
FLAGS = st.fixed_dictionaries(
    {name: st.booleans() for name in ("prev_kv", "no_put", "no_delete", "fragment")}
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.integers(0, 1), KEYS, ENDS, st.integers(0, 12), FLAGS),
        st.tuples(st.just("cancel"), st.integers(0, 1), st.integers(0, 4)),
        st.tuples(st.just("put"), st.sets(KEYS, min_size=1, max_size=3), st.booleans()),
        st.tuples(st.just("pump")),
    ),
    max_size=25,
)


def heard(module: Any, steps: list[tuple[Any, ...]]) -> list[dict[int, list[bytes]]]:
    """Run the steps on one hub; returns what each watcher of each of two streams was told.

    Where responses are cut is each hub's own choice: events of one watcher are compared one by one.
    """
    store, wires = History(), [Wire(), Wire()]
    hub = module.WatchHub(store, lambda: None, cluster_id=7, member_id=9, fragment_bytes=40)
    streams = [hub.open(wire) for wire in wires]
    for what, *rest in steps:
        match what:
            case "create":
                stream, key, end, start, flags = rest
                streams[stream].create(key, end, start, **flags)
            case "cancel":
                streams[rest[0]].cancel(rest[1])
            case "put":
                store.put(*sorted(rest[0]), delete=rest[1])
                hub.publish()
            case _:
                hub.pump()
    while hub.pump():
        pass
    return [by_watcher(wire) for wire in wires]


def by_watcher(wire: Wire) -> dict[int, list[bytes]]:
    told: dict[int, list[bytes]] = {}
    for response in wire.take():
        mine = told.setdefault(response.watch_id, [])
        mine += [event.SerializeToString(deterministic=True) for event in response.events]
        if not response.events:
            mine.append(response.SerializeToString(deterministic=True))
    return told


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_both_hubs_tell_the_same_watchers_the_same(steps: list[tuple[Any, ...]]) -> None:
    assert heard(watch_hub, steps) == heard(watch_hub_reference, steps)
