"""The services as a client on the wire sees them: answers, headers, refusals by code and text."""

import asyncio
import json
from collections.abc import Callable
from typing import TypeAlias

import grpc
import pytest
from google.protobuf.message import Message

from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.process_cluster import ProcessCluster

Code = grpc.StatusCode


async def call(channel: grpc.aio.Channel, method: str, request: Message, answer: type) -> Message:
    """Call one unary method of etcdserverpb."""
    stub = channel.unary_unary(
        f"/etcdserverpb.{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=answer.FromString,  # type: ignore[attr-defined]
    )
    response: Message = await stub(request, timeout=10)
    return response


async def refusal(
    channel: grpc.aio.Channel, method: str, request: Message
) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, method, request, pb.PutResponse)
    return caught.value.code(), caught.value.details() or ""


def put_op(key: bytes) -> pb.RequestOp:
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=b"x"))


@pytest.mark.parametrize(
    ("method", "request_", "code", "text"),
    [
        ("KV/Put", pb.PutRequest(), Code.INVALID_ARGUMENT, "etcdserver: key is not provided"),
        ("KV/Range", pb.RangeRequest(), Code.INVALID_ARGUMENT, "etcdserver: key is not provided"),
        (
            "KV/Put",
            pb.PutRequest(key=b"k", lease=12345),
            Code.NOT_FOUND,
            "etcdserver: requested lease not found",
        ),
        (
            "KV/Put",
            pb.PutRequest(key=b"missing", ignore_value=True),
            Code.INVALID_ARGUMENT,
            "etcdserver: key not found",
        ),
        (
            "KV/Put",
            pb.PutRequest(key=b"k", value=b"v", ignore_value=True),
            Code.INVALID_ARGUMENT,
            "etcdserver: value is provided",
        ),
        (
            "KV/Put",
            pb.PutRequest(key=b"k", value=b"v" * 100_001),
            Code.INVALID_ARGUMENT,
            "etcdserver: request is too large",
        ),
        (
            "KV/Range",
            pb.RangeRequest(key=b"k", revision=1 << 40),
            Code.OUT_OF_RANGE,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        (
            "KV/Txn",
            pb.TxnRequest(success=[put_op(b"k"), put_op(b"k")]),
            Code.INVALID_ARGUMENT,
            "etcdserver: duplicate key given in txn request",
        ),
        (
            "KV/Txn",
            pb.TxnRequest(success=[put_op(b"%d" % n) for n in range(129)]),
            Code.INVALID_ARGUMENT,
            "etcdserver: too many operations in txn request",
        ),
        (
            "KV/Compact",
            pb.CompactionRequest(revision=1 << 40),
            Code.OUT_OF_RANGE,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        (
            "Lease/LeaseGrant",
            pb.LeaseGrantRequest(TTL=9_000_000_001),
            Code.OUT_OF_RANGE,
            "etcdserver: too large lease TTL",
        ),
        (
            "Lease/LeaseRevoke",
            pb.LeaseRevokeRequest(ID=12345),
            Code.NOT_FOUND,
            "etcdserver: requested lease not found",
        ),
        (
            "Cluster/MemberRemove",
            pb.MemberRemoveRequest(ID=1),
            Code.NOT_FOUND,
            "etcdserver: member not found",
        ),
        (
            "Maintenance/MoveLeader",
            pb.MoveLeaderRequest(targetID=1),
            Code.FAILED_PRECONDITION,
            "etcdserver: bad leader transferee",
        ),
    ],
)
async def test_refusals_have_etcds_code_and_text(
    channel: grpc.aio.Channel, method: str, request_: Message, code: grpc.StatusCode, text: str
) -> None:
    assert await refusal(channel, method, request_) == (code, text)


async def test_a_malformed_message_is_refused_and_costs_nothing_else(
    channel: grpc.aio.Channel,
) -> None:
    for method in ("KV/Put", "KV/Txn", "KV/Range", "KV/DeleteRange", "KV/Compact"):
        stub = channel.unary_unary(f"/etcdserverpb.{method}")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub(b"\x0a\xff\xff\xff\xff\x0f", timeout=5)
        assert caught.value.code() is Code.INTERNAL, method
    await call(channel, "KV/Put", pb.PutRequest(key=b"k"), pb.PutResponse)


def responses() -> list[tuple[str, Message, type]]:
    return [
        ("KV/Put", pb.PutRequest(key=b"h", value=b"1"), pb.PutResponse),
        ("KV/Range", pb.RangeRequest(key=b"h"), pb.RangeResponse),
        ("KV/Range", pb.RangeRequest(key=b"h", serializable=True), pb.RangeResponse),
        ("KV/Txn", pb.TxnRequest(success=[put_op(b"h")]), pb.TxnResponse),
        ("KV/DeleteRange", pb.DeleteRangeRequest(key=b"none"), pb.DeleteRangeResponse),
        ("Lease/LeaseGrant", pb.LeaseGrantRequest(TTL=60), pb.LeaseGrantResponse),
        ("Lease/LeaseLeases", pb.LeaseLeasesRequest(), pb.LeaseLeasesResponse),
        ("Lease/LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=1), pb.LeaseTimeToLiveResponse),
        ("Maintenance/Status", pb.StatusRequest(), pb.StatusResponse),
        ("Maintenance/Alarm", pb.AlarmRequest(), pb.AlarmResponse),
        ("Maintenance/HashKV", pb.HashKVRequest(), pb.HashKVResponse),
    ]


@pytest.mark.parametrize(("method", "request_", "answer"), responses())
async def test_every_header_is_complete(
    channel: grpc.aio.Channel, method: str, request_: Message, answer: type
) -> None:
    response = await call(channel, method, request_, answer)
    header = response.header  # type: ignore[attr-defined]
    assert header.cluster_id
    assert header.member_id
    assert header.revision
    assert header.raft_term


async def test_cluster_headers_have_no_revision(channel: grpc.aio.Channel) -> None:
    response = await call(
        channel,
        "Cluster/MemberList",
        pb.MemberListRequest(linearizable=True),
        pb.MemberListResponse,
    )
    assert isinstance(response, pb.MemberListResponse)
    assert response.header.revision == 0
    assert response.header.raft_term
    assert [member.name for member in response.members] == ["m0"]


async def test_a_lease_below_the_minimum_gets_the_minimum(channel: grpc.aio.Channel) -> None:
    granted = await call(
        channel, "Lease/LeaseGrant", pb.LeaseGrantRequest(TTL=1), pb.LeaseGrantResponse
    )
    assert isinstance(granted, pb.LeaseGrantResponse)
    assert granted.TTL == 2
    assert granted.ID > 0
    code, text = await refusal(
        channel, "Lease/LeaseGrant", pb.LeaseGrantRequest(TTL=5, ID=granted.ID)
    )
    assert (code, text) == (Code.FAILED_PRECONDITION, "etcdserver: lease already exists")


async def test_an_unknown_lease_is_answered_without_error(channel: grpc.aio.Channel) -> None:
    told = await call(
        channel,
        "Lease/LeaseTimeToLive",
        pb.LeaseTimeToLiveRequest(ID=99),
        pb.LeaseTimeToLiveResponse,
    )
    assert isinstance(told, pb.LeaseTimeToLiveResponse)
    assert (told.TTL, told.grantedTTL) == (-1, 0)
    stream = channel.stream_stream(
        "/etcdserverpb.Lease/LeaseKeepAlive",
        request_serializer=pb.LeaseKeepAliveRequest.SerializeToString,
        response_deserializer=pb.LeaseKeepAliveResponse.FromString,
    )()
    await stream.write(pb.LeaseKeepAliveRequest(ID=99))
    answer = await stream.read()
    assert (answer.ID, answer.TTL) == (99, 0)
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF


Watch: TypeAlias = grpc.aio.StreamStreamCall[pb.WatchRequest, pb.WatchResponse]


def watch(channel: grpc.aio.Channel) -> Watch:
    call: Watch = channel.stream_stream(
        "/etcdserverpb.Watch/Watch",
        request_serializer=pb.WatchRequest.SerializeToString,
        response_deserializer=pb.WatchResponse.FromString,
    )()
    return call


async def create(stream: Watch, **fields: object) -> pb.WatchResponse:
    request = pb.WatchCreateRequest(**fields)  # type: ignore[arg-type]
    await stream.write(pb.WatchRequest(create_request=request))
    response = await stream.read()
    assert isinstance(response, pb.WatchResponse)
    return response


async def until(stream: Watch, wanted: Callable[[pb.WatchResponse], bool]) -> pb.WatchResponse:
    async with asyncio.timeout(5):
        while True:
            response = await stream.read()
            assert isinstance(response, pb.WatchResponse)
            if wanted(response):
                return response


async def test_many_watches_share_a_stream(channel: grpc.aio.Channel) -> None:
    stream = watch(channel)
    assert (await create(stream, key=b"w/", range_end=b"w0")).watch_id == 0
    assert (await create(stream, key=b"w/b", prev_kv=True)).watch_id == 1
    await call(channel, "KV/Put", pb.PutRequest(key=b"w/a", value=b"1"), pb.PutResponse)
    first = await until(stream, lambda response: bool(response.events))
    assert (first.watch_id, first.events[0].kv.key) == (0, b"w/a")
    await stream.write(pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=0)))
    canceled = await until(stream, lambda response: response.canceled)
    assert (canceled.watch_id, canceled.created) == (0, False)
    await call(channel, "KV/Put", pb.PutRequest(key=b"w/b", value=b"1"), pb.PutResponse)
    last = await until(stream, lambda response: bool(response.events))
    assert last.watch_id == 1
    await stream.done_writing()  # whoever asks no more still listens, as in etcd
    await call(channel, "KV/Put", pb.PutRequest(key=b"w/b", value=b"2"), pb.PutResponse)
    assert (await until(stream, lambda response: bool(response.events))).watch_id == 1
    stream.cancel()


async def test_progress_is_told_on_request_and_by_itself(channel: grpc.aio.Channel) -> None:
    stream = watch(channel)
    await create(stream, key=b"quiet", progress_notify=True, watch_id=5)
    written = await call(channel, "KV/Put", pb.PutRequest(key=b"p"), pb.PutResponse)
    assert isinstance(written, pb.PutResponse)
    await stream.write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))
    told = await until(stream, lambda response: response.watch_id == -1)
    assert told.header.revision >= written.header.revision
    told = await until(stream, lambda response: response.watch_id == 5)
    assert not told.events
    stream.cancel()


