"""Moving in from an etcd: from its directory, and from one that runs and is written to."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftkv.client import Client
from raftkv.ctl.mirror import Keys, Mirror, Place
from raftkv.testing.process_cluster import ProcessCluster
from tests.raftkv.bbolt.stock_etcd import (
    COMPACTED,
    StockEtcd,
    contents_of,
    fill,
    stock_binaries,
)
from tests.raftkv.e2e.test_snapshot_files import raftctl, raftctl_here, restore_flags

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with ProcessCluster(1, tmp_path_factory.mktemp("target")) as cluster:
        cluster.wait_ready()
        yield cluster


@pytest.mark.parametrize("etcd", stock_binaries())
async def test_a_directory_of_etcd(etcd: str, tmp_path: Path) -> None:
    """Refused while etcd runs; then its directory becomes ours, revisions and leases and all."""
    cluster = ProcessCluster(1, tmp_path)
    flags = restore_flags(cluster, 0)
    with StockEtcd(etcd, tmp_path / "etcd") as server:
        await fill(server.endpoint)
        before = await contents_of(server.endpoint, COMPACTED)
        for source in (server.data_dir, server.database):
            text = raftctl("import", f"--from-file={source}", *flags, code=1)
            assert "in use by a running etcd" in text
    raftctl("import", f"--from-file={server.data_dir}", *flags)
    with cluster:
        cluster.wait_ready()
        assert await contents_of(cluster.endpoints[0], COMPACTED) == before


async def values(endpoint: str, prefix: bytes) -> dict[bytes, bytes]:
    async with Client([endpoint]) as client:
        found = await client.get(prefix, prefix[:-1] + bytes([prefix[-1] + 1]))
        return {kv.key[len(prefix) :]: kv.value for kv in found.kvs}


@pytest.mark.parametrize("etcd", stock_binaries())
async def test_a_cluster_that_runs(etcd: str, target: ProcessCluster, tmp_path: Path) -> None:
    """Copied while it is written to, stopped and resumed; --once ends level with it."""
    with StockEtcd(etcd, tmp_path / "etcd") as server:
        async with Client([server.endpoint]) as client:
            for number in range(300):
                await client.put(b"from/%d" % number, b"%d" % number)
            writer = asyncio.create_task(_change(client))
            await asyncio.to_thread(_import, server, target, tmp_path, "--once")
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            await client.delete(b"from/7")
            await client.put(b"from/new", b"x" * 1_500_000)
            await client.put(b"other", b"stays")
            text = await asyncio.to_thread(_import, server, target, tmp_path, "--once")
            assert "level with the source" in text
        there = await values(server.endpoint, b"from/")
        assert await values(target.endpoints[0], f"{tmp_path.name}/".encode()) == there
        assert there[b"new"] == b"x" * 1_500_000
        assert len(there) > 100
        assert not await values(target.endpoints[0], b"other")


async def _change(client: Client) -> None:
    number = 0
    while True:
        await client.put(b"from/%d" % (number % 500), b"changed %d" % number)
        await client.delete(b"from/%d" % ((number * 7) % 500))
        number += 1


def _import(server: StockEtcd, target: ProcessCluster, directory: Path, *flags: str) -> str:
    return raftctl(
        "import",
        f"--from-endpoints=http://{server.endpoint}",
        f"--endpoints={target.endpoints[0]}",
        f"--resume-file={directory / 'resume.json'}",
        "--prefix=from/",
        f"--dest-prefix={directory.name}/",
        "--max-txn-ops=100",
        *flags,
    )


async def test_a_copy_goes_on_at_its_place(target: ProcessCluster, tmp_path: Path) -> None:
    """A base that broke off goes on with the next key, as of the same revision."""
    with StockEtcd(stock_binaries()[0], tmp_path / "etcd") as server:
        async with Client([server.endpoint]) as source, Client(target.endpoints) as destination:
            for number in range(40):
                await source.put(b"r%02d" % number, b"first")
            place = Place(revision=41, next_key=b"r20")
            place = Place.decode(place.encode())
            await source.put(b"r05", b"second")
            await source.delete(b"r39")
            keys = Keys(b"r", b"resumed/r")
            mirror = Mirror(source, destination, keys, place, txn_ops_max=128)
            await mirror.run(until_level=True)
            assert Place.decode(mirror.place.encode()) == mirror.place
            assert mirror.place.revision == 43
            found = await values(target.endpoints[0], b"resumed/r")
            expected = {b"%02d" % number: b"first" for number in range(20, 39)}
            assert found == {**expected, b"05": b"second"}

            await source.compact(43)
            await source.put(b"r01", b"third")
            await source.compact(44)
            again = Place(mirror.place.source_cluster_id, 41, None)
            late = Mirror(source, destination, keys, again, txn_ops_max=128)
            with pytest.raises(Exception, match="compacted"):
                await late.run(until_level=True)
            strange = Mirror(source, destination, keys, Place(1, 41, None), txn_ops_max=128)
            with pytest.raises(ValueError, match="the source is cluster"):
                await strange.run(until_level=True)


NAMINGS = {b"m1/": [], b"m2/": ["--dest-prefix=copy/"], b"m3/": ["--no-dest-prefix"]}


def test_make_mirror(target: ProcessCluster, tmp_path: Path) -> None:
    """It follows puts and deletions under each naming until it is told to stop."""
    source = target.endpoints[0]
    with StockEtcd(stock_binaries()[0], tmp_path / "etcd") as server:
        there = server.endpoint
        places = {b"m1/": b"m1/", b"m2/": b"copy/", b"m3/": b"bare/"}
        for prefix in NAMINGS:
            asyncio.run(_put(source, _named(prefix) + b"1", b"base"))
        mirrors = [_start_mirror(source, there, prefix) for prefix in NAMINGS]
        try:
            for prefix, place in places.items():
                key = _named(prefix)
                _wait_for(there, place, {b"1": b"base"})
                asyncio.run(_put(source, key + b"2", b"tail"))
                _wait_for(there, place, {b"1": b"base", b"2": b"tail"})
                asyncio.run(_delete(source, key + b"1"))
                _wait_for(there, place, {b"2": b"tail"})
        finally:
            for mirror in mirrors:
                mirror.send_signal(signal.SIGINT)
            ends = [mirror.communicate(timeout=10) for mirror in mirrors]
        assert [(mirror.returncode, end[1]) for mirror, end in zip(mirrors, ends, strict=True)] == [
            (130, b"")
        ] * len(NAMINGS)


def test_make_mirror_wants_one_destination() -> None:
    both = ("--dest-prefix=x", "--no-dest-prefix")
    assert "cannot be set" in raftctl_here("make-mirror", "127.0.0.1:1", *both, code=128)
    assert "one destination" in raftctl_here("make-mirror", code=128)
    assert "--rev" in raftctl_here("make-mirror", "127.0.0.1:1", "--rev=-1", code=128)


def _named(prefix: bytes) -> bytes:
    """Without a prefix at the destination, what follows it here is all that tells keys apart."""
    return prefix + b"bare/" if prefix == b"m3/" else prefix


def _start_mirror(source: str, there: str, prefix: bytes) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "raftkv.ctl.cli", "make-mirror", f"--endpoints={source}",
         f"--prefix={prefix.decode()}", there, *NAMINGS[prefix]],
        stderr=subprocess.PIPE,
    )  # fmt: skip


async def _put(endpoint: str, key: bytes, value: bytes) -> None:
    async with Client([endpoint]) as client:
        await client.put(key, value)


async def _delete(endpoint: str, key: bytes) -> None:
    async with Client([endpoint]) as client:
        await client.delete(key)


def _wait_for(endpoint: str, prefix: bytes, expected: dict[bytes, bytes]) -> None:
    deadline = time.monotonic() + 15
    while (found := asyncio.run(values(endpoint, prefix))) != expected:
        assert time.monotonic() < deadline, f"{found} is not {expected}"
        time.sleep(0.05)
