"""Alarms are replicated, survive restarts and are disarmed by hand."""

import asyncio
from pathlib import Path

import grpc
import pytest

from raftkv.client.client import Client
from raftkv.client.errors import ClientError
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.process_cluster import ProcessCluster

FLAGS = ["--heartbeat-interval=20", "--election-timeout=200"]


async def ask(endpoint: str, action: str, alarm: str, member_id: int) -> pb.AlarmResponse:
    request = pb.AlarmRequest(action=action, alarm=alarm, memberID=member_id)
    async with grpc.aio.insecure_channel(endpoint) as channel:
        call = channel.unary_unary(
            "/etcdserverpb.Maintenance/Alarm",
            request_serializer=pb.AlarmRequest.SerializeToString,
            response_deserializer=pb.AlarmResponse.FromString,
        )
        answer: pb.AlarmResponse = await call(request, wait_for_ready=True, timeout=10)
        return answer


async def test_an_alarm_holds_for_all_members_until_it_is_disarmed(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path, FLAGS) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        first, second = cluster.endpoints[0], cluster.endpoints[1]
        armed = await ask(first, "ACTIVATE", "NOSPACE", 77)
        assert [(one.memberID, one.alarm) for one in armed.alarms] == [(77, pb.NOSPACE)]
        for member in range(3):
            cluster.terminate(member)
        for member in range(3):
            cluster.start(member)
        await asyncio.to_thread(poll_alarm, cluster)
        listed = await ask(second, "GET", "NONE", 0)
        assert listed.alarms == armed.alarms
        async with Client([second]) as client:
            with pytest.raises(ClientError, match="database space exceeded"):
                await client.put(b"k", b"v")
            await client.get(b"k")
            assert (await ask(first, "DEACTIVATE", "NOSPACE", 77)).alarms == armed.alarms
            assert not (await ask(first, "DEACTIVATE", "NOSPACE", 77)).alarms
            await client.put(b"k", b"v")


def poll_alarm(cluster: ProcessCluster) -> None:
    """Wait for a leader; /health itself says 503 while the alarm is armed."""
    cluster.leader()
