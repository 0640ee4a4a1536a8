"""Restoring: the state that comes out of a file is the one that went in."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftkv._native.bbolt_emitter import BboltEmitter
from raftkv._native.mvcc_store import MvccStore
from raftkv._native.state_builder import StateBuilder
from raftkv.bbolt.errors import BboltError
from raftkv.bbolt.file import BboltFile
from raftkv.config import Config, build_config
from raftkv.errors import ErrorCode
from raftkv.flags import defaults
from raftkv.pb.etcd import auth_pb2, kv_pb2
from raftkv.server.etcd_buckets import buckets_of
from raftkv.server.restore import Restored, RestoreError, restore
from raftkv.storage.data_dir import DataDirectory
from raftkv.storage.errors import DataDirectoryError
from tests.raftkv.native.mvcc_store_driver import CLUSTER_ID, MEMBER_ID, MEMORY_DISK, Driver


def save(store: MvccStore, path: Path) -> None:
    """Write a store's snapshot to a file, without the hash."""
    compacted_revision = store.compacted_revision
    reader = store.snapshot_open()
    emitter = BboltEmitter(reader, buckets_of(reader, compacted_revision))
    while not emitter.measure(1000):
        pass
    with path.open("wb") as file:
        while piece := emitter.read(1 << 20):
            file.write(piece)
    reader.close()


def config_of(directory: Path, name: str = "one") -> Config:
    return build_config(
        {
            **defaults(),
            "name": name,
            "data-dir": str(directory),
            "initial-cluster": f"{name}=http://localhost:2380,two=http://localhost:2390",
        }
    )


def restored(path: Path, directory: Path, **options: Any) -> Restored:
    with BboltFile(path) as file:
        return restore(file, config_of(directory), **options)


def reopened(directory: Path, made: Restored) -> MvccStore:
    opened = DataDirectory.open(directory)
    opened.close()
    return MvccStore(str(opened.state_path), cluster_id=made.cluster_id, member_id=made.member_id)


keys = st.sampled_from([b"a", b"b", b"c", b"d", b"L" * 490, b"L" * 490 + b"x", b"L" * 900])
commands = st.one_of(
    st.tuples(st.just("put"), keys, st.sampled_from([0, 0, 5, 6])),
    st.tuples(st.just("delete"), keys, keys),
    st.tuples(st.just("compact"), st.integers(0, 10)),
    st.tuples(st.just("work")),
)


def run(driver: Driver, history: Sequence[tuple[Any, ...]]) -> None:
    for number, command in enumerate(history):
        match command:
            case ("put", key, lease):
                driver.put(key, b"v" * (number % 7 * 100), lease=lease)
            case ("delete", key, end):
                driver.delete(key, max(key, end) + b"\0")
            case ("compact", behind):
                driver.compact(driver.store.revision - behind)
            case _:
                driver.store.flush()
                driver.store.compact_step(3)


def observed(driver: Driver, *, with_hash: bool = True) -> list[Any]:
    """All that a store can be asked, at every revision that it still has."""
    store = driver.store
    first = max(1, store.compact_revision)
    found: list[Any] = [store.revision, store.compact_revision]
    for revision in range(first, store.revision + 1):
        answer = driver.range(revision=revision)
        assert not isinstance(answer, ErrorCode)
        found.append([kv.SerializeToString() for kv in answer.kvs])
    found.append(store.events(first, store.revision, 1 << 30))
    found.append({lease: store.lease_ttl(lease) for lease in store.lease_ids()})
    found.append({lease: store.lease_keys(lease) for lease in store.lease_ids()})
    if with_hash:
        found.append([store.hash_kv(revision)[0] for revision in range(first, store.revision + 1)])
    return found


