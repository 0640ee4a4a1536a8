"""Users, roles and permissions change as etcd's do, and travel in the store's records."""

import base64

import pytest
from google.protobuf.message import Message

from raftkv.auth.command import Change, encode
from raftkv.auth.store import AuthStore, Rows
from raftkv.errors import ErrorCode, StoreError
from raftkv.pb.etcd import auth_pb2
from raftkv.pb.etcd import rpc_pb2 as pb

E = ErrorCode
READ, WRITE = auth_pb2.Permission.READ, auth_pb2.Permission.WRITE
READWRITE = auth_pb2.Permission.READWRITE
SECRET = b"s" * 32


class Driven:
    """A store whose records are kept, as a member keeps them."""

    def __init__(self) -> None:
        self.auth = AuthStore()
        self.rows: dict[bytes, bytes] = {}

    def do(self, change: Change, request: Message | bytes) -> Rows:
        changed = self.auth.apply(encode(change, request))
        for key, value in changed.items():
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
        return changed

    def add_user(self, name: str, *roles: str, hashed: bytes = b"hash") -> None:
        request = pb.AuthUserAddRequest(name=name, hashedPassword=base64.b64encode(hashed).decode())
        self.do(Change.USER_ADD, request)
        for role in roles:
            self.do(Change.USER_GRANT_ROLE, pb.AuthUserGrantRoleRequest(user=name, role=role))

    def add_role(self, name: str, *grants: tuple[auth_pb2.Permission.Type, bytes, bytes]) -> None:
        self.do(Change.ROLE_ADD, pb.AuthRoleAddRequest(name=name))
        for kind, key, end in grants:
            permission = auth_pb2.Permission(permType=kind, key=key, range_end=end)
            request = pb.AuthRoleGrantPermissionRequest(name=name, perm=permission)
            self.do(Change.ROLE_GRANT_PERMISSION, request)

    def reloaded(self) -> AuthStore:
        other = AuthStore()
        other.load(self.rows)
        return other


@pytest.fixture
def driven() -> Driven:
    """User root, user u with a role that reads [a, c) and writes k; on."""
    one = Driven()
    one.add_role("r", (READ, b"a", b"c"), (WRITE, b"k", b""))
    one.add_user("root", "root")
    one.add_user("u", "r")
    one.do(Change.ENABLE, SECRET)
    return one


def refused(driven: Driven, change: Change, request: Message | bytes) -> ErrorCode:
    before, revision = dict(driven.rows), driven.auth.revision
    with pytest.raises(StoreError) as caught:
        driven.do(change, request)
    assert (driven.rows, driven.auth.revision) == (before, revision), "a refusal changes nothing"
    return caught.value.code


def test_enabling_needs_root_with_role_root() -> None:
    driven = Driven()
    assert refused(driven, Change.ENABLE, SECRET) == E.ROOT_USER_NOT_EXIST
    driven.add_user("root")
    assert refused(driven, Change.ENABLE, SECRET) == E.ROOT_ROLE_NOT_EXIST
    driven.do(Change.USER_GRANT_ROLE, pb.AuthUserGrantRoleRequest(user="root", role="root"))
    revision = driven.auth.revision
    driven.do(Change.ENABLE, SECRET)
    assert (driven.auth.is_enabled, driven.auth.revision) == (True, revision)
    assert not driven.do(Change.ENABLE, b"other" * 8), "twice is no error, and changes nothing"
    assert driven.auth.secret == SECRET


def test_disabling_forgets_the_secret_and_advances(driven: Driven) -> None:
    revision = driven.auth.revision
    driven.do(Change.DISABLE, pb.AuthDisableRequest())
    assert (driven.auth.is_enabled, driven.auth.secret) == (False, b"")
    assert driven.auth.revision == revision + 1
    assert not driven.do(Change.DISABLE, pb.AuthDisableRequest())


