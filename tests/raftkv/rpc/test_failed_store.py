"""A serializable read, which is no turn's business, may be the first to meet a failed store."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from raftkv.errors import ERRORS, ErrorCode, StoreIOError
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc.kv import KvService


class FailedStore:
    """Answers checks; its disk is gone."""

    def check_range(self, _request: bytes) -> int:
        return 0

    check_txn = check_range

    def txn_is_read_only(self, _request: bytes) -> bool:
        return True

    txn_is_serializable = txn_is_read_only

    def range(self, _request: bytes, _term: int) -> bytes:
        raise StoreIOError(5, "the store has failed")

    txn_read = range


class Asker:
    """A call; keeps its failure."""

    metadata: tuple[tuple[bytes, bytes], ...] = ()
    failure: tuple[int, str] | None = None

    def fail(self, code: int, text: str) -> None:
        self.failure = (code, text)


@pytest.mark.parametrize("name", ["range", "txn"])
def test_who_meets_a_failed_store_ends_the_member_and_is_told_so(name: str) -> None:
    failures: list[Exception] = []
    member = SimpleNamespace(
        store=FailedStore(),
        config=SimpleNamespace(request_bytes_max=1000),
        is_learner=False,
        cluster=SimpleNamespace(alarms=SimpleNamespace(is_corrupt=False)),
        auth=SimpleNamespace(stamp=None),
        node=SimpleNamespace(term=1, leader_id=1),
        fail=failures.append,
    )
    service, asker = KvService(cast(Any, member)), Asker()
    message = pb.RangeRequest(key=b"k", serializable=True).SerializeToString()
    getattr(service, name)(asker, message)
    assert asker.failure == (int(ERRORS[ErrorCode.STOPPED][0]), ERRORS[ErrorCode.STOPPED][1])
    assert isinstance(failures[0], StoreIOError)
