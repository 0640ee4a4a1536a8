"""The store counts what it does as etcd does, and knows how many keys there are without looking."""

import random
from pathlib import Path

from raftkv._native.command_batch import CommandBatch
from raftkv._native.mvcc_store import MvccStore
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.server.command import CommandKind, NobodyWaits

KEYS = [b"k%d" % number for number in range(40)]


def opened(directory: Path) -> MvccStore:
    return MvccStore(str(directory), cluster_id=1, member_id=1)


def apply(store: MvccStore, kind: CommandKind, request: bytes) -> None:
    batch = CommandBatch()
    batch.add(kind, request, NobodyWaits())
    store.apply(store.applied_index + 1, 1, batch.seal(1, 1), False)


def put(key: bytes, lease: int = 0) -> pb.PutRequest:
    return pb.PutRequest(key=key, value=b"12345", lease=lease)


def counted_keys(store: MvccStore) -> int:
    request = pb.RangeRequest(key=b"\0", range_end=b"\0", count_only=True)
    answer = store.range(request.SerializeToString(), 1)
    assert isinstance(answer, bytes)
    return pb.RangeResponse.FromString(answer).count


def test_the_number_of_keys_is_right_through_flushes_and_restarts(tmp_path: Path) -> None:
    chance = random.Random(3)
    store = opened(tmp_path)
    for step in range(600):
        draw = chance.random()
        key, end = sorted(chance.sample(KEYS, 2))
        if draw < 0.6:
            apply(store, CommandKind.PUT, put(key).SerializeToString())
        elif draw < 0.9:
            delete = pb.DeleteRangeRequest(key=key, range_end=end if draw < 0.65 else b"")
            apply(store, CommandKind.DELETE_RANGE, delete.SerializeToString())
        else:
            grant = pb.LeaseGrantRequest(ID=step + 1, TTL=60).SerializeToString()
            apply(store, CommandKind.LEASE_GRANT, grant)
            apply(store, CommandKind.PUT, put(key, lease=step + 1).SerializeToString())
            revoke = pb.LeaseRevokeRequest(ID=step + 1).SerializeToString()
            apply(store, CommandKind.LEASE_REVOKE, revoke)
        if step % 97 == 0:
            store.flush()
            store.close()
            store = opened(tmp_path)
        assert store.counts()[0] == counted_keys(store), step
    store.close()


def test_operations_are_counted_as_in_etcd(tmp_path: Path) -> None:
    store = opened(tmp_path)
    both = pb.TxnRequest(
        success=[
            pb.RequestOp(request_put=put(b"b")),
            pb.RequestOp(request_range=pb.RangeRequest(key=b"b")),
        ]
    )
    apply(store, CommandKind.PUT, put(b"a").SerializeToString())
    apply(store, CommandKind.TXN, both.SerializeToString())
    apply(store, CommandKind.TXN, pb.TxnRequest(success=both.success[:1]).SerializeToString())
    delete = pb.DeleteRangeRequest(key=b"\0", range_end=b"\0").SerializeToString()
    apply(store, CommandKind.DELETE_RANGE, delete)
    apply(store, CommandKind.DELETE_RANGE, delete)
    keys, puts, deletes, ranges, txns, put_bytes = store.counts()
    assert (keys, puts, deletes, ranges, txns) == (0, 3, 2, 1, 1)
    assert put_bytes == 3 * (1 + 5)
    store.close()