@settings(max_examples=150, deadline=None)
@given(st.lists(commands, max_size=40), st.lists(commands, max_size=15))
def test_the_same_state_comes_out(
    before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]
) -> None:
    """At each revision, by each way to ask; and it goes on alike, compactions included."""
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as name:
        directory = Path(name)
        path = directory / "state.db"
        store = MvccStore(name + "/state", cluster_id=CLUSTER_ID, member_id=MEMBER_ID)
        driver = Driver(store)
        try:
            driver.grant(5, 50)
            driver.grant(6, 60)
            run(driver, before)
            save(store, path)
            made = restored(path, directory / "data")
            again = Driver(reopened(directory / "data", made))
            try:
                assert observed(again) == observed(driver)
                for one in (driver, again):
                    run(one, after)
                    one.store.flush()
                    while one.store.compact_step(1000):
                        pass
                    one.store.flush()
                assert observed(again) == observed(driver)
                assert (again.store.applied_index - 1, again.store.applied_term) == (
                    len([one for one in after if one[0] != "work"]),
                    5 if [one for one in after if one[0] != "work"] else 1,
                )
            finally:
                again.store.close()
        finally:
            store.close()


def test_many_tables(tmp_path: Path) -> None:
    """More keys than one table holds, each twice: the second version finds the first on disk."""
    builder = StateBuilder(str(tmp_path / "state"))
    count = 70_000
    for round_ in range(2):
        for number in range(count):
            revision = 2 + round_
            kv = kv_pb2.KeyValue(
                key=b"%d" % number,
                create_revision=2,
                mod_revision=revision,
                version=1 + round_,
                value=b"v",
            )
            name = revision.to_bytes(8, "big") + b"_" + number.to_bytes(8, "big")
            builder.add(name, kv.SerializeToString())
    builder.finish(
        cluster_id=1, member_id=2, index=1, term=1, revision=3, compact_revision=-1, leases={},
        records={},
    )  # fmt: skip
    store = MvccStore(str(tmp_path / "state"), cluster_id=1, member_id=2)
    try:
        driver = Driver(store)
        assert driver.range(count_only=True).count == count
        for number in (0, 1, count // 2, count - 1):
            assert driver.get(b"%d" % number).version == 2
            assert driver.get(b"%d" % number, revision=2).version == 1
    finally:
        store.close()


def revision(main: int, sub: int = 0) -> bytes:
    return main.to_bytes(8, "big") + b"_" + sub.to_bytes(8, "big")


def key_value(**fields: Any) -> bytes:
    good = {"key": b"k", "create_revision": 5, "mod_revision": 5, "version": 1}
    return kv_pb2.KeyValue(**{**good, **fields}).SerializeToString()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"", key_value()),
        (revision(5)[:-1], key_value()),
        (revision(5) + b"x", key_value()),
        (revision(5).replace(b"_", b"-"), key_value()),
        (revision(0), key_value(mod_revision=0)),
        (revision(1 << 63), key_value()),
        (revision(5, 1 << 32), key_value()),
        (revision(5), key_value(key=b"")),
        (revision(5), key_value(mod_revision=6)),
        (revision(5), key_value(version=0)),
        (revision(5), key_value(version=-1)),
        (revision(5), key_value(create_revision=6)),
        (revision(5), key_value(create_revision=0)),
        (revision(5), key_value()[:-1]),
        (revision(5), b"\xff" * 30),
        (revision(5) + b"t", b""),
        (revision(3), key_value(create_revision=3, mod_revision=3)),
        (revision(4), key_value(create_revision=4, mod_revision=4)),
    ],
)
def test_rows_that_cannot_be_are_refused(name: bytes, value: bytes, tmp_path: Path) -> None:
    """And nothing of them is in the state."""
    builder = StateBuilder(str(tmp_path / "state"))
    try:
        builder.add(revision(4), key_value(create_revision=4, mod_revision=4))
        with pytest.raises(ValueError, match=r"revision|KeyValue|key"):
            builder.add(name, value)
        assert builder.versions == 1
        builder.add(revision(5), key_value())
    finally:
        builder.close()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=40)), max_size=20))
