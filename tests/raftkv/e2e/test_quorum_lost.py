"""Without a quorum nothing is promised: reads that may be stale are served, the rest is refused."""

import asyncio
import urllib.error
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from raftkv.client import Client, UnavailableError
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.process_cluster import ProcessCluster

pytestmark = pytest.mark.slow

FLAGS = ["--heartbeat-interval=20", "--election-timeout=200", "--log-level=warn"]


@pytest.fixture
async def lonely(tmp_path: Path) -> AsyncIterator[ProcessCluster]:
    """Member 0 of three, the others killed, holding one key."""
    with ProcessCluster(3, tmp_path, FLAGS) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        async with Client([cluster.endpoints[0]]) as client:
            await client.put(b"k", b"v")
        yield cluster


async def test_a_member_alone_serves_what_may_be_stale_and_nothing_else(
    lonely: ProcessCluster,
) -> None:
    async with grpc.aio.insecure_channel(lonely.endpoints[0]) as channel:
        watch = channel.stream_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )(metadata=[("hasleader", "true")])
        await watch.write(
            pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"k", range_end=b"l"))
        )
        created = await watch.read()
        assert isinstance(created, pb.WatchResponse)
        assert created.created
        lonely.kill(1)
        lonely.kill(2)
        async with asyncio.timeout(10):
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await watch.read()
        assert ended.value.details() == "etcdserver: no leader"
    async with Client([lonely.endpoints[0]], timeout_s=2) as client:
        found = await client.get(b"k", serializable=True)
        assert found.kvs[0].value == b"v"
        status = await client.status()
        assert list(status.errors) == ["etcdserver: no leader"]
    with pytest.raises(urllib.error.HTTPError) as caught:
        lonely.http(0, "/health")
    assert caught.value.code == 503
    assert b"RAFT NO LEADER" in caught.value.read()
    caught.value.close()
    assert '"health":"true"' in lonely.http(0, "/health?serializable=true")


async def test_a_write_that_found_no_leader_is_refused_and_never_happens(
    lonely: ProcessCluster,
) -> None:
    lonely.kill(1)
    lonely.kill(2)
    async with Client([lonely.endpoints[0]], timeout_s=20) as client:
        while not (await client.status()).errors:
            continue
        with pytest.raises(UnavailableError) as caught:
            await client.put(b"k", b"late")
    assert caught.value.message.startswith("etcdserver:")
    lonely.start(1)
    lonely.start(2)
    await asyncio.to_thread(lonely.wait_ready)
    async with Client([lonely.endpoints[0]]) as client:
        assert (await client.get(b"k")).kvs[0].value == b"v"