async def test_a_compacted_watch_is_canceled_with_the_compact_revision(
    channel: grpc.aio.Channel,
) -> None:
    await call(channel, "KV/Put", pb.PutRequest(key=b"c"), pb.PutResponse)
    written = await call(channel, "KV/Put", pb.PutRequest(key=b"c"), pb.PutResponse)
    revision = written.header.revision  # type: ignore[attr-defined]
    request = pb.CompactionRequest(revision=revision, physical=True)
    await call(channel, "KV/Compact", request, pb.CompactionResponse)
    stream = watch(channel)
    assert (await create(stream, key=b"c", start_revision=revision - 1)).created
    canceled = await until(stream, lambda response: response.canceled)
    assert (canceled.compact_revision, canceled.cancel_reason) == (revision, "")
    stream.cancel()


def test_http_probes_and_version(one_member: ProcessCluster) -> None:
    assert json.loads(one_member.http(0, "/health")) == {"health": "true", "reason": ""}
    assert json.loads(one_member.http(0, "/health?serializable=true"))["health"] == "true"
    assert json.loads(one_member.http(0, "/version"))["etcdserver"].startswith("3.6")
    assert one_member.http(0, "/livez") == "ok\n"
    assert "[+]linearizable_read ok" in one_member.http(0, "/readyz?verbose")
    assert one_member.http(0, "/readyz/serializable_read") == "ok\n"


@pytest.mark.parametrize(
    "name",
    [
        "etcd_server_has_leader 1.0",
        "etcd_server_is_leader 1.0",
        "etcd_server_leader_changes_seen_total",
        "etcd_server_proposals_committed_total",
        "etcd_server_proposals_failed_total",
        "etcd_disk_wal_fsync_duration_seconds_bucket",
        "etcd_mvcc_put_total",
        "etcd_mvcc_db_total_size_in_bytes",
        'etcd_server_version{server_version="3.6.0"} 1.0',
        "process_resident_memory_bytes",
    ],
)
def test_metrics_have_etcds_names(one_member: ProcessCluster, name: str) -> None:
    assert name in one_member.http(0, "/metrics")


async def test_grpc_health(channel: grpc.aio.Channel) -> None:
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    assert await check(b"", timeout=5) == b"\x08\x01"
