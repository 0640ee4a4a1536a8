"""Batches say under which users they were allowed, and are refused where others hold by then."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from raftkv._native.command_batch import CommandBatch, read_commands, read_header
from raftkv._native.mvcc_store import MvccStore
from raftkv.auth import command
from raftkv.auth.command import Change, encode
from raftkv.errors import ErrorCode
from raftkv.pb.etcd import auth_pb2
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.server.auth_stamp import BY_MEMBER_STAMP, CHECKED, split
from raftkv.server.auth_state import AuthState
from raftkv.server.command import CommandKind, NobodyWaits
from raftkv.server.proposals import Batch, Fate, Proposals

K, E = CommandKind, ErrorCode
PUT = pb.PutRequest(key=b"k").SerializeToString()


class Heard:
    """A client who waits."""

    def __init__(self) -> None:
        self.answer: bytes | str | None = None

    def reply(self, message: bytes) -> None:
        self.answer = message

    def fail(self, code: int, text: str) -> None:
        self.answer = text


class Fixed:
    """Users of one member, its proposals, and what these propose."""

    def __init__(self, store: MvccStore) -> None:
        self.store = store
        self.index = 0
        self.proposals = Proposals(1, 100, 5.0)
        self.auth = AuthState(store, self.proposals.set_stamp)

    def flushed(self) -> list[bytes]:
        """Return the batches that are proposed now."""
        batches: list[bytes] = []

        def propose(batch: Batch) -> Fate:
            batches.append(batch.data)
            return Fate.PROPOSED

        self.proposals.flush(1, 0.0, propose)
        return batches

    def batch(self, kind: int, payload: bytes, checked: bytes | None = None) -> bytes:
        """Return the batch of one command."""
        token = CHECKED.set(checked or self.auth.stamp)
        try:
            assert self.proposals.add(kind, payload, Heard())
        finally:
            CHECKED.reset(token)
        (data,) = self.flushed()
        return data

    def apply(self, data: bytes) -> ErrorCode | None:
        """Apply a batch as a member does."""
        self.index += 1
        kind, refusal = self.auth.admit(data)
        if refusal is None and kind == K.AUTH:
            assert self.auth.apply(data) == b""
        if refusal is None:
            self.store.apply(self.index, 1, data, True)
        else:
            self.store.apply_empty(self.index, 1)
        return refusal

    def change(self, change: Change, request: pb.AuthRoleAddRequest | bytes) -> None:
        assert self.apply(self.batch(K.AUTH, encode(change, request))) is None


@pytest.fixture
def fixed(tmp_path: Path) -> Iterator[Fixed]:
    """Authentication is on; user u may write k."""
    store = MvccStore(str(tmp_path), cluster_id=1, member_id=1)
    fixed = Fixed(store)
    changes = (
        (Change.USER_ADD, pb.AuthUserAddRequest(name="root")),
        (Change.USER_GRANT_ROLE, pb.AuthUserGrantRoleRequest(user="root", role="root")),
        (Change.USER_ADD, pb.AuthUserAddRequest(name="u")),
        (Change.ROLE_ADD, pb.AuthRoleAddRequest(name="r")),
        (
            Change.ROLE_GRANT_PERMISSION,
            pb.AuthRoleGrantPermissionRequest(
                name="r", perm=auth_pb2.Permission(permType="WRITE", key=b"k")
            ),
        ),
        (Change.USER_GRANT_ROLE, pb.AuthUserGrantRoleRequest(user="u", role="r")),
        (Change.ENABLE, b"s" * 32),
    )
    for change, request in changes:
        assert fixed.apply(fixed.batch(K.AUTH, encode(change, request))) is None
    yield fixed
    store.close()


def test_no_stamps_while_it_is_off(tmp_path: Path) -> None:
    store = MvccStore(str(tmp_path), cluster_id=1, member_id=1)
    fixed = Fixed(store)
    data = fixed.batch(K.PUT, PUT)
    assert read_header(data)[2:] == (1, K.PUT)
    assert fixed.auth.admit(data) == (K.PUT, None)
    store.close()


def test_what_was_allowed_under_other_users_is_refused(fixed: Fixed) -> None:
    before = fixed.batch(K.PUT, PUT)
    assert split(before) == (K.PUT, fixed.auth.store.revision, "")
    fixed.change(Change.ROLE_ADD, pb.AuthRoleAddRequest(name="new"))
    assert fixed.apply(before) is E.AUTH_OLD_REVISION
    assert fixed.store.revision == 1, "nothing was written"
    assert fixed.apply(fixed.batch(K.PUT, PUT)) is None
    assert fixed.store.revision == 2


def test_what_was_proposed_before_it_was_on_is_refused(fixed: Fixed) -> None:
    fixed.proposals.set_stamp(None)
    fixed.auth.stamp, stamp = None, fixed.auth.stamp
    unstamped = fixed.batch(K.PUT, PUT)
    fixed.auth.stamp = stamp
    assert fixed.apply(unstamped) is E.AUTH_OLD_REVISION


def test_what_was_stamped_goes_through_once_it_is_off(fixed: Fixed) -> None:
    data = fixed.batch(K.PUT, PUT)
    fixed.change(Change.DISABLE, b"")
    assert fixed.apply(data) is None
    assert read_header(fixed.batch(K.PUT, PUT))[3] == K.PUT


def test_a_batch_has_one_stamp(fixed: Fixed) -> None:
    """What was gathered before a change goes in a batch of its own, under its own stamp."""
    old = fixed.auth.stamp
    token = CHECKED.set(old)
    fixed.proposals.add(K.PUT, PUT, Heard())
    fixed.proposals.add(K.PUT, PUT, Heard())
    fixed.auth.store.revision += 1
    fixed.auth.stamp = command.stamp(fixed.auth.store.revision)
    fixed.proposals.set_stamp(fixed.auth.stamp)
    CHECKED.set(fixed.auth.stamp)
    fixed.proposals.add(K.PUT, PUT, Heard())
    CHECKED.reset(token)
    first, second = fixed.flushed()
    assert [kind for kind, _ in read_commands(first)] == [K.AUTH_STAMP, K.PUT, K.PUT]
    assert [split(one)[1] for one in (first, second)] == [
        fixed.auth.store.revision - 1,
        fixed.auth.store.revision,
    ]


@pytest.mark.parametrize("checked", [None, command.stamp(1)], ids=["never", "long ago"])
def test_calls_that_were_not_checked_now_propose_nothing(
    fixed: Fixed, checked: bytes | None
) -> None:
    """Such as a call that waited, or began while authentication was off."""
    token = CHECKED.set(checked)
    heard = Heard()
    assert not fixed.proposals.add(K.PUT, PUT, heard)
    CHECKED.reset(token)
    assert heard.answer == "etcdserver: revision of auth store is old"
    assert not fixed.flushed()


def test_members_go_on_by_themselves(fixed: Fixed) -> None:
    assert fixed.proposals.add(K.COMPACTION, b"", NobodyWaits())
    (data,) = fixed.flushed()
    assert fixed.auth.admit(data) == (K.COMPACTION, None)
    assert fixed.proposals.add(K.MEMBER_RECORD, b"", NobodyWaits())
    (record,) = fixed.flushed()
    fixed.change(Change.ROLE_ADD, pb.AuthRoleAddRequest(name="new"))
    assert fixed.auth.admit(record) == (K.MEMBER_RECORD, None), "a member may always say who it is"
    assert split(_stamped(BY_MEMBER_STAMP, K.LEASE_REVOKE, b"")) == (K.LEASE_REVOKE, 0, "")
    expired = _stamped(BY_MEMBER_STAMP, K.LEASE_REVOKE, b"\x08\x07")
    assert fixed.auth.admit(expired) == (K.LEASE_REVOKE, None)


def _stamped(stamp: bytes, kind: int, payload: bytes) -> bytes:
    batch = CommandBatch()
    batch.add(K.AUTH_STAMP, stamp, NobodyWaits())
    batch.add(kind, payload, NobodyWaits())
    return batch.seal(1, 1)


def test_a_revocation_is_judged_by_the_keys_of_its_moment(fixed: Fixed) -> None:
    """Another user's key that came to hang on the lease after the check saves the lease."""
    revision = fixed.auth.store.revision
    grant = pb.LeaseGrantRequest(ID=7, TTL=100).SerializeToString()
    revocation = pb.LeaseRevokeRequest(ID=7).SerializeToString()
    by_u = command.stamp(revision, "u")
    assert fixed.apply(fixed.batch(K.LEASE_GRANT, grant)) is None
    data = fixed.batch(K.LEASE_REVOKE, revocation, by_u)
    assert split(data) == (K.LEASE_REVOKE, revision, "u")
    for key, refusal in ((b"k", None), (b"other", E.PERMISSION_DENIED)):
        put = pb.PutRequest(key=key, lease=7).SerializeToString()
        assert fixed.apply(fixed.batch(K.PUT, put)) is None
        assert fixed.auth.admit(data)[1] is refusal
    assert fixed.apply(data) is E.PERMISSION_DENIED
    assert fixed.store.lease_keys(7) == [b"k", b"other"]
    root = fixed.batch(K.LEASE_REVOKE, revocation, command.stamp(revision, "root"))
    assert fixed.apply(root) is None
    assert fixed.store.lease_keys(7) == []