def test_any_bytes_as_rows(rows: list[tuple[bytes, bytes]]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as name:
        builder = StateBuilder(name + "/state")
        good = 0
        for number, (one, value) in enumerate(rows):
            for key in (one, revision(number + 1) + one[:1]):
                try:
                    builder.add(key, value)
                    good += 1
                except ValueError:
                    pass
        assert builder.versions == good
        builder.close()


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """The snapshot of a small store with users."""
    store = MvccStore(str(tmp_path / "source"), cluster_id=CLUSTER_ID, member_id=MEMBER_ID)
    driver = Driver(store)
    driver.put(b"k", b"v")
    store.put_member_record(b"auth/enabled", b"1")
    store.put_member_record(b"auth/revision", b"9")
    store.put_member_record(b"auth/secret", b"s" * 32)
    user = auth_pb2.User(name=b"ann", password=b"$2b$hash", roles=["r"])
    store.put_member_record(b"auth/user/ann", user.SerializeToString())
    role = auth_pb2.Role(name=b"r", keyPermission=[auth_pb2.Permission(key=b"k")])
    store.put_member_record(b"auth/role/r", role.SerializeToString())
    store.put_member_record(b"alarm/1/b1", b"")
    driver.put(b"k", b"w")
    save(store, tmp_path / "s.db")
    store.close()
    return tmp_path / "s.db"


def test_users_stay_and_secrets_go(snapshot: Path, tmp_path: Path) -> None:
    assert b"s" * 32 not in snapshot.read_bytes()
    made = restored(snapshot, tmp_path / "data")
    store = reopened(tmp_path / "data", made)
    records = store.member_records()
    store.close()
    assert records[b"auth/enabled"] == b"1"
    assert records[b"auth/revision"] == b"9"
    assert auth_pb2.User.FromString(records[b"auth/user/ann"]).password == b"$2b$hash"
    assert auth_pb2.Role.FromString(records[b"auth/role/r"]).keyPermission[0].key == b"k"
    assert b"auth/secret" not in records
    assert not [name for name in records if name.startswith(b"alarm")]
    assert len([name for name in records if name.startswith(b"member/")]) == 2


def test_a_failure_leaves_the_directory_as_it_was(snapshot: Path, tmp_path: Path) -> None:
    """Not there, empty, or with something in it."""
    bad, target = tmp_path / "bad.db", tmp_path / "data"
    damaged = bytearray(snapshot.read_bytes())
    at = damaged.index(b"\x0a\x01k\x10")  # of the first version's KeyValue
    damaged[at + 4] = 9
    bad.write_bytes(damaged)
    with pytest.raises(BboltError, match="contradicts"):
        restored(bad, target)
    assert not target.exists()
    target.mkdir()
    with pytest.raises(BboltError, match="contradicts"):
        restored(bad, target)
    assert not list(target.iterdir())
    (target / "restoring" / "member").mkdir(parents=True)
    with pytest.raises(DataDirectoryError, match="restoring"):
        DataDirectory.open(target)
    restored(snapshot, target)
    assert [one.name for one in target.iterdir()] == ["member"]
    with pytest.raises(RestoreError, match="not empty"):
        restored(snapshot, target)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(RestoreError, match="not a directory"):
        restored(snapshot, file)


@pytest.mark.slow
def test_a_killed_restore_leaves_nothing_that_starts(tmp_path: Path) -> None:
    """Wherever it was: the member is there as a whole or not at all, and restoring again works."""
    path, target = tmp_path / "s.db", tmp_path / "data"
    store = MvccStore(str(tmp_path / "source"), cluster_id=CLUSTER_ID, member_id=MEMBER_ID)
    driver = Driver(store)
    for number in range(30_000):
        driver.put(b"k%d" % number, b"v" * 100)
    save(store, path)
    store.close()
    command = [sys.executable, "-c", RESTORE, str(path), str(target)]
    whole = partial = 0
    for attempt in range(12):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(0.02 * 2**attempt)
            child.kill()
        if (target / "member").exists():
            whole += 1
            break
        if target.exists():
            assert {one.name for one in target.iterdir()} <= {"restoring"}
            partial += (target / "restoring").exists()
    assert whole == 1
    assert partial > 0
    with BboltFile(path) as file, pytest.raises(RestoreError, match="not empty"):
        restore(file, config_of(target))
    again = restored(path, tmp_path / "other")
    driver = Driver(reopened(target, again))
    assert driver.range(count_only=True).count == 30_000
    driver.store.close()


@pytest.mark.slow
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """Here the limit of a file's size stands for the disk's."""
    path, target = tmp_path / "s.db", tmp_path / "data"
    store = MvccStore(str(tmp_path / "source"), cluster_id=CLUSTER_ID, member_id=MEMBER_ID)
    driver = Driver(store)
    for number in range(200):
        driver.put(b"k%d" % number, b"v" * 20_000)
    save(store, path)
    store.close()
    limited = 'ulimit -f 2048; exec "$0" -m raftkv.ctl.cli import "$@"'
    done = subprocess.run(
        ["bash", "-c", limited, sys.executable, f"--from-file={path}", f"--data-dir={target}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 6, done
    assert "cannot write" in done.stderr
    assert not target.exists()


RESTORE = """
import sys
from pathlib import Path
from raftkv.bbolt.file import BboltFile
from raftkv.server.restore import restore
from tests.raftkv.bbolt.test_restore import config_of
print("begin", flush=True)
with BboltFile(Path(sys.argv[1])) as file:
    restore(file, config_of(Path(sys.argv[2])))
"""


def test_not_a_database_of_etcd(snapshot: Path, tmp_path: Path) -> None:
    with BboltFile(snapshot) as file:
        renamed = snapshot.read_bytes().replace(b"meta", b"beta")
        assert b"key" in file.buckets
    other = tmp_path / "other.db"
    other.write_bytes(renamed)
    with pytest.raises(BboltError, match=r"comes after|not a database of etcd"):
        restored(other, tmp_path / "data")


def test_progress_is_told(snapshot: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    restored(snapshot, tmp_path / "data", progress=lambda done, size: told.append((done, size)))
    assert told
    assert told[-1][0] == told[-1][1] == snapshot.stat().st_size


def edited(snapshot: Path, buckets: dict[bytes, list[tuple[bytes, bytes]]]) -> Path:
    """Return a file like the snapshot but for some small buckets."""
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as name:
        store = MvccStore(name + "/state", cluster_id=CLUSTER_ID, member_id=MEMBER_ID)
        Driver(store).put(b"k")
        reader = store.snapshot_open()
        emitter = BboltEmitter(reader, {b"meta": [], **buckets})
        while not emitter.measure(1000):
            pass
        path = snapshot.with_name("edited.db")
        path.write_bytes(emitter.read(1 << 20))
        reader.close()
        store.close()
    return path


@pytest.mark.parametrize(
    "buckets",
    [
        {b"meta": [(b"scheduledCompactRev", revision(1 << 63))]},
        {b"meta": [(b"finishedCompactRev", b"short")]},
        {b"authUsers": [(b"ann", b"\xff")]},
        {b"authUsers": [(b"ann", auth_pb2.User(name=b"bob").SerializeToString())]},
        {b"authUsers": [(b"\xff", auth_pb2.User(name=b"\xff").SerializeToString())]},
        {b"authRoles": [(b"r", b"\x0a")]},
    ],
)
def test_small_buckets_that_cannot_be_are_refused(
    buckets: dict[bytes, list[tuple[bytes, bytes]]], tmp_path: Path
) -> None:
    path = edited(tmp_path / "s.db", buckets)
    with pytest.raises(BboltError, match=path.name):
        restored(path, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_revisions_go_on_above_all_that_was_compacted(tmp_path: Path) -> None:
    """Even where the last version went: a watcher must not see a revision twice."""
    path = edited(tmp_path / "s.db", {b"meta": [(b"scheduledCompactRev", revision(900))]})
    made = restored(path, tmp_path / "data", bump_revision=10, mark_compacted=True)
    assert (made.revision, made.compact_revision) == (910, 910)
    with pytest.raises(RestoreError, match="too high"):
        restored(path, tmp_path / "other", bump_revision=1 << 62, mark_compacted=True)
    assert not (tmp_path / "other").exists()
