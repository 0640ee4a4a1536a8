"""A streamed range is the unary one in pieces, read at one revision."""

import grpc
import pytest

from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc.range_stream import KEYS_MAX, next_limit
from tests.raftkv.rpc.test_services import call

COUNT = 60


async def streamed(channel: grpc.aio.Channel, request: pb.RangeRequest) -> list[pb.RangeResponse]:
    """Return the pieces of a range."""
    stream = channel.unary_stream(
        "/etcdserverpb.KV/RangeStream",
        request_serializer=pb.RangeRequest.SerializeToString,
        response_deserializer=pb.RangeStreamResponse.FromString,
    )(request, timeout=10)
    return [piece.range_response async for piece in stream]


async def fill(channel: grpc.aio.Channel) -> int:
    """Write sixty keys of 10 KB each; return the revision."""
    revision = 0
    for number in range(COUNT):
        put = pb.PutRequest(key=b"rs/%02d" % number, value=b"x" * 10_000)
        written = await call(channel, "KV/Put", put, pb.PutResponse)
        assert isinstance(written, pb.PutResponse)
        revision = written.header.revision
    return revision


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"limit": 7},
        {"limit": 10},
        {"limit": 25},
        {"limit": COUNT},
        {"limit": COUNT + 1},
        {"keys_only": True},
        {"serializable": True},
        {"sort_order": pb.RangeRequest.ASCEND},
        {"sort_target": pb.RangeRequest.VALUE},
        {"count_only": True},
    ],
)
async def test_the_pieces_are_the_whole(channel: grpc.aio.Channel, options: dict[str, int]) -> None:
    revision = await fill(channel)
    for at in (0, revision - 5):
        request = pb.RangeRequest(key=b"rs/", range_end=b"rs0", revision=at, **options)  # type: ignore[arg-type]
        whole = await call(channel, "KV/Range", request, pb.RangeResponse)
        assert isinstance(whole, pb.RangeResponse)
        pieces = await streamed(channel, request)
        assert [kv for piece in pieces for kv in piece.kvs] == list(whole.kvs)
        last = pieces[-1]
        assert (last.count, last.more) == (whole.count, whole.more)
        assert last.header == whole.header
        assert not any(piece.HasField("header") or piece.count for piece in pieces[:-1])
        assert all(piece.ByteSize() < 400_000 for piece in pieces), "near the request limit"
        if not options:
            assert len(pieces[0].kvs) == 10
            assert len(pieces) > 2


async def test_ranges_of_one_key_and_of_none(channel: grpc.aio.Channel) -> None:
    await call(channel, "KV/Put", pb.PutRequest(key=b"one", value=b"1"), pb.PutResponse)
    (piece,) = await streamed(channel, pb.RangeRequest(key=b"one"))
    assert [kv.value for kv in piece.kvs] == [b"1"]
    (piece,) = await streamed(channel, pb.RangeRequest(key=b"none", range_end=b"nonf"))
    assert (len(piece.kvs), piece.count, piece.more) == (0, 0, False)
    assert piece.header.revision


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (
            pb.RangeRequest(key=b"a", sort_order=pb.RangeRequest.DESCEND),
            grpc.StatusCode.UNIMPLEMENTED,
            "RangeStream does not support custom sort orders",
        ),
        (
            pb.RangeRequest(key=b"a", min_mod_revision=1),
            grpc.StatusCode.UNIMPLEMENTED,
            "RangeStream does not support revision filters",
        ),
        (
            pb.RangeRequest(),
            grpc.StatusCode.INVALID_ARGUMENT,
            "etcdserver: key is not provided",
        ),
        (
            pb.RangeRequest(key=b"a", sort_target=9),  # type: ignore[arg-type]
            grpc.StatusCode.INVALID_ARGUMENT,
            "etcdserver: invalid sort option",
        ),
        (
            pb.RangeRequest(key=b"a", revision=1 << 40),
            grpc.StatusCode.OUT_OF_RANGE,
            "etcdserver: mvcc: required revision is a future revision",
        ),
    ],
)
async def test_refusals(
    channel: grpc.aio.Channel, request_: pb.RangeRequest, code: grpc.StatusCode, text: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await streamed(channel, request_)
    assert (caught.value.code(), caught.value.details()) == (code, text)


def test_pages_come_near_the_size_wanted() -> None:
    assert next_limit(10, 100, 1000) == 20
    assert next_limit(10, 600, 1000) == 10
    assert next_limit(10, 5000, 1000) == 5
    assert next_limit(1, 5000, 1000) == 1
    assert next_limit(KEYS_MAX, 0, 1000) == KEYS_MAX
