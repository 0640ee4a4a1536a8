"""What may be proposed: the checks that come before the log (etcd `api/v3rpc/key.go`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.message import Message

from raftkv._native import wire
from raftkv._native.mvcc_store import MvccStore
from raftkv.errors import ERRORS, ErrorCode, StoreError
from raftkv.pb.etcd import rpc_pb2
from tests.raftkv.native.mvcc_store_driver import op, txn

Range, Put, Delete = rpc_pb2.RangeRequest, rpc_pb2.PutRequest, rpc_pb2.DeleteRangeRequest


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MvccStore]:
    store = MvccStore(
        str(tmp_path / "state"), cluster_id=1, member_id=1, map_size=1 << 30, txn_ops_max=3
    )
    yield store
    store.close()


def check(store: MvccStore, request: Message) -> ErrorCode | None:
    checks = {
        Range: store.check_range,
        Put: store.check_put,
        Delete: store.check_delete_range,
        rpc_pb2.TxnRequest: store.check_txn,
    }
    code = checks[type(request)](request.SerializeToString())
    return ErrorCode(code) if code else None


def test_an_operation_names_one_request(store: MvccStore) -> None:
    """Of two, protobuf's own parsers merge or drop one, each in its way."""
    get, put = op(Range(key=b"a")).SerializeToString(), op(Put(key=b"a")).SerializeToString()
    for operation in (get + get, get + put, put + get):
        request = b"\x12%c%s" % (len(operation), operation)
        assert store.check_txn(request) == ErrorCode.INVALID_REQUEST
    assert store.check_txn(b"\x12%c%s" % (len(put), put)) == 0


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (Range(key=b"a"), None),
        (Range(), ErrorCode.EMPTY_KEY),
        (Range.FromString(b"\x0a\x01a\x30\x05"), ErrorCode.INVALID_SORT_OPTION),  # target 5
        (Range.FromString(b"\x0a\x01a\x28\x03"), ErrorCode.INVALID_SORT_OPTION),  # order 3
        (Put(key=b"a", value=b"1", lease=3), None),
        (Put(value=b"1"), ErrorCode.EMPTY_KEY),
        (Put(key=b"a", value=b"1", ignore_value=True), ErrorCode.VALUE_PROVIDED),
        (Put(key=b"a", lease=1, ignore_lease=True), ErrorCode.LEASE_PROVIDED),
        (Delete(key=b"a"), None),
        (Delete(range_end=b"a"), ErrorCode.EMPTY_KEY),
    ],
)
def test_single_requests(store: MvccStore, request_: Message, error: ErrorCode | None) -> None:
    assert check(store, request_) == error
    assert check(store, txn(success=[request_])) == error
    assert check(store, txn(failure=[txn(success=[request_])])) == error


PUT_A, DELETE_A = Put(key=b"a"), Delete(key=b"a")


@pytest.mark.parametrize(
    ("request_", "clash"),
    [
        (txn(success=[PUT_A, PUT_A]), True),
        (txn(success=[PUT_A, DELETE_A]), True),
        (txn(success=[PUT_A, Delete(key=b"A", range_end=b"b")]), True),
        (txn(success=[PUT_A, Delete(key=b"A", range_end=b"\0")]), False),  # etcd lets it pass
        (txn(success=[PUT_A, Delete(key=b"A", range_end=b"a")]), False),
        (txn(success=[DELETE_A, DELETE_A]), False),
        (txn(success=[PUT_A], failure=[PUT_A]), False),
        (txn(success=[PUT_A, txn(success=[PUT_A])]), True),
        (txn(success=[DELETE_A, txn(success=[PUT_A])]), True),
        (txn(success=[txn(success=[PUT_A], failure=[PUT_A])]), False),
        (txn(success=[txn(success=[PUT_A]), txn(failure=[PUT_A])]), True),
        (txn(success=[txn(success=[DELETE_A]), PUT_A]), True),
    ],
)
def test_one_key_is_written_once_on_a_path(
    store: MvccStore, request_: rpc_pb2.TxnRequest, clash: bool
) -> None:
    assert check(store, request_) == (ErrorCode.DUPLICATE_KEY if clash else None)


