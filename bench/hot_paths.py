"""The hottest paths of raftkv alone, native and plain: what micro-benchmarks and callgrind run.

A path makes its inputs first; `run(i)` then does the i-th of UNITS equal pieces of work, of
`per_unit` operations each. `python -m bench.hot_paths NAME COUNT` runs the first COUNT of the
native one, and nothing else that depends on COUNT.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from bench.constant_server import ANSWER
from bench.micro.plain_http2 import PlainServer
from bench.operation import key_of, prefix_end, value_of
from bench.raw_client import (
    END_HEADERS,
    END_STREAM,
    PREFACE,
    SETTINGS,
    SETTINGS_WIDE,
    WINDOW_BYTES,
    WINDOW_UPDATE,
    frame,
    headers,
    message,
)
from raftkv._native import mvcc_store_reference, watch_hub, watch_hub_reference
from raftkv._native.command_batch import CommandBatch
from raftkv._native.http2 import MethodTable, Server, Stream
from raftkv._native.mvcc_store import MvccStore
from raftkv.pb.etcd import kv_pb2
from raftkv.pb.etcd import rpc_pb2 as pb

UNITS = 120
BATCH = 100
KEYS = 1000
WATCHERS, STREAMS = 1000, 100
PUT_KIND = 1
CLUSTER_ID, MEMBER_ID = 1, 2
DATA, HEADERS = 0, 1


@dataclass(frozen=True, slots=True)
class Path:
    """Prepared work."""

    run: Callable[[int], Any]
    per_unit: int


class Nobody:
    """Waits for an answer, and takes no notice of it."""

    def reply(self, message: bytes, /) -> None: ...
    def fail(self, code: int, text: str, /) -> None: ...


def put_request(number: int) -> bytes:
    return pb.PutRequest(key=key_of(number * 7919 % KEYS), value=value_of(256)).SerializeToString()


def plain_seal(commands: list[bytes]) -> bytes:
    """Encode a batch of puts in plain Python (ARCHITECTURE.md, Batch)."""
    parts = [struct.pack("<QQI", 2, 1, len(commands))]
    for payload in commands:
        parts += [struct.pack("<BI", PUT_KIND, len(payload)), payload]
    return b"".join(parts)


def native_seal(commands: list[bytes]) -> bytes:
    batch, nobody = CommandBatch(), Nobody()
    for payload in commands:
        batch.add(PUT_KIND, payload, nobody)
    return batch.seal(2, 1)


@contextmanager
def entry(native: bool) -> Iterator[Path]:
    """100 puts become the data of one entry."""
    commands = [put_request(number) for number in range(BATCH)]
    seal = native_seal if native else plain_seal
    yield Path(lambda _: seal(commands), BATCH)


@contextmanager
def store(native: bool) -> Iterator[Any]:
    """Open a store; the native one on a disk of memory, where there is one, and without flushes."""
    if not native:
        yield mvcc_store_reference.MvccStoreReference(cluster_id=CLUSTER_ID, member_id=MEMBER_ID)
        return
    parent = "/dev/shm" if os.path.isdir("/dev/shm") else None
    directory = tempfile.mkdtemp(prefix="bench-", dir=parent)
    opened = MvccStore(
        directory,
        map_size=1 << 28,
        table_bytes_max=512 << 20,
        cluster_id=CLUSTER_ID,
        member_id=MEMBER_ID,
    )
    try:
        with closing(opened):
            yield opened
    finally:
        shutil.rmtree(directory)


def batches() -> list[bytes]:
    return [
        plain_seal([put_request(unit * BATCH + i) for i in range(BATCH)]) for unit in range(UNITS)
    ]


@contextmanager
def put(native: bool) -> Iterator[Path]:
    """One entry of 100 puts is applied, with its answers."""
    entries = batches()
    with store(native) as opened:

        def run(unit: int) -> None:
            index = opened.applied_index + 1
            assert len(opened.apply(index, 1, entries[unit % UNITS], True)) == BATCH

        yield Path(run, BATCH)


@contextmanager
def point_range(native: bool) -> Iterator[Path]:
    """100 keys are read, each by a request of its own."""
    requests = [
        pb.RangeRequest(key=key_of(n * 7919 % KEYS)).SerializeToString() for n in range(KEYS)
    ]
    with store(native) as opened:
        for index, data in enumerate(batches()[: KEYS // BATCH]):
            opened.apply(index + 1, 1, data, False)

        def run(unit: int) -> None:
            start = unit * BATCH % KEYS
            for request in requests[start : start + BATCH]:
                assert len(opened.range(request, 1)) > 256

        yield Path(run, BATCH)


def grpc_input(unit: int) -> bytes:
    """What a client sends for 100 puts."""
    parts = []
    for i in range(BATCH):
        stream_id = 2 * (unit * BATCH + i) + 1
        parts.append(frame(HEADERS, END_HEADERS, stream_id, headers("/etcdserverpb.KV/Put")))
        parts.append(frame(DATA, END_STREAM, stream_id, message(put_request(i))))
    return b"".join(parts)


class Transport(asyncio.Transport):
    """Takes what is written, and counts it."""

    written = 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 1) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += len(data)

    def close(self) -> None: ...
    def abort(self) -> None: ...


@contextmanager
def grpc(native: bool) -> Iterator[Path]:
    """100 gRPC requests are read and answered; the bytes do not pass any socket."""
    inputs = [grpc_input(unit) for unit in range(UNITS)]
    if not native:
        plain = PlainServer(lambda _path, _message: ANSWER)
        yield Path(lambda unit: plain.receive(inputs[unit]), BATCH)
        return
    methods = MethodTable()

    def answer(stream: Stream, _message: bytes) -> None:
        stream.reply(ANSWER)

    methods.unary(b"/etcdserverpb.KV/Put", answer)
    server = Server(methods, asyncio.Protocol)
    protocol = server.protocol_factory()
    transport = Transport()
    with closing(asyncio.new_event_loop()) as loop:

        async def connect() -> None:
            protocol.connection_made(transport)

        def feed(data: bytes) -> None:
            room = protocol.get_buffer(-1)
            room[: len(data)] = data  # type: ignore[index]
            protocol.buffer_updated(len(data))

        loop.run_until_complete(connect())
        wide = struct.pack(">I", WINDOW_BYTES - 65535)
        feed(PREFACE + frame(SETTINGS, 0, 0, SETTINGS_WIDE) + frame(WINDOW_UPDATE, 0, 0, wide))

        def run(unit: int) -> None:
            before = transport.written
            feed(inputs[unit])
            assert transport.written - before > BATCH * len(ANSWER)

        yield Path(run, BATCH)
        protocol.connection_lost(None)
        server.close()


class OneEvent:
    """An event source with one event a revision."""

    compact_revision = -1

    def __init__(self) -> None:
        self.revision = 1
        self.known = [self.event(revision) for revision in range(2, 2 * UNITS)]

    def events(self, start: int, end: int, _bytes_max: int) -> list[tuple[int, bytes, bytes]]:
        return self.known[max(2, start) - 2 : end - 1]

    @staticmethod
    def event(revision: int) -> tuple[int, bytes, bytes]:
        key = key_of(revision % KEYS)
        kv = kv_pb2.KeyValue(key=key, mod_revision=revision, value=value_of(256))
        return revision, key, kv_pb2.Event(kv=kv).SerializeToString()

    def previous_kv(self, _key: bytes, _revision: int) -> bytes | None:
        return None


class Taken:
    """A sink whose client reads at once."""

    pending_bytes = 0
    messages = 0

    def send(self, _head: bytes, _tail: bytes | None = None) -> None:
        self.messages += 1


def watched(native: bool, creates: list[tuple[bytes, bytes]], hears: int) -> Path:
    """Make a hub with these watchers; a unit is one event, heard by `hears` of them."""
    source, sinks = OneEvent(), [Taken() for _ in range(STREAMS)]
    module: Any = watch_hub if native else watch_hub_reference
    hub = module.WatchHub(source, lambda: None, cluster_id=CLUSTER_ID, member_id=MEMBER_ID)
    streams = [hub.open(sink) for sink in sinks]
    for number, (key, range_end) in enumerate(creates):
        streams[number % STREAMS].create(key, range_end, 0)
    hub.publish()
    while hub.pump():
        pass

    def run(_unit: int) -> None:
        before = sum(sink.messages for sink in sinks)
        source.revision += 1
        hub.publish()
        while hub.pump():
            pass
        assert sum(sink.messages for sink in sinks) - before == hears

    return Path(run, 1)


@contextmanager
def fan_out(native: bool) -> Iterator[Path]:
    """One event goes to 1,000 watchers of its prefix on 100 streams."""
    prefix = key_of(0)[:6]
    yield watched(native, [(prefix, prefix_end(prefix))] * WATCHERS, WATCHERS)


@contextmanager
def match(native: bool) -> Iterator[Path]:
    """One event is for one of 1,000 watchers, each of its own key."""
    yield watched(native, [(key_of(number), b"") for number in range(KEYS)], 1)


PATHS = {one.__name__: one for one in (entry, put, point_range, grpc, fan_out, match)}


def main() -> None:
    name, count = sys.argv[1], int(sys.argv[2])
    with PATHS[name](True) as path:
        for unit in range(count):
            path.run(unit)


if __name__ == "__main__":
    main()
