"""Batches of commands and reads on a store: every native decoder of KV and lease requests.

An input is a list of steps, each a kind and a payload that is a request's protobuf bytes. It is
applied whatever the checks say of it. What they take is protobuf for everybody, and a put or a
deletion that they refuse is refused when it is applied, too.
"""

from __future__ import annotations

import tempfile

from google.protobuf.message import Message

from raftkv._native import mvcc_store
from raftkv._native.command_batch import read_commands
from raftkv._native.mvcc_store import MvccStore
from raftkv._native.watch_hub import WatchHub
from raftkv._native.wire import decode_fields
from raftkv.errors import StoreError
from raftkv.pb.etcd import rpc_pb2 as pb
from tests.fuzz.pieces import Pieces, string
from tests.raftkv.native.mvcc_store_driver import MEMORY_DISK, raw_batch

STEPS_MAX = 60
KINDS = 16
RANGE, PAGE, TXN_READ, BATCH, EVENTS, FLUSH, WATCH, HASH, FIELDS, GROUP = range(7, 17)


class Sink:
    """Where watch responses go: each must be protobuf."""

    pending_bytes = 0

    def send(self, head: bytes, tail: bytes | None = None) -> bool:
        pb.WatchResponse.FromString(head + (tail or b""))
        return True


class Life:
    """A store, and a hub that follows it."""

    def __init__(self, path: str) -> None:
        self.store = MvccStore(path, cluster_id=1, member_id=2, map_size=1 << 26)
        self.hub = WatchHub(self.store, lambda: None, cluster_id=1, member_id=2)
        self.watch = self.hub.open(Sink())

    def apply(self, batch: bytes) -> list[bytes | int | tuple[int, bytes]] | None:
        index = self.store.applied_index + 1
        answers = self.store.apply(index, 1, batch, True)
        self.hub.publish()
        return answers

    def command(self, kind: int, payload: bytes) -> None:
        """Check a command as the services do, and apply it whatever they say."""
        store = self.store
        refused = 0
        if kind == 1:
            refused = store.check_put(payload)
        elif kind == 2:
            refused = store.check_delete_range(payload)
        elif kind == 3:
            refused = store.check_txn(payload)
            if not refused and store.txn_is_read_only(payload):
                store.txn_is_serializable(payload)
                store.txn_read(payload, 1)
        answers = self.apply(raw_batch([(kind, payload)]))
        assert answers is not None
        # A transaction may be refused for the branch that does not run.
        assert kind > 2 or not refused or isinstance(answers[0], int), (payload, refused)
        if kind <= 3 and not refused:
            REQUESTS[kind].FromString(payload)
        if isinstance(answers[0], bytes):
            RESPONSES[kind].FromString(answers[0])

    def read(self, kind: int, payload: bytes) -> None:
        store = self.store
        if kind == RANGE:
            answer = store.range(payload, 1)
            small = store.small_range(payload, 1)
            assert small is None or small == answer
        elif kind == PAGE:
            answer = store.range_page(payload, 1)
        else:
            store.txn_read(payload, 1)
            return
        assert isinstance(answer, int) or not store.check_range(payload), (kind, payload)

    def step(self, kind: int, payload: bytes) -> None:
        if 1 <= kind <= 6:
            self.command(kind, payload)
        elif kind in (RANGE, PAGE, TXN_READ):
            self.read(kind, payload)
        elif kind == BATCH:
            try:
                self.apply(payload)
            except ValueError:
                return
            read_commands(payload)
        elif kind == EVENTS:
            start = int.from_bytes(payload[:2], "little")
            self.store.events(start, start + len(payload), 1 << 20)
        elif kind == FLUSH:
            self.store.flush()
            self.store.compact_step(1000)
        elif kind == WATCH:
            self.open_watcher(payload)
        elif kind == HASH:
            self.store.hash_kv(int.from_bytes(payload[:2], "little"))
        elif kind == FIELDS:
            decode_fields(payload)

    def open_watcher(self, payload: bytes) -> None:
        pieces = Pieces(payload)
        flags, start = pieces.byte(), pieces.short()
        self.watch.create(
            pieces.string(),
            pieces.string(),
            start,
            prev_kv=bool(flags & 1),
            no_put=bool(flags & 2),
            no_delete=bool(flags & 4),
            progress_notify=bool(flags & 8),
            fragment=bool(flags & 16),
        )
        if flags & 32:
            self.watch.cancel(flags >> 6)
        while self.hub.pump():
            pass

    def close(self) -> None:
        self.watch.close()
        self.store.close()


