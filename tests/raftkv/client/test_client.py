"""The client against a real etcd: the API server's shapes, failover, and a watch that resumes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from raftkv.client import Client, CompactedError, LeaseNotFoundError, prefix_range_end
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.ports import free_port
from raftkv.testing.real_etcd import etcd_binary


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real etcd of one member."""
    directory = tmp_path_factory.mktemp("etcd")
    client, peer = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(
            [
                etcd_binary(),
                f"--data-dir={directory}/data",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        wait_healthy(client)
        yield client
    finally:
        process.terminate()
        process.wait(10)


def wait_healthy(url: str) -> None:
    import time

    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
                if b'"true"' in answer.read():
                    return
        except OSError:
            pass
        if time.monotonic() > deadline:
            sys.exit("etcd did not become healthy")
        time.sleep(0.05)


async def test_put_get_delete(etcd: str) -> None:
    async with Client([etcd]) as client:
        written = await client.put(b"a/1", b"one")
        await client.put(b"a/2", b"two")
        got = await client.get(b"a/", prefix_range_end(b"a/"))
        assert [(kv.key, kv.value) for kv in got.kvs] == [(b"a/1", b"one"), (b"a/2", b"two")]
        assert got.header.revision == written.header.revision + 1
        assert (await client.delete(b"a/", prefix_range_end(b"a/"))).deleted == 2


async def test_a_dead_endpoint_is_passed_over(etcd: str) -> None:
    """A write that found no connection is safe to repeat, and is."""
    async with Client([f"127.0.0.1:{free_port()}", etcd]) as client:
        await client.put(b"failover", b"yes")
        assert (await client.get(b"failover")).kvs[0].value == b"yes"


async def test_compacted_revision_has_its_own_error(etcd: str) -> None:
    async with Client([etcd]) as client:
        first = (await client.put(b"c", b"1")).header.revision
        last = (await client.put(b"c", b"2")).header.revision
        await client.compact(last)
        with pytest.raises(CompactedError):
            await client.get(b"c", revision=first)
        async with client.watch(b"c", start_revision=first) as watch:
            with pytest.raises(CompactedError):
                await anext(watch)


async def test_watch_delivers_from_the_past_in_order(etcd: str) -> None:
    async with Client([etcd]) as client:
        start = (await client.put(b"w/1", b"x")).header.revision
        await client.put(b"w/1", b"y")
        end = prefix_range_end(b"w/")
        async with client.watch(b"w/", end, start_revision=start, prev_kv=True) as watch:
            seen: list[tuple[bytes, bytes]] = []
            await client.put(b"w/2", b"z")
            while len(seen) < 3:
                response = await asyncio.wait_for(anext(watch), 5)
                seen += [(event.kv.value, event.prev_kv.value) for event in response.events]
        assert seen == [(b"x", b""), (b"y", b"x"), (b"z", b"")]


async def test_closing_a_watch_ends_the_iteration_that_waits(etcd: str) -> None:
    async with Client([etcd]) as client, client.watch(b"nothing") as watch:
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        watch.close()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, 5)


async def test_txn_compares_and_puts(etcd: str) -> None:
    def create(value: bytes) -> pb.TxnRequest:
        absent = pb.Compare(target=pb.Compare.MOD, key=b"t", mod_revision=0)
        put = pb.RequestOp(request_put=pb.PutRequest(key=b"t", value=value))
        read = pb.RequestOp(request_range=pb.RangeRequest(key=b"t"))
        return pb.TxnRequest(compare=[absent], success=[put], failure=[read])

    async with Client([etcd]) as client:
        assert (await client.txn(create(b"1"))).succeeded
        second = await client.txn(create(b"2"))
        assert not second.succeeded
        assert second.responses[0].response_range.kvs[0].value == b"1"


async def test_lease_is_kept_and_missed(etcd: str) -> None:
    async with Client([etcd]) as client:
        lease = (await client.lease_grant(60)).ID
        await client.put(b"leased", b"v", lease=lease)
        assert (await client.lease_keep_alive_once(lease)).TTL == 60
        held = await client.lease_time_to_live(lease, keys=True)
        assert held.keys == [b"leased"]
        await client.lease_revoke(lease)
        assert not (await client.get(b"leased")).kvs
        with pytest.raises(LeaseNotFoundError):
            await client.lease_revoke(lease)
        async with client.lease_keeper(lease, 60) as keeper:
            with pytest.raises(LeaseNotFoundError):
                await keeper.run()


@pytest.mark.parametrize(
    ("prefix", "end"),
    [(b"a", b"b"), (b"a\xff", b"b"), (b"\xff\xff", b"\0"), (b"", b"\0"), (b"a/b/", b"a/b0")],
)
def test_prefix_range_end(prefix: bytes, end: bytes) -> None:
    assert prefix_range_end(prefix) == end