def test_every_refusal_of_users_and_roles(driven: Driven) -> None:
    def says(change: Change, request: Message) -> ErrorCode:
        return refused(driven, change, request)

    add, grant = pb.AuthUserAddRequest, pb.AuthUserGrantRoleRequest
    assert says(Change.USER_ADD, add()) == E.USER_EMPTY
    assert says(Change.USER_ADD, add(name="u")) == E.USER_ALREADY_EXIST
    assert says(Change.USER_DELETE, pb.AuthUserDeleteRequest(name="x")) == E.USER_NOT_FOUND
    assert says(Change.USER_DELETE, pb.AuthUserDeleteRequest(name="root")) == E.INVALID_AUTH_MGMT
    changed = pb.AuthUserChangePasswordRequest(name="x")
    assert says(Change.USER_CHANGE_PASSWORD, changed) == E.USER_NOT_FOUND
    assert says(Change.USER_GRANT_ROLE, grant(user="x", role="r")) == E.USER_NOT_FOUND
    assert says(Change.USER_GRANT_ROLE, grant(user="u", role="x")) == E.ROLE_NOT_FOUND
    revoke = pb.AuthUserRevokeRoleRequest
    assert says(Change.USER_REVOKE_ROLE, revoke(name="x", role="r")) == E.USER_NOT_FOUND
    assert says(Change.USER_REVOKE_ROLE, revoke(name="u", role="x")) == E.ROLE_NOT_GRANTED
    root = revoke(name="root", role="root")
    assert says(Change.USER_REVOKE_ROLE, root) == E.INVALID_AUTH_MGMT
    assert says(Change.ROLE_ADD, pb.AuthRoleAddRequest()) == E.ROLE_EMPTY
    assert says(Change.ROLE_ADD, pb.AuthRoleAddRequest(name="r")) == E.ROLE_ALREADY_EXIST
    assert says(Change.ROLE_DELETE, pb.AuthRoleDeleteRequest(role="x")) == E.ROLE_NOT_FOUND
    assert says(Change.ROLE_DELETE, pb.AuthRoleDeleteRequest(role="root")) == E.INVALID_AUTH_MGMT


def test_every_refusal_of_permissions(driven: Driven) -> None:
    def says(change: Change, request: Message) -> ErrorCode:
        return refused(driven, change, request)

    def grant(key: bytes, end: bytes, role: str = "r") -> pb.AuthRoleGrantPermissionRequest:
        permission = auth_pb2.Permission(key=key, range_end=end)
        return pb.AuthRoleGrantPermissionRequest(name=role, perm=permission)

    none = pb.AuthRoleGrantPermissionRequest(name="r")
    assert says(Change.ROLE_GRANT_PERMISSION, none) == E.PERMISSION_NOT_GIVEN
    assert says(Change.ROLE_GRANT_PERMISSION, grant(b"a", b"", "x")) == E.ROLE_NOT_FOUND
    for key, end in ((b"b", b"a"), (b"b", b"b"), (b"", b""), (b"", b"\0")):
        assert says(Change.ROLE_GRANT_PERMISSION, grant(key, end)) == E.INVALID_AUTH_MGMT
    revoke = pb.AuthRoleRevokePermissionRequest
    assert says(Change.ROLE_REVOKE_PERMISSION, revoke(role="x", key=b"a")) == E.ROLE_NOT_FOUND
    missing = revoke(role="r", key=b"a")
    assert says(Change.ROLE_REVOKE_PERMISSION, missing) == E.PERMISSION_NOT_GRANTED


def test_permissions_follow_the_union_of_the_roles(driven: Driven) -> None:
    auth = driven.auth
    assert auth.refuse_read("u", b"a", b"c") is None
    assert auth.refuse_read("u", b"a", b"d") == E.PERMISSION_DENIED
    driven.add_role("more", (READ, b"c", b"d"))
    driven.do(Change.USER_GRANT_ROLE, pb.AuthUserGrantRoleRequest(user="u", role="more"))
    assert auth.refuse_read("u", b"a", b"d") is None
    assert auth.refuse_write("u", b"a") == E.PERMISSION_DENIED
    assert auth.refuse_write("u", b"k") is None
    assert auth.refuse_read("u", b"k") == E.PERMISSION_DENIED, "who writes need not read"
    driven.do(Change.USER_REVOKE_ROLE, pb.AuthUserRevokeRoleRequest(name="u", role="more"))
    assert auth.refuse_read("u", b"a", b"d") == E.PERMISSION_DENIED
    driven.do(Change.ROLE_DELETE, pb.AuthRoleDeleteRequest(role="r"))
    assert auth.refuse_read("u", b"a") == E.PERMISSION_DENIED