def test_revocations_are_not_gathered_with_others(fixed: Fixed) -> None:
    token = CHECKED.set(command.stamp(fixed.auth.store.revision, "u"))
    for kind, payload in ((K.PUT, PUT), (K.LEASE_REVOKE, b"\x08\x07"), (K.PUT, PUT)):
        assert fixed.proposals.add(kind, payload, Heard())
    CHECKED.reset(token)
    assert [split(one)[0::2] for one in fixed.flushed()] == [
        *((K.PUT, ""), (K.LEASE_REVOKE, "u"), (K.PUT, "")),
    ]


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_a_stamp_needs_something_behind_it(fixed: Fixed, cut: int) -> None:
    data = fixed.batch(K.PUT, b"")
    with pytest.raises(ValueError):
        split(data[:-cut])


def test_the_state_survives_in_the_records(fixed: Fixed) -> None:
    other = AuthState(fixed.store, lambda stamp: None)
    other.load(fixed.store.member_records())
    assert other.stamp == fixed.auth.stamp
    assert other.store.refuse_write("u", b"k") is None


def test_a_malformed_change_is_refused_not_fatal(fixed: Fixed) -> None:
    for payload in (b"\xff", encode(Change.USER_ADD, b"\xff")):
        assert fixed.auth.apply(fixed.batch(K.AUTH, payload)) == E.INVALID_REQUEST
