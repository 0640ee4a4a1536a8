"""`-w fields`: one `"Name" : value` a line."""

from __future__ import annotations

from collections.abc import Iterator

from raftkv.ctl.go_text import quoted
from raftkv.pb.etcd import kv_pb2
from raftkv.pb.etcd import rpc_pb2 as pb


def header(source: pb.ResponseHeader) -> Iterator[str]:
    yield f'"ClusterID" : {source.cluster_id}'
    yield f'"MemberID" : {source.member_id}'
    yield f'"Revision" : {source.revision}'
    yield f'"RaftTerm" : {source.raft_term}'


def key_value(source: kv_pb2.KeyValue, prefix: str = "") -> Iterator[str]:
    yield f'"{prefix}Key" : {quoted(source.key)}'
    yield f'"{prefix}CreateRevision" : {source.create_revision}'
    yield f'"{prefix}ModRevision" : {source.mod_revision}'
    yield f'"{prefix}Version" : {source.version}'
    yield f'"{prefix}Value" : {quoted(source.value)}'
    yield f'"{prefix}Lease" : {source.lease}'


def range_response(source: pb.RangeResponse) -> Iterator[str]:
    yield from header(source.header)
    for kv in source.kvs:
        yield from key_value(kv)
    yield f'"More" : {str(source.more).lower()}'
    yield f'"Count" : {source.count}'


def put_response(source: pb.PutResponse) -> Iterator[str]:
    yield from header(source.header)
    if source.HasField("prev_kv"):
        yield from key_value(source.prev_kv, "Prev")


def delete_response(source: pb.DeleteRangeResponse) -> Iterator[str]:
    yield from header(source.header)
    yield f'"Deleted" : {source.deleted}'
    for kv in source.prev_kvs:
        yield from key_value(kv, "Prev")


def txn_response(source: pb.TxnResponse) -> Iterator[str]:
    yield from header(source.header)
    yield f'"Succeeded" : {str(source.succeeded).lower()}'
    for response in source.responses:
        match response.WhichOneof("response"):
            case "response_range":
                yield from range_response(response.response_range)
            case "response_put":
                yield from put_response(response.response_put)
            case "response_delete_range":
                yield from delete_response(response.response_delete_range)
            case "response_txn":
                yield from txn_response(response.response_txn)


def watch_response(source: pb.WatchResponse) -> Iterator[str]:
    yield from header(source.header)
    for event in source.events:
        yield f'"Type" : {kv_pb2.Event.EventType.Name(event.type)}'
        if event.HasField("prev_kv"):
            yield from key_value(event.prev_kv, "Prev")
        yield from key_value(event.kv)


def alarm_response(source: pb.AlarmResponse) -> Iterator[str]:
    yield from header(source.header)
    for alarm in source.alarms:
        yield f'"MemberID" : {alarm.memberID}'
        yield f'"AlarmType" : {pb.AlarmType.Name(alarm.alarm)}'
        yield ""