def test_who_is_nobody_and_who_is_root(driven: Driven) -> None:
    auth = driven.auth
    assert auth.refuse_read("", b"a") == E.USER_EMPTY
    assert auth.refuse_read("x", b"a") == E.PERMISSION_DENIED
    assert auth.refuse_read("root", b"\0", b"\0") is None
    assert auth.refuse_write("root", b"\0", b"\0") is None
    assert [auth.refuse_root(one) for one in ("", "x", "u", "root")] == [
        *(E.USER_EMPTY, E.PERMISSION_DENIED, E.PERMISSION_DENIED),
        None,
    ]
    assert [auth.refuse_anybody(one) for one in ("", "x", "u")] == [
        *(E.USER_EMPTY, E.PERMISSION_DENIED),
        None,
    ]


def test_a_grant_on_the_same_range_replaces_the_type(driven: Driven) -> None:
    permission = auth_pb2.Permission(permType=READWRITE, key=b"a", range_end=b"c")
    request = pb.AuthRoleGrantPermissionRequest(name="r", perm=permission)
    driven.do(Change.ROLE_GRANT_PERMISSION, request)
    role = driven.auth.role("r")
    assert role is not None
    assert [(one.permType, one.key) for one in role.keyPermission] == [
        *((READWRITE, b"a"), (WRITE, b"k")),
    ]


def test_what_voids_tokens(driven: Driven) -> None:
    """A password's change, a role's end, a new user of an old name; not what a user is granted."""
    auth = driven.auth

    def since() -> int:
        found = auth.tokens_since("u")
        assert found is not None
        return found

    first = since()
    driven.add_role("other")
    driven.do(Change.USER_GRANT_ROLE, pb.AuthUserGrantRoleRequest(user="u", role="other"))
    assert since() == first
    driven.do(Change.USER_CHANGE_PASSWORD, pb.AuthUserChangePasswordRequest(name="u"))
    assert since() == auth.revision
    driven.do(Change.ROLE_DELETE, pb.AuthRoleDeleteRequest(role="other"))
    assert since() == auth.revision
    driven.do(Change.USER_DELETE, pb.AuthUserDeleteRequest(name="u"))
    assert auth.tokens_since("u") is None
    driven.add_user("u")
    assert since() == auth.revision


def test_the_records_are_the_whole_state(driven: Driven) -> None:
    driven.do(Change.USER_DELETE, pb.AuthUserDeleteRequest(name="u"))
    driven.add_user("v", "r")
    loaded = driven.reloaded()
    known = driven.auth
    assert (loaded.is_enabled, loaded.revision, loaded.secret) == (True, known.revision, SECRET)
    assert loaded.user_names() == known.user_names() == ["root", "v"]
    assert loaded.role_names() == known.role_names() == ["r"]
    assert loaded.tokens_since("v") == known.tokens_since("v")
    assert loaded.refuse_read("v", b"a", b"c") is None
    driven.do(Change.DISABLE, pb.AuthDisableRequest())
    assert not driven.reloaded().is_enabled
    assert not driven.reloaded().secret


def test_a_secret_is_set_only_where_none_is(driven: Driven) -> None:
    assert not driven.do(Change.SET_SECRET, b"x" * 32)
    del driven.rows[b"auth/secret"]
    driven.auth.load(driven.rows)
    driven.do(Change.SET_SECRET, b"x" * 32)
    assert driven.reloaded().secret == b"x" * 32


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", bytes((Change.USER_ADD,)) + b"\xff"],
    ids=["nothing", "unknown", "no protobuf"],
)
def test_bytes_that_are_no_command(payload: bytes) -> None:
    with pytest.raises(ValueError):
        AuthStore().apply(payload)