REQUESTS: dict[int, type[Message]] = {
    1: pb.PutRequest,
    2: pb.DeleteRangeRequest,
    3: pb.TxnRequest,
}
RESPONSES: dict[int, type[Message]] = {
    1: pb.PutResponse,
    2: pb.DeleteRangeResponse,
    3: pb.TxnResponse,
    4: pb.CompactionResponse,
    5: pb.LeaseGrantResponse,
    6: pb.LeaseRevokeResponse,
}


def run(data: bytes) -> None:
    """Run the steps on a new store."""
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as path:
        life = Life(path)
        try:
            pieces = Pieces(data)
            for _ in range(STEPS_MAX):
                if pieces.is_empty:
                    break
                try:
                    life.step(pieces.byte() % (KINDS + 1), pieces.string())
                except (StoreError, ValueError):
                    continue
        finally:
            life.close()
    assert mvcc_store.live_stores == 0


def seeds() -> list[bytes]:
    """Return programs with each kind of request."""
    put = pb.PutRequest(key=b"a", value=b"value", prev_kv=True)
    leased = pb.PutRequest(key=b"b", value=b"v", lease=7)
    grant = pb.LeaseGrantRequest(ID=7, TTL=60)
    every = pb.RangeRequest(
        key=b"\0", range_end=b"\0", limit=2, sort_order="DESCEND", sort_target="VALUE"
    )
    old = pb.RangeRequest(key=b"a", revision=2, serializable=True, min_mod_revision=1)
    delete = pb.DeleteRangeRequest(key=b"a", range_end=b"c", prev_kv=True)
    txn = pb.TxnRequest(
        compare=[
            pb.Compare(key=b"a", target=pb.Compare.VERSION, version=1),
            pb.Compare(
                key=b"a", range_end=b"c", target=pb.Compare.VALUE, value=b"v", result="NOT_EQUAL"
            ),
        ],
        success=[pb.RequestOp(request_put=put), pb.RequestOp(request_range=every)],
        failure=[pb.RequestOp(request_delete_range=delete)],
    )
    nested = pb.TxnRequest(success=[pb.RequestOp(request_txn=txn)])
    reads = pb.TxnRequest(success=[pb.RequestOp(request_range=old)])

    def program(*steps: tuple[int, bytes]) -> bytes:
        return b"".join(bytes([kind]) + string(payload) for kind, payload in steps)

    begin = (
        (5, grant.SerializeToString()),
        (WATCH, b"\x11\1\0" + string(b"a") + string(b"c")),
        (1, put.SerializeToString()),
        (1, leased.SerializeToString()),
    )
    ends = [
        (3, txn.SerializeToString()),
        (3, nested.SerializeToString()),
        (3, reads.SerializeToString()),
        (2, delete.SerializeToString()),
        (4, pb.CompactionRequest(revision=3).SerializeToString()),
        (6, pb.LeaseRevokeRequest(ID=7).SerializeToString()),
        (RANGE, every.SerializeToString()),
        (RANGE, old.SerializeToString()),
        (PAGE, every.SerializeToString()),
        (TXN_READ, reads.SerializeToString()),
        (BATCH, raw_batch([(1, put.SerializeToString()), (64, b"opaque")])),
        (EVENTS, b"\1\0xxx"),
        (HASH, b"\0\0"),
        (FIELDS, txn.SerializeToString()),
    ]
    programs = [program(*begin, one, (FLUSH, b""), one) for one in ends]
    return [*programs, *(program(one) for one in ends)]