def test_the_budget_of_operations_is_shared_with_nested_transactions(store: MvccStore) -> None:
    def ranges(count: int) -> list[Message]:
        return [Range(key=b"a")] * count

    assert check(store, txn(success=ranges(3))) is None
    assert check(store, txn(failure=ranges(4))) == ErrorCode.TOO_MANY_OPS
    assert check(store, txn(success=[txn(success=ranges(2))])) is None
    assert check(store, txn(success=[txn(success=ranges(3))])) == ErrorCode.TOO_MANY_OPS
    compares = [rpc_pb2.Compare(key=b"a")] * 4
    assert check(store, txn(compares)) == ErrorCode.TOO_MANY_OPS


def test_an_operation_without_a_request_is_key_not_found(store: MvccStore) -> None:
    request = rpc_pb2.TxnRequest(success=[rpc_pb2.RequestOp()])
    assert check(store, request) == ErrorCode.KEY_NOT_FOUND
    compare = txn([rpc_pb2.Compare(target=rpc_pb2.Compare.MOD)])
    assert check(store, compare) == ErrorCode.EMPTY_KEY


def test_deep_nesting_is_refused_before_it_costs_stack(tmp_path: Path) -> None:
    """A hostile client's 100,000 levels stop at the depth that any budget allows."""
    data = b""
    for _ in range(3000):
        size = len(data)
        inner = b"\x22" + varint(size) + data
        data = b"\x12" + varint(len(inner)) + inner
    store = MvccStore(
        str(tmp_path / "s"), cluster_id=1, member_id=1, map_size=1 << 30, txn_ops_max=1 << 40
    )
    assert store.check_txn(data) == ErrorCode.TOO_MANY_OPS
    store.close()


def varint(value: int) -> bytes:
    out = b""
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def test_which_transactions_need_no_log_entry(store: MvccStore) -> None:
    reads = txn(success=[Range(key=b"a", serializable=True)], failure=[Range(key=b"b")])
    data = reads.SerializeToString()
    assert store.txn_is_read_only(data)
    assert not store.txn_is_serializable(data)
    assert not store.txn_is_read_only(txn(failure=[PUT_A]).SerializeToString())
    assert not store.txn_is_read_only(
        rpc_pb2.TxnRequest(success=[op(txn(success=[Range(key=b"a")]))]).SerializeToString()
    )
    quiet = txn(success=[Range(key=b"a", serializable=True)])
    assert store.txn_is_serializable(quiet.SerializeToString())


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a",  # a length that is missing
        b"\x0a\x05abc",  # a length past the end
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # 2**64 - 1 bytes
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",  # a varint of eleven bytes
        b"\x00\x00",  # field number 0
        b"\x0b",  # a group
        b"\x0d\x01\x02",  # a short fixed32
        b"\x09\x01\x02\x03\x04\x05\x06\x07",  # a short fixed64
    ],
)
def test_malformed_protobuf(store: MvccStore, data: bytes) -> None:
    for bytes_ in (data, b"\x0a\x01k" + data):
        assert store.check_put(bytes_) == ErrorCode.INVALID_REQUEST
        assert store.check_range(bytes_) == ErrorCode.INVALID_REQUEST
        assert store.range(bytes_, 1) == ErrorCode.INVALID_REQUEST
    with pytest.raises(ValueError):
        wire.decode_fields(data)


def test_unknown_fields_are_skipped(store: MvccStore) -> None:
    known = Put(key=b"a").SerializeToString()
    unknown = b"\xf8\x07\x05" + b"\xfd\x07abcd" + b"\xf9\x07abcdefgh" + b"\xfa\x07\x02hi"
    assert store.check_put(unknown + known + unknown) == 0
    assert wire.decode_fields(b"\x08\x96\x01\x12\x02hi") == [(8, 150), (18, b"hi")]


def test_every_error_has_a_status_and_a_text() -> None:
    assert set(ERRORS) == set(ErrorCode)
    texts = [text for _, text in ERRORS.values()]
    assert len(set(texts)) == len(texts)
    for code, (_, text) in ERRORS.items():
        unmarshalling = code is ErrorCode.INVALID_REQUEST  # it is grpc-go that says so, not etcd
        assert text.startswith("grpc: " if unmarshalling else "etcdserver: ")
    error = StoreError(ErrorCode.COMPACTED)
    assert (error.status, str(error)) == (
        11,
        "etcdserver: mvcc: required revision has been compacted",
    )
