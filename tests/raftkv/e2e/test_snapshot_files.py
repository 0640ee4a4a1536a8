"""Backups as files: etcd's tools read ours, we read etcd's, and everything in them survives."""

import asyncio
import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from raftkv.client import Client
from raftkv.ctl.cli import run
from raftkv.testing.etcdctl import Etcdctl
from raftkv.testing.process_cluster import ProcessCluster
from tests.raftkv.bbolt.stock_etcd import (
    COMPACTED,
    StockEtcd,
    contents_of,
    fill,
    stock_binaries,
)

pytestmark = pytest.mark.slow

ETCDS = list(zip(stock_binaries("etcd"), stock_binaries("etcdctl"), strict=True))
VERSIONS = pytest.mark.parametrize(("etcd", "ctl"), ETCDS, ids=["own", "packaged"][: len(ETCDS)])


def raftctl(*arguments: str | Path, code: int = 0) -> str:
    """Run raftctl; return its output, errors included where one is expected."""
    done = subprocess.run(
        [sys.executable, "-m", "raftkv.ctl.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stderr if code else done.stdout


def raftctl_here(*arguments: str | Path, code: int = 0) -> str:
    """The same without a process of its own, for sync tests that call it often."""
    out, errors = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        found = run([str(argument) for argument in arguments])
    out.seek(0)
    assert found == code, f"{arguments}: {out.read()}{errors.getvalue()}"
    return errors.getvalue() if code else out.read()


def restore_flags(cluster: ProcessCluster, member: int) -> list[str]:
    """The flags of `snapshot restore` for a member of a cluster that is to be started."""
    wanted = ("--name=", "--data-dir=", "--initial-cluster=", "--initial-advertise-peer-urls=")
    return [flag for flag in cluster.arguments(member) if flag.startswith(wanted)]


def restore(path: Path, cluster: ProcessCluster, *flags: str, but: int | None = None) -> None:
    """Restore all members, or all but one; not from a coroutine."""
    for member in set(range(len(cluster.names))) - {but}:
        raftctl_here("snapshot", "restore", path, *restore_flags(cluster, member), *flags)


def described(tool: Etcdctl, path: Path) -> dict[str, object]:
    """What we say of a snapshot, once etcdctl said the same; not from a coroutine."""
    ours: dict[str, object] = json.loads(raftctl_here("snapshot", "status", path, "-w=json"))
    theirs = json.loads(tool.run("", "snapshot", "status", str(path), "-w=json"))
    assert theirs == {name: ours[name] for name in theirs}
    return ours


@VERSIONS
async def test_etcd_serves_what_was_here(etcd: str, ctl: str, tmp_path: Path) -> None:
    """Its etcdctl saves from us, checks and restores, and its server has the same of everything."""
    tool, path = Etcdctl(ctl), tmp_path / "ours.db"
    with ProcessCluster(1, tmp_path) as cluster:
        cluster.wait_ready()
        endpoint = cluster.endpoints[0]
        await fill(endpoint)
        before = await contents_of(endpoint, COMPACTED)
        tool.run(endpoint, "snapshot", "save", str(path))
    assert (await asyncio.to_thread(described, tool, path))["revision"] == before.revision
    tool.run("", "snapshot", "restore", str(path), f"--data-dir={tmp_path / 'theirs'}")
    with StockEtcd(etcd, tmp_path / "theirs") as server:
        assert await contents_of(server.endpoint, COMPACTED) == before
        async with Client([server.endpoint]) as client:
            assert (await client.put(b"new", b"")).header.revision == before.revision + 1
            await client.delete(b"t", b"u")
            await client.compact(before.revision + 2, physical=True)


@VERSIONS
async def test_members_serve_what_was_in_etcd(etcd: str, ctl: str, tmp_path: Path) -> None:
    """From a snapshot of etcd: all three agree, one too that was started with nothing."""
    tool, path = Etcdctl(ctl), tmp_path / "theirs.db"
    with StockEtcd(etcd, tmp_path / "etcd") as server:
        await fill(server.endpoint)
        before = await contents_of(server.endpoint, COMPACTED)
        tool.run(server.endpoint, "snapshot", "save", str(path))
    await asyncio.to_thread(described, tool, path)
    cluster = ProcessCluster(3, tmp_path)
    await asyncio.to_thread(restore, path, cluster, but=1)
    with cluster:
        cluster.wait_ready()
        for endpoint in cluster.endpoints:
            assert await contents_of(endpoint, COMPACTED) == before
        async with Client(cluster.endpoints) as client:
            assert (await client.put(b"new", b"")).header.revision == before.revision + 1
            await client.lease_revoke(77)
            assert not (await client.get(b"leased/1")).kvs
            assert (await client.get(b"leased/2")).kvs


async def test_what_leaves_comes_back(tmp_path: Path) -> None:
    """Ours to ours, users and roles included, while the member is written to."""
    path = tmp_path / "ours.db"
    with ProcessCluster(1, tmp_path) as cluster:
        cluster.wait_ready()
        endpoint = cluster.endpoints[0]
        await fill(endpoint)
        stopped = asyncio.Event()
        writer = asyncio.create_task(_write(endpoint, stopped))
        saved = await asyncio.to_thread(
            raftctl, "snapshot", "save", path, f"--endpoints={endpoint}"
        )
        stopped.set()
        written = await writer
        assert saved.splitlines()[0] == f"Snapshot saved at {path}"
        assert path.stat().st_mode & 0o777 == 0o600
        after = await contents_of(endpoint, COMPACTED)
    again = ProcessCluster(1, tmp_path / "again")
    again.directory.mkdir()
    await asyncio.to_thread(restore, path, again)
    with again:
        again.wait_ready()
        found = await contents_of(again.endpoints[0], COMPACTED)
    assert after.revision - written <= found.revision <= after.revision
    assert found.history == after.history[: len(found.history)]
    assert found.leases == after.leases


async def _write(endpoint: str, stopped: asyncio.Event) -> int:
    count = 0
    async with Client([endpoint]) as client:
        while not stopped.is_set():
            await client.put(b"beside", b"%d" % count)
            count += 1
    return count


async def test_a_bumped_revision_is_noticed(tmp_path: Path) -> None:
    """--bump-revision with --mark-compacted: old revisions are compacted, new ones are above."""
    path = tmp_path / "s.db"
    with ProcessCluster(1, tmp_path) as cluster:
        cluster.wait_ready()
        async with Client(cluster.endpoints) as client:
            for number in range(5):
                await client.put(b"k", b"%d" % number)
        raftctl("snapshot", "save", path, f"--endpoints={cluster.endpoints[0]}")
    again = ProcessCluster(1, tmp_path / "again")
    again.directory.mkdir()
    flags = restore_flags(again, 0)
    both = ("--bump-revision=1000", "--mark-compacted")
    for flag in both:
        words: tuple[str | Path, ...] = ("snapshot", "restore", path, *flags, flag)
        await asyncio.to_thread(raftctl_here, *words, code=128)
    await asyncio.to_thread(restore, path, again, *both)
    with again:
        again.wait_ready()
        async with Client(again.endpoints) as client:
            found = await client.get(b"k")
            assert found.header.revision == 1006
            assert found.kvs[0].mod_revision == 6
            async with client.watch(b"k", start_revision=3) as watch:
                with pytest.raises(Exception, match="compacted"):
                    await anext(watch)
            assert (await client.put(b"k", b"")).header.revision == 1007


def test_damaged_files_are_refused(tmp_path: Path, three_members: ProcessCluster) -> None:
    """Whatever is wrong with a file is told, and nothing is left behind."""
    path, bad, target = tmp_path / "s.db", tmp_path / "bad.db", tmp_path / "data"
    endpoint = f"--endpoints={three_members.endpoints[0]}"
    raftctl_here("put", "key", "value", endpoint)
    raftctl_here("snapshot", "save", path, endpoint)
    whole = path.read_bytes()
    into = f"--data-dir={target}"
    for content, text in (
        (whole[:9000] + bytes([whole[9000] ^ 1]) + whole[9001:], "expected sha256"),
        (whole[:-32], "missing hash"),
        (whole[:5000], "missing hash"),
        (b"", "missing hash"),
    ):
        bad.write_bytes(content)
        assert text in raftctl_here("snapshot", "restore", bad, into, code=1)
    skip = "--skip-hash-check"
    for content, text in (
        (whole[:8192], "cut off"),
        (b"", "not a bbolt file"),
        (bytes(len(whole)), "not a bbolt file"),
        (b"SQLite format 3\0" * 1000, "not a bbolt file"),
    ):
        bad.write_bytes(content)
        assert text in raftctl_here("snapshot", "restore", bad, into, skip, code=1)
    bad.write_bytes(whole[:-32])
    assert not target.exists()
    raftctl_here("snapshot", "restore", bad, into, skip)
    assert "not empty" in raftctl_here("snapshot", "restore", path, into, code=1)
    assert sorted(one.name for one in target.iterdir()) == ["member"]


def test_a_save_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    raftctl_here("snapshot", "save", path, "--endpoints=127.0.0.1:1", code=1)
    raftctl_here("snapshot", "save", path, "--endpoints=127.0.0.1:1,127.0.0.1:2", code=128)
    assert not list(tmp_path.iterdir())


ROOT, ANN = "--user=root:secret", "--user=ann:hush"


def add_users(tool: Etcdctl, endpoint: str) -> None:
    for words in (
        ("user", "add", "root:secret"),
        ("user", "add", "ann:hush"),
        ("role", "add", "reader"),
        ("role", "add", "root"),
        ("role", "grant-permission", "reader", "read", "open/", "open0"),
        ("user", "grant-role", "ann", "reader"),
        ("user", "grant-role", "root", "root"),
        ("put", "open/1", "seen"),
        ("put", "closed", "unseen"),
        ("auth", "enable"),
    ):
        tool.run(endpoint, *words)


def users_are_there(tool: Etcdctl, endpoint: str) -> None:
    """Passwords, roles and ranges do what they did."""
    assert tool.run(endpoint, ANN, "get", "open/1") == "open/1\nseen\n"
    for words, text in (
        ((ANN, "get", "closed"), "permission denied"),
        ((ANN, "put", "open/1", ""), "permission denied"),
        (("--user=ann:wrong", "get", "open/1"), "authentication failed"),
        (("get", "open/1"), "user name is empty"),
    ):
        refused = tool.attempt(endpoint, *words)
        assert refused.returncode != 0
        assert text in refused.stderr
    assert tool.run(endpoint, ROOT, "get", "closed") == "closed\nunseen\n"
    tool.run(endpoint, ROOT, "user", "passwd", "ann", "--interactive=false", stdin="new\n")
    assert tool.run(endpoint, "--user=ann:new", "get", "open/1") == "open/1\nseen\n"


@VERSIONS
def test_users_move_in(etcd: str, ctl: str, tmp_path: Path) -> None:
    """From an etcd with authentication on; only root may take the snapshot."""
    tool, path = Etcdctl(ctl), tmp_path / "theirs.db"
    with StockEtcd(etcd, tmp_path / "etcd") as server:
        add_users(tool, server.endpoint)
        endpoint = f"--endpoints={server.endpoint}"
        raftctl_here("snapshot", "save", path, endpoint, ANN, code=1)
        raftctl_here("snapshot", "save", path, endpoint, ROOT)
        wrong = (f"--from-endpoints={server.endpoint}", "--from-user=ann:hush", "--once")
        assert "permission denied" in raftctl_here("import", *wrong, code=1)
    cluster = ProcessCluster(1, tmp_path)
    restore(path, cluster)
    with cluster:
        cluster.wait_ready()
        users_are_there(tool, cluster.endpoints[0])


@VERSIONS
def test_users_move_out(etcd: str, ctl: str, tmp_path: Path) -> None:
    """To an etcd, from members with authentication on; only root may take the snapshot."""
    tool, path = Etcdctl(ctl), tmp_path / "ours.db"
    with ProcessCluster(1, tmp_path) as cluster:
        cluster.wait_ready()
        add_users(tool, cluster.endpoints[0])
        assert tool.attempt(cluster.endpoints[0], ANN, "snapshot", "save", str(path)).returncode
        assert not path.exists()
        tool.run(cluster.endpoints[0], ROOT, "snapshot", "save", str(path))
    tool.run("", "snapshot", "restore", str(path), f"--data-dir={tmp_path / 'theirs'}")
    with StockEtcd(etcd, tmp_path / "theirs") as server:
        users_are_there(tool, server.endpoint)
