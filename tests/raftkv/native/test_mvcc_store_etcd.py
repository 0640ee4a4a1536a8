"""The store answers as a real etcd does: the same random requests to both, answers compared.

Skipped where no etcd binary is installed. Not compared: ids and terms, and one thing that we do
better: asked for another order than the keys' without a direction, etcd sorts only as many keys as
the limit lets through, we sort them all.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from raftkv._native.mvcc_store import MvccStore
from raftkv.errors import ERRORS, ErrorCode
from raftkv.pb.etcd import rpc_pb2
from raftkv.pb.etcd.rpc_pb2 import Compare
from raftkv.pb.etcd.rpc_pb2 import DeleteRangeRequest as Delete
from raftkv.pb.etcd.rpc_pb2 import PutRequest as Put
from raftkv.pb.etcd.rpc_pb2 import RangeRequest as Range
from raftkv.testing.ports import free_port
from tests.raftkv.native.mvcc_store_driver import CLUSTER_ID, MEMBER_ID, Driver, txn

ETCD = shutil.which("etcd", path=str(Path(sys.executable).parent)) or shutil.which("etcd")
METHODS: dict[type[Message], tuple[str, type[Message]]] = {
    Range: ("KV/Range", rpc_pb2.RangeResponse),
    Put: ("KV/Put", rpc_pb2.PutResponse),
    Delete: ("KV/DeleteRange", rpc_pb2.DeleteRangeResponse),
    rpc_pb2.TxnRequest: ("KV/Txn", rpc_pb2.TxnResponse),
    rpc_pb2.CompactionRequest: ("KV/Compact", rpc_pb2.CompactionResponse),
    rpc_pb2.LeaseGrantRequest: ("Lease/LeaseGrant", rpc_pb2.LeaseGrantResponse),
    rpc_pb2.LeaseRevokeRequest: ("Lease/LeaseRevoke", rpc_pb2.LeaseRevokeResponse),
}


class Etcd:
    """A real etcd of one member on loopback."""

    def __init__(self, path: Path) -> None:
        assert ETCD is not None
        ports = free_ports(2)
        client, peer = (f"http://127.0.0.1:{port}" for port in ports)
        flags = {
            "data-dir": str(path),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
        }
        command = [ETCD, *(f"--{name}={value}" for name, value in flags.items())]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{ports[0]}")
        deadline = time.monotonic() + 30
        while self.call(Range(key=b"a")) is None:
            assert time.monotonic() < deadline, "etcd does not answer"

    def call(self, request: Message) -> Any:
        """Return the response, the error's text, or None while nobody answers."""
        name, response = METHODS[type(request)]
        method = self.channel.unary_unary(
            f"/etcdserverpb.{name}", type(request).SerializeToString, response.FromString
        )
        try:
            return method(request, timeout=10, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                return None
            return error.code().value[0], error.details()

    def close(self) -> None:
        self.channel.close()
        self.process.kill()
        self.process.wait()


def free_ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    if ETCD is None:
        pytest.skip("no etcd binary")
    server = Etcd(tmp_path / "etcd")
    yield server
    server.close()


class Requests:
    """Draws requests over few keys, so that they meet often."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.revision = 1

    def key(self) -> bytes:
        return self.random.choice([b"a", b"a\0", b"ab", b"b", b"c", b"d\xff", b"e"])

    def end(self) -> bytes:
        return self.random.choice([b"", b"", b"\0", b"b", b"c", b"f"])

    def maybe(self, odds: float = 0.2) -> bool:
        return self.random.random() < odds

    def put(self) -> Put:
        request = Put(key=self.key(), value=b"%d" % self.random.randrange(9), prev_kv=self.maybe())
        if self.maybe():
            request.lease = self.random.choice([1, 2, 404])
        if self.maybe(0.1):
            request.ignore_value, request.value = True, b""
        if self.maybe(0.1):
            request.ignore_lease, request.lease = True, 0
        return request

    def range(self) -> Range:
        target = self.random.choice([Range.KEY, Range.KEY, Range.MOD])
        request = Range(
            key=self.key(),
            range_end=self.end(),
            limit=self.random.choice([0, 0, 1, 2]),
            sort_target=target,
            sort_order=self.random.choice([Range.NONE, Range.ASCEND, Range.DESCEND]),
            keys_only=self.maybe(),
            count_only=self.maybe(),
        )
        if target and not request.sort_order:
            request.limit = 0
        if self.maybe(0.4):
            request.revision = self.random.randrange(self.revision + 2)
        if self.maybe():
            request.min_mod_revision = self.random.randrange(self.revision + 1)
        if self.maybe():
            request.max_create_revision = self.random.randrange(self.revision + 1)
        return request

    def compare(self) -> Compare:
        field = self.random.choice(["version", "create_revision", "mod_revision", "value", "lease"])
        target = {"create_revision": "CREATE", "mod_revision": "MOD"}.get(field, field.upper())
        compare = Compare(
            key=self.key(),
            range_end=self.end(),
            target=target,
            result=self.random.choice(Compare.CompareResult.keys()),
        )
        number = self.random.choice([0, 0, 1, self.revision])
        setattr(compare, field, b"%d" % number if field == "value" else number)
        return compare

    def txn(self, depth: int = 0) -> rpc_pb2.TxnRequest:
        def branch() -> list[Message]:
            draws = [self.put, self.range, self.delete]
            if depth < 2:
                draws.append(lambda: self.txn(depth + 1))
            return [self.random.choice(draws)() for _ in range(self.random.randrange(3))]

        compares = [self.compare() for _ in range(self.random.randrange(3))]
        return txn(compares, branch(), branch())

    def delete(self) -> Delete:
        return Delete(key=self.key(), range_end=self.end(), prev_kv=self.maybe())

    def draw(self) -> Message:
        draws = [self.put] * 4 + [self.range] * 4 + [self.delete] + [self.txn] * 4
        if self.maybe(0.1):
            low = self.random.choice([0, self.revision - 5, self.revision + 1])
            return rpc_pb2.CompactionRequest(revision=low)
        if self.maybe(0.1):
            return rpc_pb2.LeaseGrantRequest(ID=self.random.choice([1, 2]), TTL=600)
        if self.maybe(0.05):
            return rpc_pb2.LeaseRevokeRequest(ID=self.random.choice([1, 2]))
        return self.random.choice(draws)()


def ask(driver: Driver, request: Message) -> Any:
    """Answer as the server does: check, read or apply, and name errors as the wire does."""
    store, data = driver.store, request.SerializeToString()
    checks = {
        Range: store.check_range,
        Put: store.check_put,
        Delete: store.check_delete_range,
        rpc_pb2.TxnRequest: store.check_txn,
    }
    code = checks[type(request)](data) if type(request) in checks else 0
    if code:
        return tuple(ERRORS[ErrorCode(code)])
    if isinstance(request, Range):
        raw = store.range(data, 5)
        answer = ErrorCode(raw) if isinstance(raw, int) else rpc_pb2.RangeResponse.FromString(raw)
    else:
        answer = driver.apply(request)[0]
    return tuple(ERRORS[answer]) if isinstance(answer, int) else answer


def anonymous(answer: Any) -> Any:
    """Drop the ids and the term of a response's header; errors stay as they are."""
    if isinstance(answer, Message):
        header: Any = getattr(answer, "header")  # noqa: B009
        for field in ("cluster_id", "member_id", "raft_term"):
            header.ClearField(field)
    return answer


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_the_store_answers_as_etcd_does(etcd: Etcd, tmp_path: Path, seed: int) -> None:
    store = MvccStore(
        str(tmp_path / "state"), cluster_id=CLUSTER_ID, member_id=MEMBER_ID, map_size=1 << 30
    )
    driver = Driver(store)
    requests = Requests(seed)
    errors = set()
    for number in range(600):
        request = requests.draw()
        theirs, ours = anonymous(etcd.call(request)), anonymous(ask(driver, request))
        assert ours == theirs, f"request {number}: {type(request).__name__} {request}"
        if isinstance(theirs, tuple):
            errors.add(theirs)
        requests.revision = store.revision
        if number % 40 == 0:
            store.maybe_flush(force=True)
    store.close()
    assert len(errors) >= 5, "the requests provoke errors too"
    assert store.revision > 150
